"""Clips as other people would say them, so that few speakers become many.

Each clip is heard in several guises: at each of a few fixed speeds, and further ones drawn for it alone, at
any speed between the outermost, with resonances and a balance of lows and highs of their own
(audio/augment/formants.py). Every guise is a speaker of its own, of whom a teacher has to be asked anew.
"""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.audio.augment.formants import TILTS, revoice
from voice2face_gan.audio.augment.waveform import change_speed

_RESONANCES = (0.85, 1.18)  # least and most
_TILT = (0.5, 0.3, 0.2)  # standard deviations
_PLAIN = 0.25, 0.5  # shares of the drawn guises whose resonances, and whose balance, are as they were


class SpeakerPerturbation:
    """
    Args:
        clips: how many there are.
        speeds: at which each is heard, in order.
        more: further guises of each.

    Attributes:
        speed, resonances: float32 (clips, guises). tilt: float32 (clips, guises, TILTS).
    """

    def __init__(self, clips: int, speeds: tuple[float, ...], more: int):
        random = np.random.default_rng(0)
        low, high = (np.log(end) for end in (speeds[0], speeds[-1]))
        shape = clips, more
        drawn = np.exp(random.uniform(low, high, shape))
        resonances = np.exp(random.uniform(*np.log(_RESONANCES), shape))
        resonances[random.random(shape) < _PLAIN[0]] = 1.0
        tilt = random.normal(0.0, _TILT, (*shape, TILTS)) * (random.random(shape) >= _PLAIN[1])[..., None]
        fixed = np.tile(np.array(speeds), (clips, 1))
        self.speed = np.concatenate([fixed, drawn], axis=1).astype(np.float32)
        self.resonances = np.concatenate([np.ones_like(fixed), resonances], axis=1).astype(np.float32)
        self.tilt = np.concatenate([np.zeros((*fixed.shape, TILTS)), tilt], axis=1).astype(np.float32)

    @property
    def count(self) -> int:
        return self.speed.shape[1]

    @property
    def fastest(self) -> float:
        return float(self.speed.max())

    def heard(self, speech: Tensor, clips: np.ndarray, which: np.ndarray, samples: int) -> Tensor:
        """Speech (B, samples x speed at least) of clips (B,), in the guises `which` (B,): (B, samples)."""
        speed, resonances, tilt = (
            torch.from_numpy(x[clips, which]) for x in (self.speed, self.resonances, self.tilt)
        )
        speech = change_speed(speech, speed, samples)
        other = (resonances != 1) | tilt.any(dim=1)
        if other.any():
            changed = revoice(speech[other], resonances[other], tilt[other])
            # As loud as a recording can be, at most.
            speech[other] = changed / changed.abs().amax(dim=1, keepdim=True).clamp(min=1.0)
        return speech
