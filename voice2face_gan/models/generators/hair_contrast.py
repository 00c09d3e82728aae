"""Contrast of generated hair: a light wall behind dark hair, a dark one behind light hair.

The coarse image of a voice is a mean of many people's: no outline of its hair is left, and where hair is as
light as the wall, the diffusion of detail (detail.py) has no reason to draw one. It draws what its noise says
on a large scale: noise whose mean is below 0 in an area gives a dark area. So the noise gets a mean m: of one
sign where hair may be, of the other beyond the head, and of the one or the other beside the jaw. Light hair
is mostly thin, so that the wall is dark up to the head itself.

    m = t (beyond - hair - s beside)    for t > 0, dark hair
        t LIGHT_HAIR around             for t < 0

    t = tanh((LIGHT - l) / WIDTH)       l: how light the coarse image is where hair may be
    s = tanh((d - LONG) / LONG_WIDTH)   d: how much darker it is beside the jaw than beyond
"""

import torch
from torch import Tensor, nn

from voice2face_gan.models.generators.regions import (
    HAIR_EDGE,
    HAIR_RADII,
    HEAD_CENTRE,
    below,
    ellipse,
    head_mask,
)

FOREHEAD_CENTRE, FOREHEAD_RADII, FOREHEAD_EDGE = (0.5, 0.56), (0.3, 0.37), 0.12
"""An ellipse around forehead, temples and all below: x and y in fractions of the side, at zoom 1."""

EAR_TOPS, EAR_TOPS_EDGE = 0.36, 0.03
"""Height above which what is beside the forehead is hair, whether it is long or not."""

EAR_LOBES, EAR_LOBES_EDGE = 0.6, 0.03
"""Height below which only long hair is beside the jaw."""

SHOULDERS, SHOULDERS_EDGE = 0.86, 0.04
"""Height below which there may be shoulders beyond the hair."""

LIGHT, WIDTH = -0.1, 0.03
"""How light hair is that is as far from dark as from light, in [-1, 1], and how far from it t is near its
ends. Of 40 validation people's plain answers two are above -.1, the others below -.15."""

LONG, LONG_WIDTH = 0.1, 0.05
"""The same for how much darker than the wall it is beside the jaw. Of the same answers 12 of 20 women's have
.11 to .16, men's at most .07."""

LIGHT_HAIR = 0.5
"""How much less contrast light hair gets: more gives black walls."""


class HairContrast(nn.Module):
    """forward: coarse images (B, 3, side, side) -> m (B, 1, side, side), between -1 and 1.

    Args:
        side: of images in pixels.
        zoom: size of their faces, relative to the template.

    Attributes:
        areas: (4, side, side), 1 where there may be hair, where there is neither hair nor shoulders, beside
            the jaw, and around a head without hair.
    """

    def __init__(self, side: int, zoom: float):
        super().__init__()
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            head = ellipse(side, zoom, HEAD_CENTRE, HAIR_RADII, HAIR_EDGE)
            face = ellipse(side, zoom, FOREHEAD_CENTRE, FOREHEAD_RADII, FOREHEAD_EDGE)
            hair = head * (1 - face) * (1 - below(side, zoom, EAR_TOPS, EAR_TOPS_EDGE))
            above = 1 - below(side, zoom, SHOULDERS, SHOULDERS_EDGE)
            beside = head * (1 - face) * below(side, zoom, EAR_LOBES, EAR_LOBES_EDGE) * above
            around = (1 - head_mask(side, zoom)) * above
            areas = torch.stack([hair, (1 - head) * above, beside, around])
        self.register_buffer("areas", areas, persistent=False)

    def forward(self, coarse: Tensor) -> Tensor:
        means = torch.einsum("bhw,khw->bk", coarse.mean(dim=1), self.areas) / self.areas.sum(dim=(1, 2))
        hair, beyond, beside, _ = means.unbind(1)
        t = torch.tanh((LIGHT - hair) / WIDTH)
        dark, light = t.clamp(min=0), t.clamp(max=0)
        long = torch.tanh((beyond - beside - LONG) / LONG_WIDTH)
        shares = torch.stack([-dark, dark, -dark * long, LIGHT_HAIR * light], dim=1)
        return torch.einsum("bk,khw->bhw", shares, self.areas)[:, None]
