"""Expressions of generated faces: how far lips and lids are apart, the mouth's corners are down and heads are
turned, and faces with closed lips and open eyes that look at the viewer.

An expression is no part of a voice. A face nearer to what is usual than faces are (truncation) has its mouth
half open, between lips and teeth, which no real mouth is; and the inside of a mouth has 3 of 128 pixels in
the mean shape, too few to draw teeth. Eyes that are narrow have no iris at that size. So lips are moved
together and lids apart, and with them all that moves and changes beside them. A head that is turned far has a
cheek without pixels, so that it is turned back. Men smile less than women, and what a voice says is drawn
some times as far as it says: their mouths' corners hang, and are lifted.
"""

import torch
from torch import Tensor, nn

from voice2face_gan.faces.mean_shape import INNER_LIPS, LIDS, MEAN_SHAPE, POINTS, SHAPE_STD
from voice2face_gan.models.generators.regression import slopes

OPEN_EYES = 1.3
"""How far lids are apart at least, in a landmark's spread; of ten training faces seven have them nearer."""

MOST_TURNED = 3.0
"""How far a nose is beside the middle of the ears at most, in a landmark's spread; it is in two of three
training faces."""

MOST_DOWN = 0.7
"""How far the mouth's corners are below its middle at most, as against the mean shape, in a landmark's
spread; they are in six of seven training faces. Of men's plain answers at strength 5 it was .35 to 1.1."""

CORNERS, MIDDLE = (48, 54), (51, 57, 62, 66)
"""Points at the mouth's corners, and in its middle."""

EARS, NOSE = (0, 1, 2, 14, 15, 16), (29, 30, 33)
"""Points of the jaw at both ears, and along the nose."""


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


def turns(displacement: Tensor) -> Tensor:
    """How far heads are turned to the image's right (B,): the way from the middle of the ears to the nose, in
    a landmark's spread, of displacements from the mean shape (B, 136)."""
    across = displacement.unflatten(1, (POINTS, 2))[:, :, 0]
    return across[:, NOSE].mean(dim=1) - across[:, EARS].mean(dim=1)


def hanging(displacement: Tensor) -> Tensor:
    """How far the mouth's corners are below its middle (B,), as against the mean shape, in a landmark's
    spread, of displacements from the mean shape (B, 136)."""
    height = displacement.unflatten(1, (POINTS, 2))[:, :, 1]
    return height[:, CORNERS].mean(dim=1) - height[:, MIDDLE].mean(dim=1)


def _lift() -> Tensor:
    """The displacement (136,) that lifts the mouth's corners by 1 against its middle, its other points by the
    square of how far they are from it."""
    across = torch.from_numpy(MEAN_SHAPE[:, 0])
    away = ((across - across[[*MIDDLE]].mean()) / (across[CORNERS[1]] - across[CORNERS[0]]) * 2).square()
    lift = torch.zeros(POINTS, 2)
    lift[48:, 1] = -away.clamp(max=1)[48:].float()
    return lift.flatten()


class Expression(nn.Module):
    """What changes in a face as its lips and its lids move apart and its head turns; nothing until it is
    fitted.

    Args:
        texture: numbers of a texture.

    Attributes:
        displacement: (3, 136), of the landmarks in their spread, for lips, lids and turn by one spread.
        texture: (3, texture), of the texture, as much.
        lift: (136,), of the landmarks in their spread, as the mouth's corners rise by as much.
    """

    def __init__(self, texture: int):
        super().__init__()
        self.register_buffer("displacement", torch.zeros(3, 2 * POINTS))
        self.register_buffer("texture", torch.zeros(3, texture))
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            self.register_buffer("lift", _lift(), persistent=False)

    @torch.no_grad()
    def fit(self, displacement: Tensor, texture: Tensor) -> None:
        """Linear regression on both openings and the turn together, so that each moves its own alone.

        Args:
            displacement: (N, 136). texture: (N, texture). Both are what e leaves open of a face, so that what
                opens with age or sex stays.
        """
        causes = torch.cat([openings(displacement), turns(displacement)[:, None]], dim=1)
        for part, values in ((self.displacement, displacement), (self.texture, texture)):
            part.copy_(slopes(causes, values))

    def neutral(
        self, displacement: Tensor, texture: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same faces with their lips together, its corners lifted, and their eyes open, turned at most so
        far: displacements (B, 136), textures (B, texture).

        Args:
            keep: (B,), 1 for faces that keep their expressions, 0 for the others.
        """
        lips, lids = openings(displacement).split(1, dim=1)
        turn = turns(displacement)[:, None]
        back = turn.clamp(-MOST_TURNED, MOST_TURNED) - turn
        moved = torch.cat([-lips, (OPEN_EYES - lids).clamp(min=0), back], dim=1)
        changed = 1 if keep is None else 1 - keep.to(moved)[:, None]
        displacement, texture = (
            part + changed * moved @ change
            for part, change in ((displacement, self.displacement), (texture, self.texture))
        )
        hangs = (hanging(displacement)[:, None] - MOST_DOWN).clamp(min=0)
        return displacement + changed * hangs * self.lift, texture
