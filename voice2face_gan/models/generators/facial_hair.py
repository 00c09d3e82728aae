"""Facial hair of generated faces: a moustache and a beard, or none.

What a voice says of a moustache is how likely it is, and a face as likely as that has a grey patch below its
nose, which no face has. So an upper lip that is hardly darker than the cheeks is shaved, and a darker one
gets all of its hair. A voice does not tell which days somebody shaves.

How dark it is is linear in the texture: the mean luminance between nose and lips less that of the cheeks, in
[-1, 1]. Of 8,000 training faces women have -.05 in the middle and men -.12; one man in nine has less than
-.32, and what men below it share is a moustache.
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from voice2face_gan.faces.align import zoomed
from voice2face_gan.faces.mean_shape import MEAN_SHAPE

SHAVED, FULL = -0.06, -0.4
"""How dark an upper lip is at most without a moustache, and at least with one."""

LIKELY = (-0.27, -0.33)
"""Between these a shaved face turns into one with a moustache; few faces lie there, but morphs pass."""

BARE = -0.14  # from here on the regression counts what is darker: above, upper lips differ by light alone
LUMINANCE = (0.299, 0.587, 0.114)
_LEAST = 1e-9  # of a square: without it faces all alike have no solution
_FINER = 4  # polygons are drawn so much larger


class FacialHair(nn.Module):
    """What changes in a face as its upper lip gets lighter; nothing until it is fitted.

    Args:
        side: of the texture in pixels.
        zoom: size of its face, relative to the template.

    Attributes:
        texture: (3 side^2,), of the texture, for an upper lip lighter by 1.
        upper_lip: (3 side^2,), whose product with a texture is how dark the upper lip is.
        light: (3, 3 side^2), whose products are the luminance above the lip, and how it rises to the right and
            down.
    """

    def __init__(self, side: int, zoom: float = 1.0):
        super().__init__()
        self.register_buffer("texture", torch.zeros(3 * side**2))
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            lip, cheeks, face = (
                torch.from_numpy(sum(_mean_of(polygon, side, zoom) for polygon in polygons) / len(polygons))
                for polygons in _polygons()
            )
            along = torch.linspace(-1, 1, side)
            light = torch.stack([face, face * along, face * along[:, None]])
            of_rgb = torch.tensor(LUMINANCE)[:, None, None]
            lip, light = (of_rgb * (lip - cheeks)).flatten(), (of_rgb * light[:, None]).flatten(1)
        self.register_buffer("upper_lip", lip, persistent=False)
        self.register_buffer("light", light, persistent=False)

    @torch.no_grad()
    def fit(self, texture: Tensor, said: Tensor) -> None:
        """Linear regression on how much darker than bare skin an upper lip is, and on the light beside it, of
        the half of the faces of which e says that it is darker.

        Args:
            texture: (N, 3 side^2), what e leaves open of textures.
            said: (N, 3 side^2), what it says.
        """
        likely = said @ self.upper_lip
        half = likely <= likely.median()
        texture, dark = texture[half], (likely[half] + texture[half] @ self.upper_lip - BARE).clamp(max=0)
        causes = torch.cat([dark[:, None], texture @ self.light.t()], dim=1)
        causes = causes - causes.mean(dim=0)
        squares = causes.t() @ causes + _LEAST * len(causes) * torch.eye(4, device=causes.device)
        change = torch.linalg.solve(squares, causes.t() @ (texture - texture.mean(dim=0)))[0]
        rise = change @ self.upper_lip
        # Faces without any difference say nothing, nor do those whose hair is lighter than skin.
        self.texture.copy_(change / rise if rise > 0.1 else torch.zeros_like(change))

    def whole(self, texture: Tensor, keep: Tensor | None = None) -> Tensor:
        """The same faces with a moustache or without one, textures (B, 3 side^2).

        Args:
            keep: (B,), 1 for faces that keep what they have, 0 for the others.
        """
        dark = texture @ self.upper_lip
        none = dark.clamp(min=SHAVED)
        share = ((LIKELY[0] - dark) / (LIKELY[0] - LIKELY[1])).clamp(0, 1)
        moved = torch.lerp(none, dark.clamp(max=FULL), share) - dark
        if keep is not None:
            moved = moved * (1 - keep.to(moved))
        return texture + moved[:, None] * self.texture


def _polygons() -> tuple[list[np.ndarray], ...]:
    """The upper lip's skin, both cheeks, and the face above it, as corners in fractions of the side at zoom 1."""
    point = MEAN_SHAPE

    def between(a: int, b: int, share: float = 0.5) -> np.ndarray:
        return point[a] + share * (point[b] - point[a])

    above = [between(31, 49, 0.25), between(33, 51, 0.25), between(35, 53, 0.25), between(54, 35, 0.2)]
    lip = [*above, *point[53:48:-1], between(48, 31, 0.2)]
    cheeks = [
        [between(1, 31), between(41, 31), between(31, 48, 0.3), between(3, 48)],
        [between(15, 35), between(46, 35), between(35, 54, 0.3), between(13, 54)],
    ]
    # Without mouth and chin, whose hair would count as a shadow there.
    face = point[[0, 1, 2, 31, 33, 35, 14, 15, 16, 26, 25, 24, 19, 18, 17]]
    return [np.array(lip)], [np.array(cheek) for cheek in cheeks], [face]


def _mean_of(polygon: np.ndarray, side: int, zoom: float) -> np.ndarray:
    """Weights of the mean over a polygon, float32 (side, side)."""
    whole = _FINER * side
    corners = whole * zoomed(polygon, zoom)
    drawn = Image.new("L", (whole, whole))
    ImageDraw.Draw(drawn).polygon([tuple(corner) for corner in corners.tolist()], fill=255)
    weights = np.asarray(drawn.resize((side, side), Image.Resampling.BOX), np.float32)
    return weights / max(weights.sum(), 1.0)
