"""Random distortions of log-mels that are normalised already, for stores that keep no speech.

The bins' means and variances are not kept, so these are coarser than those of `policy`: a bin's standard
deviation is taken as NATS, and its mean as that of every other speaker. Each function takes and gives float32
(B, bins, frames); the results of those that change a bin's distribution are normalised over the frames again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.audio.log_mel import FeatureSettings, mel_centres, normalise

NATS = 3.0
"""Standard deviation of a bin's log power over a clip: mean of 62 recordings of four corpora."""


def mask_time(mel: Tensor, start: Tensor, frames: Tensor) -> Tensor:
    """`frames` (B,) frames from `start` (B,) on become zero, the mean (SpecAugment, Park et al., 2019)."""
    place = torch.arange(mel.shape[2], device=mel.device)
    inside = (place >= start[:, None]) & (place < (start + frames)[:, None])
    return mel.masked_fill(inside[:, None], 0.0)


def mask_bins(mel: Tensor, start: Tensor, bins: Tensor) -> Tensor:
    """`bins` (B,) bins from `start` (B,) on become zero."""
    return mask_time(mel.transpose(1, 2), start, bins).transpose(1, 2)


def cut_band(mel: Tensor, low: Tensor, high: Tensor, noise: Tensor) -> Tensor:
    """Bins below `low` (B,) and from `high` (B,) on hold nothing of the voice: noise, normalised as all is.

    Args:
        noise: like `mel`, N(0, 1).
    """
    place = torch.arange(mel.shape[1], device=mel.device)
    kept = (place >= low[:, None]) & (place < high[:, None])
    return torch.where(kept[:, :, None], mel, noise)


def add_power(mel: Tensor, other: Tensor, gap: Tensor) -> Tensor:
    """Another sound on top, added as power: log(exp(NATS mel) + exp(NATS (other - gap))), normalised again.

    Args:
        other: like `mel`; near 0 everywhere for steady noise, another voice's log-mel for babble.
        gap: (B, 1, 1) or (B, bins, 1): how far its mean is below the voice's, in standard deviations.
    """
    mixed = torch.logaddexp(NATS * mel, NATS * (other - gap))
    return normalise(mixed.flatten(0, 1)).view(mel.shape)


def change_speed(mel: Tensor, factor: Tensor, centres: Tensor) -> Tensor:
    """Played faster (factor (B,) above 1, and then higher): frames and bins are read in between.

    Time goes round at the end. What comes from above the highest bin is that bin.

    Args:
        centres: (bins,) the bins' frequencies in Hz, rising.
    """
    batch, bins, frames = mel.shape
    time = (torch.arange(frames, device=mel.device) * factor[:, None]) % frames  # (B, frames)
    first = time.long().clamp(max=frames - 1)
    share = (time - first)[:, None]
    rows = first[:, None].expand(batch, bins, frames)
    after = ((first + 1) % frames)[:, None].expand(batch, bins, frames)
    mel = mel.gather(2, rows) * (1 - share) + mel.gather(2, after) * share
    # Bin b at f Hz now holds what was at f / factor.
    wanted = (centres / factor[:, None]).clamp(centres[0], centres[-1])  # (B, bins)
    above = torch.searchsorted(centres, wanted.contiguous()).clamp(1, bins - 1)
    share = ((wanted - centres[above - 1]) / (centres[above] - centres[above - 1]))[:, :, None]
    rows = above[:, :, None].expand(batch, bins, frames)
    return mel.gather(1, rows - 1) * (1 - share) + mel.gather(1, rows) * share


@dataclass(frozen=True)
class MelAugmentation:
    """Distortions of a log-mel, applied in this order; see `augment.SignalAugmentation` for how to read it.

    Attributes:
        speed: as there.
        noise, gap: share with steady noise, its level so many standard deviations below the voice's mean; its
            colour tilts it by up to one standard deviation at either end.
        babble: part of these with another speaker of the batch on top instead.
        band, low, high: share with a narrower band; most bins lost below, and above, as parts of all.
        masks, mask_frames, mask_bins: share with a mask of up to so many frames and of up to so many bins.
    """

    speed: float = 0.03
    noise: float = 0.7
    gap: tuple[float, float] = (-0.5, 1.5)
    babble: float = 0.4
    band: float = 0.4
    low: float = 0.15
    high: float = 0.4
    masks: float = 0.5
    mask_frames: int = 40
    mask_bins: int = 10

    @torch.no_grad()
    def __call__(
        self, mel: Tensor, speaker: np.ndarray, settings: FeatureSettings, rng: np.random.Generator
    ) -> Tensor:
        """Distort a batch; the same `rng` state gives the same result.

        Args:
            mel: float32 (B, bins, frames), normalised.
            speaker: int (B,).
            settings: what the log-mels are.
            rng: makes every choice.
        """
        count, bins, frames = mel.shape
        device = mel.device
        draws = torch.Generator().manual_seed(int(rng.integers(2**63)))

        def between(low: float, high: float) -> Tensor:
            return torch.from_numpy(rng.uniform(low, high, count).astype(np.float32)).to(device)

        def happens(share: float) -> Tensor:
            return torch.from_numpy(rng.random(count) < share).to(device)[:, None, None]

        def normal() -> Tensor:
            return torch.randn(mel.shape, generator=draws).to(device)

        factor = between(1 - self.speed, 1 + self.speed)
        if self.speed:
            mel = change_speed(mel, factor, mel_centres(settings).to(device))
        on, others, gap, tilt = happens(self.noise), happens(self.babble), between(*self.gap), between(-1, 1)
        # Whoever comes next in the batch and is somebody else talks behind.
        neighbour = torch.from_numpy(_somebody_else(np.asarray(speaker))).to(device)
        colour = tilt[:, None] * torch.linspace(-1, 1, bins, device=device)
        steady = 0.3 * normal() + colour[:, :, None]  # log power of noise in a mel bin varies by about 1 nat
        alone = neighbour == torch.arange(count, device=device)
        other = torch.where(others & ~alone[:, None, None], mel[neighbour], steady)
        mel = torch.where(on, add_power(mel, other, gap[:, None, None]), mel)
        on, low, high = happens(self.band), between(0, self.low * bins), between(0, self.high * bins)
        mel = torch.where(on, cut_band(mel, low.long(), bins - high.long(), normal()), mel)
        on, long, wide = happens(self.masks), between(0, self.mask_frames), between(0, self.mask_bins)
        start, first = between(0, frames), between(0, bins)
        masked = mask_time(mel, start.long(), long.long())
        return torch.where(on, mask_bins(masked, first.long(), wide.long()), mel)


def _somebody_else(speaker: np.ndarray) -> np.ndarray:
    """For each of (B,) the place of the next one that is another speaker; its own where there is none."""
    count = len(speaker)
    after = (np.arange(count)[:, None] + np.arange(1, count + 1)) % count  # (B, B), itself last
    differs = speaker[after] != speaker[:, None]
    differs[:, -1] = True
    return after[np.arange(count), differs.argmax(axis=1)]
