"""Contrast of generated hair: a light wall behind dark hair.

The coarse image of a voice is a mean of many people's: no outline of its hair is left, and where hair is as
light as the wall, the diffusion of detail (detail.py) has no reason to draw one. It draws what its noise says
on a large scale: noise whose mean is below 0 in an area gives a dark area. So the noise gets a mean m, below
0 on hair, above 0 beyond the head, and one or the other beside the jaw. Where the coarse image's hair is
light, it gives fair or short hair before a light wall.

    m = beyond - hair + forehead - s beside - max(0, s) ears

    s = tanh((d - LONG) / LONG_WIDTH)   d: how much darker the coarse image is beside the ears than beyond
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
    face_mask,
    head_mask,
)

EAR_TOPS = (0.36, 0.03)
"""Height, and its edge, above which what is beside the forehead is hair, whether it is long or not: in
fractions of the side from its top, at zoom 1."""

EAR_LOBES = (0.6, 0.03)
"""The same below which there is long hair beside the jaw, or none."""

SHOULDERS = (0.86, 0.04)
"""The same below which there may be shoulders beyond the hair."""

READ, READ_EDGE = (0.44, 0.66), 0.02
"""Upper and lower end of what is read beside the ears. How much darker it is there than beyond tells women's
coarse images from men's in 99 of 100 pairs (557 training voices), beside the jaw in 94."""

LONG, LONG_WIDTH = 0.035, 0.015
"""The difference d of hair that is as likely long as short, and how far from it s is three quarters of what
it is at its ends. Of these voices 19 of 20 women's have .05 and more, 19 of 20 men's less than .01."""


class HairContrast(nn.Module):
    """forward: coarse images (B, 3, side, side) -> m (B, 1, side, side), between -1 and 1.

    Args:
        side: of images in pixels.
        zoom: size of their faces, relative to the template.

    Attributes:
        always: (side, side), m but for what is beside the jaw and on the ears.
        jaw, ears: (side, side), 0 to 1: beside the jaw, and on the ears.
        told: (side, side), weights of the difference d.
    """

    def __init__(self, side: int, zoom: float):
        super().__init__()
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            head = ellipse(side, zoom, HEAD_CENTRE, HAIR_RADII, HAIR_EDGE)
            face = face_mask(side, zoom)
            limits = EAR_TOPS, EAR_LOBES, SHOULDERS, (READ[0], READ_EDGE), (READ[1], READ_EDGE)
            tops, lobes, shoulders, first, last = (below(side, zoom, *limit) for limit in limits)
            rim, beyond = head * (1 - face), (1 - head) * (1 - shoulders)
            forehead = face * (1 - below(side, zoom, BROWS, BROWS_EDGE))
            read = head * (1 - head_mask(side, zoom)) * first * (1 - last)
        self.register_buffer("always", beyond - rim * (1 - tops) + forehead, persistent=False)
        self.register_buffer("jaw", rim * lobes * (1 - shoulders), persistent=False)
        self.register_buffer("ears", rim * tops * (1 - lobes), persistent=False)
        self.register_buffer("told", beyond / beyond.sum() - read / read.sum(), persistent=False)

    def forward(self, coarse: Tensor) -> Tensor:
        d = (coarse.mean(dim=1, keepdim=True) * self.told).sum(dim=(2, 3), keepdim=True)
        s = torch.tanh((d - LONG) / LONG_WIDTH)
        return self.always - s * self.jaw - s.clamp(min=0) * self.ears
