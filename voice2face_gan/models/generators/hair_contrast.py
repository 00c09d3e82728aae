"""Contrast of generated hair: a light wall behind dark hair, a dark one behind light hair.

The coarse image of a voice is a mean of many people's: no outline of its hair is left, and where hair is as
light as the wall, the diffusion of detail (detail.py) has no reason to draw one. It draws what its noise says
on a large scale: noise whose mean is below 0 in an area gives a dark area. So the noise gets a mean m. Where
hair is dark it is below 0 on hair, above 0 beyond the head, and one or the other beside the jaw. Light hair
is mostly thin, and m is below 0 from the head itself outwards.

    m = t (beyond - hair + forehead - s beside - max(0, s) ears)    for t > 0, dark hair
        t LIGHT_HAIR outside                                        for t < 0

    t = tanh((LIGHT - l) / WIDTH)       l: how light the coarse image is where hair may be
    s = tanh((d - LONG) / LONG_WIDTH)   d: how much darker it is beside the ears than beyond
"""

import torch
from torch import Tensor, nn

from voice2face_gan.models.generators.regions import (
    BROWS,
    BROWS_EDGE,
    HAIR_EDGE,
    HAIR_RADII,
    HEAD_CENTRE,
    below,
    ellipse,
    head_mask,
)

FACE_CENTRE, FACE_RADII, FACE_EDGE = (0.5, 0.56), (0.3, 0.4), 0.12
"""An ellipse around forehead and all below: x and y in fractions of the side, at zoom 1."""

EAR_TOPS = (0.36, 0.03)
"""Height, and its edge, above which what is beside the forehead is hair, whether it is long or not."""

EAR_LOBES = (0.6, 0.03)
"""The same below which there is long hair beside the jaw, or none."""

SHOULDERS = (0.86, 0.04)
"""The same below which there may be shoulders beyond the hair."""

LIGHT, WIDTH = -0.1, 0.03
"""How light hair is that is as far from dark as from light, in [-1, 1], and how far from it t is three
quarters of what it is at its ends. Of 40 validation people's plain answers two are above -.1, the others
below -.15."""

READ, READ_EDGE = (0.44, 0.66), 0.02
"""Upper and lower end of what is read beside the ears. How much darker it is there than beyond tells women's
coarse images from men's in 99 of 100 pairs (557 training voices), beside the jaw in 94."""

LONG, LONG_WIDTH = 0.035, 0.015
"""The same as LIGHT and WIDTH for how much darker it is there. Of these voices 19 of 20 women's have .05 and
more, 19 of 20 men's less than .01."""

LIGHT_HAIR = 0.7
"""Factor of the contrast around light hair: more gives black walls."""


class HairContrast(nn.Module):
    """forward: coarse images (B, 3, side, side) -> m (B, 1, side, side), between -1 and 1.

    Args:
        side: of images in pixels.
        zoom: size of their faces, relative to the template.

    Attributes:
        areas: (6, side, side), 0 to 1: where there may be hair, where there is neither hair nor shoulders,
            on the forehead, beside the jaw, on the ears, and outside a head without hair.
        read: (side, side), 0 to 1: beside the ears.
    """

    def __init__(self, side: int, zoom: float):
        super().__init__()
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            head = ellipse(side, zoom, HEAD_CENTRE, HAIR_RADII, HAIR_EDGE)
            face = ellipse(side, zoom, FACE_CENTRE, FACE_RADII, FACE_EDGE)
            limits = EAR_TOPS, EAR_LOBES, SHOULDERS, (READ[0], READ_EDGE), (READ[1], READ_EDGE)
            tops, lobes, shoulders, first, last = (below(side, zoom, *limit) for limit in limits)
            brows = below(side, zoom, BROWS, BROWS_EDGE)
            rim, outside = head * (1 - face), 1 - head_mask(side, zoom)
            areas = [rim * (1 - tops), (1 - head) * (1 - shoulders), face * (1 - brows)]
            areas += [rim * lobes * (1 - shoulders), rim * tops * (1 - lobes), outside * (1 - shoulders)]
        self.register_buffer("areas", torch.stack(areas), persistent=False)
        self.register_buffer("read", head * outside * first * (1 - last), persistent=False)

    def forward(self, coarse: Tensor) -> Tensor:
        brightness = coarse.mean(dim=1)
        hair, beyond, ears = (
            (brightness * area).sum(dim=(1, 2)) / area.sum() for area in (*self.areas[:2], self.read)
        )
        t = torch.tanh((LIGHT - hair) / WIDTH)
        dark, light = t.clamp(min=0), t.clamp(max=0)
        long = torch.tanh((beyond - ears - LONG) / LONG_WIDTH)
        shares = [-dark, dark, dark, -dark * long, -dark * long.clamp(min=0), LIGHT_HAIR * light]
        return torch.einsum("bk,khw->bhw", torch.stack(shares, dim=1), self.areas)[:, None]
