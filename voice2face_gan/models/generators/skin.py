"""The skin, brows and lips of generated faces: no line along the nose, no patch around the mouth, no brows or
lips that vanish, and a colour that skin has.

A voice tells little, so that what it says of a texture is drawn some times as far from the average face as it
says (`strength`). Small errors grow as much, and the noise of a variant adds to them. Along both sides of a
nose they become hard dark lines, where the average face has a soft shadow; a shaved chin becomes a grey
patch; fair brows and pale lips vanish; skin is grey or orange. So these parts of what differs from the
average face are made less:

    f    of the nose, what is narrower than it in a row of pixels       f LINES / (LINES^2 + r^2)^1/2
    g    of the brows, what is narrower than they are                   g FAINT / b, where b > FAINT
    l    of the lips, likewise                                          l PALE / p, where p > PALE
    m    mean colour around the mouth, less the cheeks'                 m PATCH / (PATCH^2 + |m|^2)^1/2

r is the root mean square of f, b and p how much lighter than the average face's brows are in g, and lips in
l. Each gets one factor, which leaves its shape: pixels held within limits one by one make a nose a box. Then
the mean colour c of the cheeks is moved, and all of the texture as other light would move it, to c' of the
same luminance, whose differences d of red and green, and of green and blue, are near those of SKIN:

    d' = SKIN + WITHIN tanh((d - SKIN) / WITHIN)        texture' + 1 = (texture + 1) (c' + 1) / (c + 1)
"""

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.generators.attributes import LUMINANCE, mean_over
from voice2face_gan.models.generators.regions import BLURS, ellipse, smooth_blur

NOSE = (0.5, 0.52), (0.11, 0.17), 0.15
"""An ellipse around the nose from between the brows to the nostrils: centre, radii and edge as of
regions.ellipse."""

CHEEKS = (0.5, 0.6), (0.16, 0.2), 0.12
"""The same around the cheeks and what is between, whose mean colour is the skin's."""

BESIDE = (0.5, 0.58), (0.2, 0.1), 0.2
"""The same of the cheeks that the mouth's surroundings are compared with."""

MOUTH = (0.5, 0.745), (0.17, 0.15), 0.25
"""The same around upper lip, mouth and chin."""

BROW_RADII, BROW_EDGE, BROW_BELOW = (0.13, 0.05), 0.25, 0.004
"""The same around a brow, whose centre is so far below the mean of its landmarks."""

BROW_HEIGHT = (0.014, 0.02)
"""How far a brow's hair reaches above and below its landmarks, in fractions of the side, at zoom 1."""

LIPS_RADII, LIPS_EDGE = (0.13, 0.055), 0.25
"""The same around the lips, whose centre is the mean of their outline's landmarks."""

WIDTH = 0.12
"""Of the blur that tells what is narrow, its standard deviation in fractions of the side."""

LINES = 0.03
"""Root mean square that f is held below, in [-1, 1]; before, r is .05 in the middle of plain answers, up to
.1 of variants."""

FAINT = 0.06
"""How much lighter than the average face's brows are at most; 1 to 5 in 100 plain answers' are lighter."""

PALE = 0.06
"""The same of lips; before, their median is .05 lighter of plain answers, the most .19 of variants."""

PATCH = 0.03
"""Length of m that it is held below; before, it is some .02 in the middle of plain answers, .07 at most."""

SKIN, WITHIN = (0.4, 0.165), (0.08, 0.05)
"""Red less green and green less blue of a face's mean colour, in [-1, 1], and how far from these they are at
most. Plain answers of 300 training voices have .400 and .166 in the mean, of standard deviations .043 and
.031; their variants .391 and .162, of .066 and .040."""

_DARKEST = 0.1  # of a mean colour, above black: it is divided by
_BROWS, _LIPS = (range(17, 22), range(22, 27)), range(48, 60)  # landmarks


class Skin(nn.Module):
    """forward: textures (B, 3, side, side) in [-1, 1] and the average face's, (1, 3, side, side) -> textures
    of the same faces.

    Args:
        side: of the textures in pixels.
        zoom: size of their faces, relative to the template.

    Attributes:
        nose, mouth, brows, lips: (side, side), 1 on them.
        around: (side, side), blurs a row of pixels.
        hair, red: (3, side, side), whose products with a texture are the mean luminance of the brows' hair
            and of the lips.
        cheeks, patch: (side, side), weights of a mean over the cheeks; and of the difference m.
    """

    def __init__(self, side: int, zoom: float):
        super().__init__()
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            nose, mouth, cheeks, beside = (
                ellipse(side, zoom, *place) for place in (NOSE, MOUTH, CHEEKS, BESIDE)
            )
            beside = beside * (1 - mouth)
            centres = (MEAN_SHAPE[[*brow]].mean(axis=0) + [0, BROW_BELOW] for brow in _BROWS)
            left, right = (ellipse(side, zoom, tuple(place), BROW_RADII, BROW_EDGE) for place in centres)
            hair = sum(torch.from_numpy(mean_over(_hair(brow), side, zoom)) for brow in _BROWS) / 2
            # A mean of n has the variance (n^2 - 1) / 12.
            size = 2 * round((12 * (WIDTH * side) ** 2 / BLURS + 1) ** 0.5 / 2 - 0.5) + 1
            around = smooth_blur(side, size)
            outline = MEAN_SHAPE[[*_LIPS]]
            lips = ellipse(side, zoom, tuple(outline.mean(axis=0)), LIPS_RADII, LIPS_EDGE)
            red = torch.from_numpy(mean_over(outline, side, zoom))
            hair, red = (torch.tensor(LUMINANCE)[:, None, None] * part for part in (hair, red))
        self.register_buffer("nose", nose, persistent=False)
        self.register_buffer("mouth", mouth, persistent=False)
        self.register_buffer("brows", torch.maximum(left, right), persistent=False)
        self.register_buffer("around", around, persistent=False)
        self.register_buffer("hair", hair, persistent=False)
        self.register_buffer("lips", lips, persistent=False)
        self.register_buffer("red", red, persistent=False)
        self.register_buffer("cheeks", cheeks / cheeks.sum(), persistent=False)
        self.register_buffer("patch", mouth / mouth.sum() - beside / beside.sum(), persistent=False)

    def forward(self, texture: Tensor, average: Tensor) -> Tensor:
        other = self.not_lighter(texture - average, self.brows, self.hair, FAINT)
        other = self.not_lighter(other, self.lips, self.red, PALE)
        other = self.without_patch(self.without_lines(other))
        return self.coloured(average + other)

    def not_lighter(self, other: Tensor, mask: Tensor, weights: Tensor, most: float) -> Tensor:
        """What differs from the average face (B, 3, side, side), with brows or lips that are not lighter
        against what is around them than by `most`.

        Args:
            mask: (side, side), 1 on them. weights: (3, side, side), of their mean luminance.
        """
        narrow = other - self.around @ other @ self.around.t()
        lighter = (weights * narrow).sum(dim=(1, 2, 3), keepdim=True)
        share = most / lighter.clamp(min=most)
        return other - (1 - share) * mask * narrow

    def without_lines(self, other: Tensor) -> Tensor:
        """What differs from the average face (B, 3, side, side), without hard lines along the nose."""
        narrow = self.nose * (other - other @ self.around.t())
        square = (self.nose * narrow.square()).sum(dim=(2, 3), keepdim=True) / self.nose.sum()
        share = LINES / (LINES**2 + square.mean(dim=1, keepdim=True)).sqrt()
        return other - (1 - share) * narrow

    def without_patch(self, other: Tensor) -> Tensor:
        """What differs from the average face (B, 3, side, side), without a patch around the mouth."""
        colour = (self.patch * other).sum(dim=(2, 3), keepdim=True)
        share = PATCH / (PATCH**2 + colour.square().sum(dim=1, keepdim=True)).sqrt()
        return other - (1 - share) * self.mouth * colour

    def coloured(self, texture: Tensor) -> Tensor:
        """The textures (B, 3, side, side) in colours of skin."""
        colour = (texture * self.cheeks).sum(dim=(2, 3))
        usual, within = colour.new_tensor(SKIN), colour.new_tensor(WITHIN)
        d = colour[:, :2] - colour[:, 1:]
        d = usual + within * torch.tanh((d - usual) / within)
        red, _, blue = LUMINANCE
        green = colour @ colour.new_tensor(LUMINANCE) - red * d[:, 0] + blue * d[:, 1]
        wanted = torch.stack([green + d[:, 0], green, green - d[:, 1]], dim=1)
        gain = (wanted + 1) / (colour + 1).clamp(min=_DARKEST)
        return (texture + 1) * gain[:, :, None, None] - 1


def _hair(brow: range) -> np.ndarray:
    """The outline of a brow's hair, in fractions of the side at zoom 1."""
    points, (above, below) = MEAN_SHAPE[[*brow]], BROW_HEIGHT
    return np.concatenate([points - [0, above], points[::-1] + [0, below]])
