"""Expressions of generated faces: how far lips and lids are apart, and faces with closed lips and open eyes.

An expression is no part of a voice. A face nearer to what is usual than faces are (truncation) has its mouth
half open, between lips and teeth, which no real mouth is; and the inside of a mouth has 3 of 128 pixels in
the mean shape, too few to draw teeth. Eyes that are narrow have no iris at that size. So lips are moved
together and lids apart, and with them all that moves and changes beside them.
"""

import torch
from torch import Tensor, nn

from voice2face_gan.faces.mean_shape import INNER_LIPS, LIDS, MEAN_SHAPE, POINTS, SHAPE_STD

OPEN_EYES = 1.3
"""How far lids are apart at least, in a landmark's spread; of ten training faces seven have them nearer."""

_LEAST = 1e-9  # of a variance, in squares of a landmark's spread: without it faces all alike have no solution


_PLACES = [[list(points) for points in zip(*pairs, strict=True)] for pairs in (INNER_LIPS, LIDS)]
_IN_THE_MEAN = [
    float((MEAN_SHAPE[lower, 1] - MEAN_SHAPE[upper, 1]).mean() / SHAPE_STD) for upper, lower in _PLACES
]


def openings(displacement: Tensor) -> Tensor:
    """How far lips and lids are apart (B, 2), in a landmark's spread, of displacements from the mean shape
    (B, 136)."""
    height = displacement.unflatten(1, (POINTS, 2))[:, :, 1]
    apart = [
        mean + (height[:, lower] - height[:, upper]).mean(dim=1)
        for mean, (upper, lower) in zip(_IN_THE_MEAN, _PLACES, strict=True)
    ]
    return torch.stack(apart, dim=1)


class Expression(nn.Module):
    """What changes in a face as its lips, and as its lids, move apart; nothing until it is fitted.

    Args:
        texture: numbers of a texture.

    Attributes:
        displacement: (2, 136), of the landmarks in their spread, for lips and for lids apart by one spread.
        texture: (2, texture), of the texture, as much.
    """

    def __init__(self, texture: int):
        super().__init__()
        self.register_buffer("displacement", torch.zeros(2, 2 * POINTS))
        self.register_buffer("texture", torch.zeros(2, texture))

    @torch.no_grad()
    def fit(self, displacement: Tensor, texture: Tensor) -> None:
        """Linear regression on both openings together, so that each moves its own alone.

        Args:
            displacement: (N, 136). texture: (N, texture). Both are what e leaves open of a face, so that what
                opens with age or sex stays.
        """
        apart = openings(displacement)
        apart = apart - apart.mean(dim=0)
        squares = apart.t() @ apart + _LEAST * len(apart) * torch.eye(2, device=apart.device)
        for part, values in ((self.displacement, displacement), (self.texture, texture)):
            part.copy_(torch.linalg.solve(squares, apart.t() @ (values - values.mean(dim=0))))

    def neutral(
        self, displacement: Tensor, texture: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same faces with their lips together and their eyes open: displacements (B, 136), textures
        (B, texture).

        Args:
            keep: (B,), 1 for faces that keep their expressions, 0 for the others.
        """
        lips, lids = openings(displacement).split(1, dim=1)
        moved = torch.cat([-lips, (OPEN_EYES - lids).clamp(min=0)], dim=1)
        if keep is not None:
            moved = moved * (1 - keep.to(moved)[:, None])
        return displacement + moved @ self.displacement, texture + moved @ self.texture
