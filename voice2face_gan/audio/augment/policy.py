"""Random distortions of speech signals, against which a network becomes robust.

Log-mels that are normalised already have distortions of their own, see `log_mel`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.audio.augment import waveform


@dataclass(frozen=True)
class SignalAugmentation:
    """Distortions of a clip, applied in this order.

    Where two numbers are given, one between them is drawn for every clip. A share is the part of the clips
    that a distortion is applied to.

    Attributes:
        speed: every clip is played up to so much faster or slower, as a part of 1. It moves pitch and
            formants, and so the speaker: from 0.05 on one may be taken for another.
        room: share in a room of `rt60` seconds, with the direct sound `direct_db` over the reverberation.
        noise, snr_db: share with noise, at a signal-to-noise ratio in dB.
        babble: part of these with 2 to 7 other speakers of the batch talking; the others have noise whose
            power falls as 1 / f^0 to 1 / f^2.
        band: share whose band is cut, below at up to `low_hz`, above at `high_hz`.
        telephone: share over a landline (300 to 3,400 Hz, 8-bit mu-law).
        codec, codec_snr_db: share through a coarse transform codec.
        overdrive, drive_db: share that is softly clipped.
        peak_db: level of every recording's peak below full scale, of 16 bits.
    """

    speed: float = 0.03
    room: float = 0.4
    rt60: tuple[float, float] = (0.1, 0.8)
    direct_db: tuple[float, float] = (-3.0, 12.0)
    noise: float = 0.7
    snr_db: tuple[float, float] = (0.0, 20.0)
    babble: float = 0.4
    band: float = 0.3
    low_hz: float = 400.0
    high_hz: tuple[float, float] = (2500.0, 7000.0)
    telephone: float = 0.15
    codec: float = 0.3
    codec_snr_db: tuple[float, float] = (3.0, 15.0)
    overdrive: float = 0.2
    drive_db: tuple[float, float] = (0.0, 20.0)
    peak_db: tuple[float, float] = (-40.0, 0.0)

    def samples_needed(self, samples: int) -> int:
        """Samples to give for so many to come out: faster speech takes more."""
        return samples + int(samples * self.speed) + 64

    @torch.no_grad()
    def __call__(
        self, x: Tensor, samples: int, speaker: np.ndarray, rate: int, rng: np.random.Generator
    ) -> Tensor:
        """Distort a batch; the same `rng` state gives the same result.

        Args:
            x: float32 (B, samples_needed(samples)) in [-1, 1].
            samples: length wanted.
            speaker: int (B,), so that no speaker is in the babble behind himself.
            rate: samples a second.
            rng: makes every choice.
        Returns:
            float32 (B, samples) in [-1, 1].
        """
        count, device = len(x), x.device
        draws = torch.Generator().manual_seed(int(rng.integers(2**63)))

        def between(low: float, high: float) -> Tensor:
            return torch.from_numpy(rng.uniform(low, high, count).astype(np.float32)).to(device)

        def happens(share: float) -> Tensor:
            return torch.from_numpy(rng.random(count) < share).to(device)

        factor = between(1 - self.speed, 1 + self.speed) if self.speed else torch.ones(count)
        x = waveform.change_speed(x, factor, samples)
        voices, who = x, torch.from_numpy(np.asarray(speaker)).to(device)

        on, rt60, direct = happens(self.room), between(*self.rt60), between(*self.direct_db)
        if on.any():
            response = waveform.room_response(rt60[on], direct[on], rate, draws)
            x = _where(on, x, waveform.convolve(x[on], response))

        on, snr, others = happens(self.noise), between(*self.snr_db), happens(self.babble)
        slope, talkers = between(0.0, 2.0), between(2.0, 8.0).long()
        if on.any():
            noise = waveform.coloured_noise(slope, samples, draws)
            behind = waveform.babble(voices, who, talkers, draws)
            others = others & (waveform.power(behind) > 0)  # somebody else is there
            noise = torch.where(others[:, None], behind, noise)
            x = _where(on, x, waveform.add_at_snr(x[on], noise[on], snr[on]))

        on, low, high = happens(self.band), between(0.0, self.low_hz), between(*self.high_hz)
        if on.any():
            x = _where(on, x, waveform.band_limit(x[on], low[on], high[on], rate))
        on = happens(self.telephone)
        if on.any():
            x = _where(on, x, waveform.telephone(_full_scale(x[on]), rate))
        on, snr = happens(self.codec), between(*self.codec_snr_db)
        if on.any():
            x = _where(on, x, waveform.transform_codec(x[on], snr[on]))
        on, drive = happens(self.overdrive), between(*self.drive_db)
        if on.any():
            x = _where(on, x, waveform.overdrive(x[on], drive[on]))
        return waveform.recorded(x, between(*self.peak_db))


def _where(on: Tensor, x: Tensor, changed: Tensor) -> Tensor:
    """x (B, samples) with the rows where `on` is true replaced."""
    x = x.clone()
    x[on] = changed
    return x


def _full_scale(x: Tensor) -> Tensor:
    return x / x.abs().amax(dim=1, keepdim=True).clamp(min=1e-10)
