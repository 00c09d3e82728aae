"""Detail of a face beside its coarse image, by diffusion: hair, skin, eyes and background.

    coarse image c (B, 3, side, side), e, noise -> detail d          face = c + SPREAD d

A U-Net F denoises the detail of real faces that noise of standard deviation sigma was added to, given their
coarse images and e:

    D(x, sigma, c, e) = skip x + out F(in x, c, e, sigma)  in = 1 / (1 + sigma^2)^1/2, out = sigma in
                                                           skip = SKIP^2 / (SKIP^2 + sigma^2)

Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", NeurIPS 2022 (EDM), but
for the skip, whose standard deviation is that of the finest detail and not of all: else F would have to copy,
pixel by pixel, the noise that the skip lets through. Coarse images are made noisy by known amounts in
training (conditioning augmentation, Ho et al., "Cascaded Diffusion Models", JMLR 2022), since those of voices
are no real face's. Detail is drawn by DPM-Solver++(2M) (Lu et al. 2022) with classifier-free guidance (Ho and
Salimans 2022): beyond what D estimates where it is told less, that is 0 for e and the noisiest coarse image,
in brightness alone.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SPREAD = 0.3
"""Standard deviation of the detail of real faces, in [-1, 1]."""

SKIP = 0.3
"""Standard deviation of its finest part, in SPREAD."""

SIGMA_MEAN, SIGMA_STD = 0.0, 1.2
"""Of log sigma in training."""

MOVED, MOVED_SHARE = 0.3, 0.7
"""Most noise that is added to a coarse image, and how many get some."""

SMALLEST = 0.05
"""Smallest sigma that detail is drawn at, where the network learned from real faces."""

_LARGEST, _RHO = 20.0, 5.0  # the largest, and how they are spread
_PATCH = 2  # side of a group of pixels
_LIGHT = 8  # side of the squares whose brightness guidance leaves
_FREQUENCIES, _FASTEST = 32, 1000.0  # of sigma and of the coarse image's noise
_CONDITION = 128
_GROUPS, _HEADS = 8, 4  # of normalisation and attention
_BLOCKS, _DEEP = 2, 3  # residual blocks at a resolution, and at the lowest
_FIELDS = 16  # noise images that a face's noise is mixed of
_SEED = 5  # of these


class Detail(nn.Module):
    """forward: F's estimate (B, 3, side, side) at x, of the same shape, given coarse images alike in [-1, 1],
    e (B, embedding), sigma (B,) and the standard deviation of the noise that was added to the coarse images,
    (B,).

    Args:
        channels: at 1/2, 1/4 and 1/8 of the side.
        side: of images in pixels, a multiple of 8.
        embedding: numbers of e.
        noises: numbers that a face's noise image depends on.
    """

    def __init__(self, channels: tuple[int, int, int], side: int, embedding: int, noises: int):
        super().__init__()
        fine, middle, coarse = channels
        self.condition = nn.Sequential(
            nn.Linear(4 * _FREQUENCIES, _CONDITION), nn.SiLU(), nn.Linear(_CONDITION, _CONDITION)
        )
        self.person = nn.Linear(embedding, _CONDITION, bias=False)
        nn.init.zeros_(self.person.weight)
        self.first = nn.Conv2d(2 * 3 * _PATCH**2, fine, 3, padding=1)
        self.down = nn.ModuleList(_blocks(width) for width in (fine, middle))
        self.widen = nn.ModuleList([nn.Conv2d(fine, middle, 1), nn.Conv2d(middle, coarse, 1)])
        self.deep = nn.ModuleList(_Block(coarse) for _ in range(_DEEP))
        self.attention = nn.ModuleList(_Attention(coarse) for _ in range(_DEEP - 1))
        self.narrow = nn.ModuleList([nn.Conv2d(coarse, middle, 1), nn.Conv2d(middle, fine, 1)])
        self.up = nn.ModuleList(_blocks(width) for width in (middle, fine))
        self.norm = nn.GroupNorm(_GROUPS, fine)
        self.last = _zero(nn.Conv2d(fine, 3 * _PATCH**2, 3, padding=1))
        random = np.random.default_rng(_SEED)
        fields = random.standard_normal((_FIELDS, 3, side, side), np.float32)
        directions = random.standard_normal((noises, _FIELDS), np.float32)
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            rates = _FASTEST ** (torch.arange(_FREQUENCIES) / (_FREQUENCIES - 1))
            self.register_buffer("frequencies", rates, persistent=False)
            self.register_buffer("fields", torch.from_numpy(fields), persistent=False)
            self.register_buffer("directions", torch.from_numpy(directions), persistent=False)

    def forward(self, x: Tensor, coarse: Tensor, e: Tensor, sigma: Tensor, moved: Tensor) -> Tensor:
        angles = (n[:, None] * self.frequencies for n in (sigma.log() / 8 + 0.5, moved))
        waves = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
        condition = F.silu(self.condition(waves) + self.person(e))
        # The convolutions then run channels last, on a CPU a fifth faster.
        x = torch.cat([x, coarse], dim=1).contiguous(memory_format=torch.channels_last)
        x, skips = self.first(F.pixel_unshuffle(x, _PATCH)), []
        for blocks, widen in zip(self.down, self.widen, strict=True):
            for block in blocks:
                x = block(x, condition)
            skips.append(x)
            x = widen(F.avg_pool2d(x, 2))
        x = self.deep[0](x, condition)
        for attention, block in zip(self.attention, self.deep[1:], strict=True):
            x = block(attention(x), condition)
        for narrow, blocks in zip(self.narrow, self.up, strict=True):
            x = skips.pop() + F.interpolate(narrow(x), scale_factor=2.0)
            for block in blocks:
                x = block(x, condition)
        return F.pixel_shuffle(self.last(F.silu(self.norm(x))), _PATCH)

    def denoised(self, x: Tensor, coarse: Tensor, e: Tensor, sigma: Tensor, moved: Tensor) -> Tensor:
        """D: the detail (B, 3, side, side), in SPREAD, that noise of standard deviation sigma (B,) was added
        to; coarse, e and moved as in `forward`."""
        skip, scale, out = _factors(sigma)
        return skip * x + out * self(scale * x, coarse, e, sigma, moved).float()

    def loss(
        self,
        detail: Tensor,
        coarse: Tensor,
        weight: Tensor,
        e: Tensor,
        sigma: Tensor,
        moved: Tensor,
        noise: Tensor,
    ) -> Tensor:
        """Squared error (B,) of F, a weighted mean over the pixels: of the detail in units that make it
        alike for all sigma.

        Args:
            detail: (B, 3, side, side) of real faces, in SPREAD.
            coarse: (B, 3, side, side), with its noise.
            weight: (B, 1, side, side); a pixel of weight 0 is seen and not counted.
            e: (B, embedding). sigma, moved: (B,).
            noise: standard normal, as detail.
        """
        x = detail + sigma[:, None, None, None] * noise
        skip, scale, out = _factors(sigma)
        error = (
            self(scale * x, coarse, e, sigma, moved).float() - (detail - skip * x) / out
        ).square() * weight
        return error.sum(dim=(1, 2, 3)) / (3 * weight.sum(dim=(1, 2, 3))).clamp(min=1)

    def guided(self, x: Tensor, coarse: Tensor, e: Tensor, sigma: Tensor, guidance: Tensor | float) -> Tensor:
        """`denoised` without noise in the coarse images, its brightness `guidance` times as far from what it
        is with the most noise and without e: 1 is as it is, more is clearer. Colours stay as they are, and
        so does light on larger parts, since skin and ears become red else (frequency-decoupled guidance,
        Sadat et al. 2025).

        Args:
            guidance: one number, or one of each pixel (side, side).
        """
        still = torch.zeros_like(sigma)
        if not isinstance(guidance, Tensor) and guidance == 1:
            return self.denoised(x, coarse, e, sigma, still)
        # One pass for both: on a CPU the smallest maps are too few for two.
        moved = torch.cat([still, still + MOVED])
        coarse = torch.cat([coarse, coarse + MOVED * self.fields[0]])
        both = self.denoised(x.repeat(2, 1, 1, 1), coarse, torch.cat([e, 0 * e]), sigma.repeat(2), moved)
        told, untold = both.chunk(2)
        further = (told - untold).mean(dim=1, keepdim=True)
        light = F.avg_pool2d(further, _LIGHT)
        light = F.interpolate(light, scale_factor=float(_LIGHT), mode="bilinear", align_corners=False)
        return told + (guidance - 1) * (further - light)

    def draw(
        self,
        coarse: Tensor,
        e: Tensor,
        noise: Tensor,
        steps: int,
        guidance: Tensor | float = 1.0,
        smallest: float = SMALLEST,
        share: Tensor | float = 1.0,
    ) -> Tensor:
        """Detail (B, 3, side, side) of coarse images alike and e (B, embedding), to be added to them.

        Args:
            noise: standard normal, of the same shape; the same noise gives the same detail.
            steps: evaluations of the network, twice as many where guidance is not 1.
            guidance: see `guided`.
            smallest: standard deviation of the noise of the last one.
            share: see `path`.
        """
        sigmas = drawn_sigmas(steps, smallest)
        return SPREAD * self.path(coarse, e, start(noise), sigmas, guidance, share)[-1]

    def path(
        self,
        coarse: Tensor,
        e: Tensor,
        x: Tensor,
        sigmas: list[float],
        guidance: Tensor | float = 1.0,
        share: Tensor | float = 1.0,
    ) -> list[Tensor]:
        """Where noise goes on its way to detail: x at each of the sigmas, then the detail, in SPREAD.

        Args:
            x: at the first sigma.
            sigmas: falling.
            share: (side, side), how much of its detail each pixel gets. At each sigma, so that hair and ears
                fit the face as it will be (Lugmayr et al., "RePaint", CVPR 2022).
        """
        still, states, before = torch.zeros_like(coarse[:, 0, 0, 0]), [x], None
        for i, sigma in enumerate(sigmas):
            found = share * self.guided(x, coarse, e, torch.full_like(still, sigma), guidance)
            here = found
            if i + 1 == len(sigmas):
                break
            if before is not None:
                ratio = math.log(sigmas[i - 1] / sigma) / math.log(sigma / sigmas[i + 1])
                here = found + (found - before) / (2 * ratio)
            left = sigmas[i + 1] / sigma
            x, before = left * x + (1 - left) * here, found
            states.append(x)
        return [*states, found]

    def noise(self, numbers: Tensor) -> Tensor:
        """Noise images (B, 3, side, side), standard normal, of numbers (B, noises): those of like direction
        have like noise; 0 where all numbers are 0."""
        shares = F.normalize(numbers @ self.directions, dim=1)
        return (shares @ self.fields.flatten(1)).unflatten(1, self.fields.shape[1:])


def start(noise: Tensor) -> Tensor:
    """x at the largest sigma, of standard normal noise."""
    return (1 + _LARGEST**2) ** 0.5 * noise


def drawn_sigmas(steps: int, smallest: float = SMALLEST) -> list[float]:
    """The standard deviations of noise that detail is drawn at, falling to the smallest (EDM, equation 5)."""
    ends = _LARGEST ** (1 / _RHO), smallest ** (1 / _RHO)
    shares = (i / max(1, steps - 1) for i in range(steps))
    return [(ends[0] + share * (ends[1] - ends[0])) ** _RHO for share in shares]


def _factors(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """skip, in and out of sigma (B,), each (B, 1, 1, 1)."""
    sigma = sigma[:, None, None, None]
    scale = (1 + sigma.square()).rsqrt()
    return SKIP**2 / (SKIP**2 + sigma.square()), scale, sigma * scale


def _blocks(width: int) -> nn.ModuleList:
    return nn.ModuleList(_Block(width) for _ in range(_BLOCKS))


def _zero(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The layer with all weights 0: what it adds begins at nothing."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class _Block(nn.Module):
    """x + two 3 x 3 convolutions, scaled and shifted between them by the condition (AdaGN, Dhariwal and
    Nichol, NeurIPS 2021)."""

    def __init__(self, channels: int):
        super().__init__()
        self.first_norm, self.second_norm = (nn.GroupNorm(_GROUPS, channels) for _ in range(2))
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = _zero(nn.Conv2d(channels, channels, 3, padding=1))
        self.scale_shift = _zero(nn.Linear(_CONDITION, 2 * channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.scale_shift(condition)[:, :, None, None].chunk(2, dim=1)
        h = self.second_norm(self.first(F.silu(self.first_norm(x)))) * (1 + scale) + shift
        return x + self.second(F.silu(h))


class _Attention(nn.Module):
    """x + self-attention among its places (Vaswani et al., NeurIPS 2017)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.all = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        parts = self.all(self.norm(x)).flatten(2).unflatten(1, (3, _HEADS, channels // _HEADS))
        query, key, value = parts.transpose(-1, -2).unbind(1)
        found = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(found.transpose(-1, -2).flatten(1, 2).unflatten(2, (height, width)))
