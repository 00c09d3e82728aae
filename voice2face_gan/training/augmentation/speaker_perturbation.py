"""Speaker perturbation: clips with another speed, other formants and another spectral tilt.

It makes many speakers out of few. Each clip has several perturbations: a few fixed speeds, then ones drawn
for it alone, at any speed between the outermost, with formants and a balance of lows and highs of their own
(audio/augment/formants.py). Each counts as another speaker, whose targets a teacher computes anew.
"""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.audio.augment.formants import TILTS, revoice
from voice2face_gan.audio.augment.waveform import change_speed

FORMANT_RANGE = (0.85, 1.18)  # factor of the formants' frequencies
TILT_STD = (0.5, 0.3, 0.2)
SAME_FORMANTS, SAME_TILT = 0.25, 0.5  # shares of the drawn perturbations that leave these as they are


class SpeakerPerturbation:
    """
    Args:
        clips: number of clips.
        speeds: fixed speeds of each, in rising order.
        drawn: number of further perturbations of each.

    Attributes:
        speed, formants: float32 (clips, perturbations). tilt: float32 (clips, perturbations, TILTS).
    """

    def __init__(self, clips: int, speeds: tuple[float, ...], drawn: int):
        random = np.random.default_rng(0)
        low, high = (np.log(end) for end in (speeds[0], speeds[-1]))
        shape = clips, drawn
        speed = np.exp(random.uniform(low, high, shape))
        formants = np.exp(random.uniform(*np.log(FORMANT_RANGE), shape))
        formants[random.random(shape) < SAME_FORMANTS] = 1.0
        tilt = random.normal(0.0, TILT_STD, (*shape, TILTS)) * (random.random(shape) >= SAME_TILT)[..., None]
        fixed = np.tile(np.array(speeds), (clips, 1))
        self.speed = np.concatenate([fixed, speed], axis=1).astype(np.float32)
        self.formants = np.concatenate([np.ones_like(fixed), formants], axis=1).astype(np.float32)
        self.tilt = np.concatenate([np.zeros((*fixed.shape, TILTS)), tilt], axis=1).astype(np.float32)

    @property
    def count(self) -> int:
        """Perturbations of a clip."""
        return self.speed.shape[1]

    @property
    def max_speed(self) -> float:
        return float(self.speed.max())

    def __call__(self, speech: Tensor, clips: np.ndarray, chosen: np.ndarray, samples: int) -> Tensor:
        """Perturbed speech (B, samples).

        Args:
            speech: (B, samples x speed at least), of the clips.
            clips: int64 (B,).
            chosen: int64 (B,), the perturbation of each.
        """
        speed, formants, tilt = (
            torch.from_numpy(x[clips, chosen]) for x in (self.speed, self.formants, self.tilt)
        )
        speech = change_speed(speech, speed, samples)
        other = (formants != 1) | tilt.any(dim=1)
        if other.any():
            changed = revoice(speech[other], formants[other], tilt[other])
            # As loud as a recording can be, at most.
            speech[other] = changed / changed.abs().amax(dim=1, keepdim=True).clamp(min=1.0)
        return speech
