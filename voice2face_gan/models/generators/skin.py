"""The skin of generated faces: no line along the nose, and a colour that skin has.

A voice tells little, so that what it says of a texture is drawn some times as far from the average face as
it says (`strength`). Small errors grow as much. Along both sides of a nose they become hard dark lines, where
the average face has a soft shadow; and skin becomes grey or orange, which the light of a variant adds to.

So on the nose f, what is narrower than it in a row of pixels and differs from the average face, is made less
by one factor for all of it. And the mean colour c of the face is moved, as other light would move it, to c'
of the same luminance, whose differences d of red and green, and of green and blue, are near those of SKIN:

    f' = f LIMIT / (LIMIT^2 + r^2)^1/2                  r: root mean square of f on the nose
    d' = SKIN + WITHIN tanh((d - SKIN) / WITHIN)        texture' + 1 = (texture + 1) (c' + 1) / (c + 1)
"""

import torch
from torch import Tensor, nn

from voice2face_gan.models.generators.attributes import LUMINANCE
from voice2face_gan.models.generators.regions import ellipse, running_mean

NOSE_CENTRE, NOSE_RADII, NOSE_EDGE = (0.5, 0.52), (0.11, 0.17), 0.15
"""An ellipse around the nose from between the brows to the nostrils: x and y in fractions of the side, at
zoom 1."""

CHEEKS_CENTRE, CHEEKS_RADII, CHEEKS_EDGE = (0.5, 0.6), (0.16, 0.2), 0.12
"""The same around the cheeks and what is between, whose mean colour is the skin's."""

LIMIT = 0.03
"""Root mean square of f', in [-1, 1], is below it. Of plain answers r is .05 in the middle, of variants up to
.1. By one factor the nose keeps its shape: pixels held within limits one by one make it a box."""

WIDTH = 0.12
"""Of the blur that tells what is around a pixel, its standard deviation in fractions of the side."""

SKIN, WITHIN = (0.4, 0.165), (0.08, 0.05)
"""Red less green and green less blue of a face's mean colour, in [-1, 1], and how far from these they are at
most. Plain answers of 300 training voices have .400 and .166 in the mean, of standard deviations .043 and
.031; their variants .391 and .162, of .066 and .040."""

_DARKEST = 0.1  # of a mean colour, above black: it is divided by
_BLURS = 3  # running means in a row are nearly a Gaussian


class Skin(nn.Module):
    """forward: textures (B, 3, side, side) in [-1, 1] and the average face's, (1, 3, side, side) -> textures
    of the same faces.

    Args:
        side: of the textures in pixels.
        zoom: size of their faces, relative to the template.

    Attributes:
        nose: (side, side), 1 on it. cheeks: (side, side), weights of the mean over them.
        around: (side, side), blurs a row of pixels.
    """

    def __init__(self, side: int, zoom: float):
        super().__init__()
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            nose = ellipse(side, zoom, NOSE_CENTRE, NOSE_RADII, NOSE_EDGE)
            cheeks = ellipse(side, zoom, CHEEKS_CENTRE, CHEEKS_RADII, CHEEKS_EDGE)
            # A mean of n has the variance (n^2 - 1) / 12.
            size = 2 * round((12 * (WIDTH * side) ** 2 / _BLURS + 1) ** 0.5 / 2 - 0.5) + 1
            around = torch.linalg.matrix_power(running_mean(side, size), _BLURS)
        self.register_buffer("nose", nose, persistent=False)
        self.register_buffer("cheeks", cheeks / cheeks.sum(), persistent=False)
        self.register_buffer("around", around, persistent=False)

    def forward(self, texture: Tensor, average: Tensor) -> Tensor:
        return self.coloured(self.without_lines(texture, average))

    def without_lines(self, texture: Tensor, average: Tensor) -> Tensor:
        """The textures without hard lines on their noses."""
        other = texture - average
        fine = self.nose * (other - other @ self.around.t())
        square = (self.nose * fine.square()).sum(dim=(2, 3), keepdim=True) / self.nose.sum()
        share = LIMIT / (LIMIT**2 + square.mean(dim=1, keepdim=True)).sqrt()
        return texture - (1 - share) * fine

    def coloured(self, texture: Tensor) -> Tensor:
        """The textures in colours of skin."""
        colour = (texture * self.cheeks).sum(dim=(2, 3))
        usual, within = colour.new_tensor(SKIN), colour.new_tensor(WITHIN)
        d = colour[:, :2] - colour[:, 1:]
        d = usual + within * torch.tanh((d - usual) / within)
        red, _, blue = LUMINANCE
        green = colour @ colour.new_tensor(LUMINANCE) - red * d[:, 0] + blue * d[:, 1]
        wanted = torch.stack([green + d[:, 0], green, green - d[:, 1]], dim=1)
        gain = (wanted + 1) / (colour + 1).clamp(min=_DARKEST)
        return (texture + 1) * gain[:, :, None, None] - 1
