"""Images of the synthetic world: shaded frontal faces, rendered from a speaker's attributes.

The layers, back to front: background, back hair, neck and clothes, ears, head, eyes, brows and mouth, front
hair. The head is a height field over an outline (`head.py`), so that light from any side shades nose, cheeks
and eye sockets as one surface; eyes, brows, mouth and hair are soft-edged shapes on it (`features.py`).

Measures are in units of half the distance between the pupils, about 31 mm, with the origin between the
pupils, x to the right and y down: the pupils lie at (-1, 0) and (1, 0), the middle of the mouth at (0, 2.08).
Proportions follow the averages of Farkas 1994 (Anthropometry of the Head and Face).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from voice2face_gan.errors import DataError
from voice2face_gan.synthetic import features, head
from voice2face_gan.synthetic.canvas import Canvas, View, column, edge, palette
from voice2face_gan.synthetic.speakers import WORKERS, Speakers, speaker_generator

EYE_LEFT: tuple[float, float] = (0.37, 0.44)
"""(x, y) of the pupil on the image's left, in fractions of the side."""

EYE_RIGHT: tuple[float, float] = (0.63, 0.44)
"""(x, y) of the pupil on the image's right, in fractions of the side."""

MOUTH: tuple[float, float] = (0.5, 0.71)
"""(x, y) of the middle of the mouth, in fractions of the side."""

_UNIT = (EYE_RIGHT[0] - EYE_LEFT[0]) / 2  # of the side
_BLOCK = 8  # faces rendered at once: their arrays stay in the cache
_WALLS = ((196, 204, 212), (120, 138, 158), (208, 196, 178), (92, 98, 104), (142, 158, 140), (226, 226, 222),
          (58, 66, 84), (168, 140, 126))  # fmt: skip
_CLOTHES = ((44, 52, 72), (120, 44, 50), (236, 234, 228), (60, 88, 78), (36, 36, 40), (104, 128, 168),
            (176, 148, 110), (150, 152, 158))  # fmt: skip


def render(speakers: Speakers, seed: int = 0, view: int = 0, side: int = 64) -> np.ndarray:
    """One image of every speaker: uint8 (N, side, side, 3), RGB.

    The pupils and the middle of the mouth lie within about 0.02 of the side of EYE_LEFT, EYE_RIGHT and
    MOUTH. Views of one speaker differ in light, small turns of the head, expression, background, clothes
    and camera noise. An image depends on the seed, the speaker and its number only, not on the batch.

    Raises:
        DataError: a side below 16, or a negative seed or view.
    """
    if side < 16:
        raise DataError(f"A face needs a side of at least 16 pixels, not {side}.")
    out = np.empty((len(speakers), side, side, 3), dtype=np.uint8)

    def fill(start: int) -> None:
        some = speakers[start : start + _BLOCK]
        rngs = [speaker_generator(seed, name, 1, view) for name in some.name]
        out[start : start + _BLOCK] = _block(some, rngs, side)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(fill, range(0, len(speakers), _BLOCK)))
    return out


def _block(some: Speakers, rngs: list[np.random.Generator], side: int) -> np.ndarray:
    """A few faces, uint8 (n, side, side, 3): rendered at twice the side, then averaged down."""
    view = View.draw(rngs)
    fine = 2 * side
    grid = (np.arange(fine, dtype=np.float32) + 0.5) / fine
    x = np.broadcast_to((grid[None, None, :] - 0.5) / _UNIT, (len(some), fine, fine))
    y = np.broadcast_to((grid[None, :, None] - EYE_LEFT[1]) / _UNIT, (len(some), fine, fine))
    # The head's own roll, shift and size; alignment by eyes and mouth leaves only little of each.
    x = (x - view.shift_x) / view.scale
    y = (y - view.shift_y) / view.scale
    cos, sin = np.cos(view.roll), np.sin(view.roll)
    x, y = x * cos + (y - 1) * sin, (y - 1) * cos - x * sin + 1

    canvas = Canvas(
        colour=_background(view, x.shape, grid),
        x=x,
        y=y,
        pixel=1 / (_UNIT * fine),
        left=-0.5 / _UNIT,
        top=-EYE_LEFT[1] / _UNIT,
    )
    skin = palette(head.SKIN, some.skin_tone)
    shape = head.Shape.of(some)
    hair = features.hair(canvas, some, shape, view)

    features.back_hair(canvas, some, hair)
    _neck_and_clothes(canvas, some, shape, view, skin)
    head.ears(canvas, shape, view, skin)
    face = head.skin(canvas, some, shape, view, skin)
    features.beard(canvas, some, face, hair.colour)
    features.eyes(canvas, some, face, view, skin)
    features.brows(canvas, some, face, view, hair.colour)
    features.mouth(canvas, some, face, view, skin)
    features.front_hair(canvas, some, shape, face, view, hair)
    return _develop(canvas.colour, view, rngs, side)


def _background(view: View, shape: tuple[int, ...], grid: np.ndarray) -> np.ndarray:
    """A wall with a soft fall-off of light, float32 (3, n, h, w), 0-1."""
    walls = np.asarray(_WALLS, dtype=np.float32)[view.wall % len(_WALLS)] / 255
    slope = (grid[None, :, None] - 0.5) * view.wall_fall + (grid[None, None, :] - 0.5) * view.light[0] * 0.35
    return (walls.T[:, :, None, None] * (0.94 + slope)).astype(np.float32)


def _neck_and_clothes(
    canvas: Canvas, some: Speakers, shape: head.Shape, view: View, skin: np.ndarray
) -> None:
    """The neck in the shadow of the jaw, and the collar that the lowest rows of the image show."""
    x, y = canvas.x, canvas.y
    male = column(~some.female)
    half = 1.12 + 0.30 * male + 0.16 * (shape.jaw - 0.5)
    flare = 0.09 * np.maximum(y - 2.6, 0) ** 2
    shade = 0.66 + 0.10 * np.clip(view.light[0] * x / half, -1, 1) - 0.10 * (np.abs(x) / half) ** 2
    under = edge(shape.chin + 0.25 - y, 0.35)  # the jaw's own shadow
    shade = shade * (1 - 0.22 * under)
    canvas.blend(edge(half + flare - np.abs(x), canvas.pixel) * (y > 1), skin, shade)
    # Shoulders fall away from the neck, and the neckline dips in the middle.
    line = 3.62 + 0.20 * np.maximum(np.abs(x) - 1.2, 0) + 0.42 * np.maximum(1.2 - np.abs(x), 0)
    shirts = np.asarray(_CLOTHES, dtype=np.float32)[view.shirt % len(_CLOTHES)].T / 255
    folds = 0.86 + 0.10 * view.light[0] * np.clip(x / 3, -1, 1) - 0.06 * np.cos(3.1 * x)
    canvas.blend(edge(y - line, canvas.pixel), shirts, folds)


def _develop(colour: np.ndarray, view: View, rngs: list[np.random.Generator], side: int) -> np.ndarray:
    """From light (3, n, 2 side, 2 side) to a camera's bytes: warmth, exposure, averaging and noise."""
    n = colour.shape[1]
    small = colour.reshape(3, n, side, 2, side, 2).mean(axis=(3, 5))
    warmth = np.stack([1 + view.warmth, np.ones_like(view.warmth), 1 - view.warmth])
    small = small * warmth * view.exposure
    noise = np.stack([rng.standard_normal((3, side, side), dtype=np.float32) for rng in rngs], axis=1)
    small = small + noise * view.noise
    return (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 3, 0)
