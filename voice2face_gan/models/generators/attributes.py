"""Attributes that a face has or has not: a moustache, and glasses.

What a voice says of a moustache is how likely it is, and a face as likely as that has a grey patch below its
nose, which no face has; likewise traces of frames at temples and nose. So an upper lip that is hardly darker
than the cheeks is shaved, a darker one gets all of its hair, and glasses are taken off: a voice does not tell
who wears them today.

How much of an attribute a face has is linear in its texture, a difference of mean luminances in [-1, 1]:

    moustache   between nose and lips, less the cheeks. Of 8,000 training faces women have -.05 in the middle,
                men -.12; one man in nine has less than -.32, and what these share is a moustache
    glasses     at the bridge and both temples, at the height where frames run, less what is above and below.
                The middle is -.06; 1 in 20 has less than -.23, and most of these wear glasses
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from voice2face_gan.faces.align import zoomed
from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.generators.regression import slopes

SHAVED, FULL = -0.06, -0.48
"""The moustache of a shaved face, at most; and of one that has it, at least."""

LIKELY = (-0.33, -0.39)
"""Between these a shaved face turns into one with a moustache; few faces lie there, but morphs pass."""

NO_GLASSES = -0.05
"""The lines of a face without glasses, at least."""

MOUSTACHE, GLASSES = range(2)
BARE = (-0.14, -0.16)  # of each; above, faces differ by light alone, and the regression counts what is below
LUMINANCE = (0.299, 0.587, 0.114)
_FINER = 4  # polygons are drawn so much larger


class Attributes(nn.Module):
    """What changes in a face as it loses a moustache, or glasses; nothing until it is fitted.

    Args:
        side: of the texture in pixels.
        zoom: size of its face, relative to the template.

    Attributes:
        texture: (2, 3 side^2), of the texture, for 1 more of each measure.
        measures: (2, 3 side^2), whose products with a texture are below 0 where it has the attribute.
        light: (3, 3 side^2), whose products are the luminance of eyes, nose and cheeks, and how it rises to
            the right and down.
    """

    def __init__(self, side: int, zoom: float = 1.0):
        super().__init__()
        self.register_buffer("texture", torch.zeros(2, 3 * side**2))
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            lip, cheeks, lines, beside, face = (
                torch.from_numpy(sum(mean_over(polygon, side, zoom) for polygon in polygons) / len(polygons))
                for polygons in (*_moustache(), *_glasses(), [_upper_face()])
            )
            along = torch.linspace(-1, 1, side)
            light = torch.stack([face, face * along, face * along[:, None]])
            of_rgb = torch.tensor(LUMINANCE)[:, None, None]
            measures = torch.stack([lip - cheeks, lines - beside])
            measures, light = ((of_rgb * rows[:, None]).flatten(1) for rows in (measures, light))
        self.register_buffer("measures", measures, persistent=False)
        self.register_buffer("light", light, persistent=False)

    @torch.no_grad()
    def fit(self, texture: Tensor, said: Tensor) -> None:
        """Linear regression on how much of each attribute a face has, and on the light beside it, of the half
        of the faces of which e says more of it.

        Args:
            texture: (N, 3 side^2), what e leaves open of textures.
            said: (N, 3 side^2), what it says.
        """
        for row, (measure, bare) in enumerate(zip(self.measures, BARE, strict=True)):
            likely = said @ measure
            half = likely <= likely.median()
            rest = texture[half]
            has = (likely[half] + rest @ measure - bare).clamp(max=0)
            causes = torch.cat([has[:, None], rest @ self.light.t()], dim=1)
            change = slopes(causes, rest)[0]
            rise = change @ measure
            # Faces that are all alike say nothing of it.
            self.texture[row] = change / rise if rise > 0.1 else 0

    def whole(
        self, texture: Tensor, moustache: bool = True, glasses: bool = True, keep: Tensor | None = None
    ) -> Tensor:
        """The same faces, textures (B, 3 side^2), with a moustache or without one, and without glasses.

        Args:
            moustache, glasses: whether these are changed.
            keep: (B,), 1 for faces that keep what they have, 0 for the others.
        """
        has = texture @ self.measures.t()
        upper_lip, lines = has.unbind(dim=1)
        share = ((LIKELY[0] - upper_lip) / (LIKELY[0] - LIKELY[1])).clamp(0, 1)
        wanted = torch.lerp(upper_lip.clamp(min=SHAVED), upper_lip.clamp(max=FULL), share)
        moved = torch.stack(
            [moustache * (wanted - upper_lip), glasses * (NO_GLASSES - lines).clamp(min=0)], 1
        )
        if keep is not None:
            moved = moved * (1 - keep.to(moved)[:, None])
        return texture + moved @ self.texture


def _moustache() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The upper lip's skin, and both cheeks: corners in fractions of the side at zoom 1."""
    point = MEAN_SHAPE

    def between(a: int, b: int, share: float = 0.5) -> np.ndarray:
        return point[a] + share * (point[b] - point[a])

    above = [between(31, 49, 0.25), between(33, 51, 0.25), between(35, 53, 0.25), between(54, 35, 0.2)]
    lip = np.array([*above, *point[53:48:-1], between(48, 31, 0.2)])
    cheeks = [
        [between(1, 31), between(41, 31), between(31, 48, 0.3), between(3, 48)],
        [between(15, 35), between(46, 35), between(35, 54, 0.3), between(13, 54)],
    ]
    return [lip], [np.array(cheek) for cheek in cheeks]


def _glasses() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Where frames run, at the nose's bridge and both temples, and the skin above and below."""
    middle = np.array([0.5, (MEAN_SHAPE[36, 1] + MEAN_SHAPE[45, 1]) / 2 - 0.008])  # of the eyes' height
    temple = (MEAN_SHAPE[45, 0] + MEAN_SHAPE[16, 0]) / 2 - 0.5

    def box(across: float, down: float) -> np.ndarray:
        width, height = 0.031, 0.023
        corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]])
        return middle + [across, down] + corners

    places = (-temple, 0.0, temple)
    lines = [box(across, 0) for across in places]
    return lines, [box(across, down) for across in places for down in (-0.0625, 0.078)]


def _upper_face() -> np.ndarray:
    """The face without mouth and chin, whose hair would count as a shadow there."""
    return MEAN_SHAPE[[0, 1, 2, 31, 33, 35, 14, 15, 16, 26, 25, 24, 19, 18, 17]]


def mean_over(polygon: np.ndarray, side: int, zoom: float) -> np.ndarray:
    """Weights of the mean over a polygon, float32 (side, side)."""
    whole = _FINER * side
    corners = whole * zoomed(polygon, zoom)
    drawn = Image.new("L", (whole, whole))
    ImageDraw.Draw(drawn).polygon([tuple(corner) for corner in corners.tolist()], fill=255)
    weights = np.asarray(drawn.resize((side, side), Image.Resampling.BOX), np.float32)
    return weights / max(weights.sum(), 1.0)
