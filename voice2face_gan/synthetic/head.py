"""The head as a lit surface: outline, relief, skin, ears, and the lines of age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voice2face_gan.synthetic.canvas import Canvas, View, bump, column, edge
from voice2face_gan.synthetic.speakers import Speakers

SKIN = ((248, 216, 194), (240, 198, 168), (222, 172, 134), (192, 138, 100), (146, 97, 68), (98, 64, 48))
"""Light to deep, sRGB, in full light."""

_RED = (0.35, 1.0, 0.9)  # how much a flush takes from red, green and blue
_CREASE = (0.75, 1.0, 1.05)  # a fold is darker and a little warmer than the skin around it


@dataclass
class Shape:
    """Lengths of a block of heads, float32 (n, 1, 1), in units of half the distance of the pupils."""

    width: np.ndarray  # half width at the cheekbones
    crown: np.ndarray  # height of the skull above the eyes
    chin: np.ndarray  # depth of the chin under the eyes
    jaw: np.ndarray  # 0-1, jaw_width
    power: np.ndarray  # of the superellipse below the eyes: 2 an ellipse, above it squarer
    taper: np.ndarray  # narrowing from the eyes to the chin

    @classmethod
    def of(cls, some: Speakers) -> Shape:
        jaw, cheek = column(some.jaw_width), column(some.cheek_fullness)
        length, chin = column(some.face_length), column(some.chin_length)
        return cls(
            width=2.03 + 0.14 * jaw + 0.20 * (cheek - 0.5) - 0.12 * (length - 0.5),
            crown=3.15 + 0.35 * (length - 0.5),
            chin=3.42 + 0.50 * (length - 0.5) + 0.42 * (chin - 0.5),
            jaw=jaw,
            power=2.05 + 0.85 * jaw,
            taper=0.39 - 0.37 * jaw + 0.10 * (chin - 0.5) - 0.10 * (cheek - 0.5),
        )

    def radius(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """0 in the middle, 1 on the outline of the head: an ellipse above the eyes, a superellipse below."""
        radius = self.dome(x, y, 0.0)
        rows = slice(
            int(np.flatnonzero((y > 0).any(axis=(0, 2)))[0]), None
        )  # powers cost time: lower rows only
        x, y, upper = x[:, rows], np.maximum(y[:, rows], 0), radius[:, rows]
        down = y / self.chin
        half = self.width * (1 - self.taper * np.minimum(down * down, 1.4))
        lower = ((np.abs(x) / half) ** self.power + down**self.power) ** (1 / self.power)
        radius[:, rows] = np.where(y > 0, lower, upper)
        return radius

    def dome(self, x: np.ndarray, y: np.ndarray, grow: np.ndarray | float) -> np.ndarray:
        """Like `radius` above the eyes, grown by a margin for hair; straight down below them."""
        up = np.minimum(y, 0) / (self.crown + grow)
        up *= up
        # A skull is fuller than an ellipse two thirds of the way up.
        across = x / ((self.width + grow) * (1 + 0.48 * up * np.maximum(1 - up, 0)))
        return np.sqrt(across * across + up)


@dataclass
class Face:
    """The drawn head, for the layers on it: coordinates that turn with it, cover and light, (n, h, w)."""

    x: np.ndarray
    y: np.ndarray
    cover: np.ndarray
    shade: np.ndarray


def ears(canvas: Canvas, shape: Shape, view: View, skin: np.ndarray) -> None:
    """Both ears, behind the face's outline."""
    x, y = canvas.x + 0.9 * view.yaw, canvas.y
    across = (np.abs(x) - shape.width - 0.02) / 0.27
    along = (y - 0.42 + 0.25 * across) / 0.82
    radius = np.sqrt(across**2 + along**2)
    rim = 0.80 - 0.22 * np.exp(-(((radius - 0.45) / 0.25) ** 2)) + 0.14 * view.light[0] * np.sign(x)
    canvas.blend(
        edge(1 - radius, canvas.pixel / 0.27), skin * np.array([[1.0], [0.93], [0.9]], np.float32), rim
    )


def _relief(
    some: Speakers, x: np.ndarray, y: np.ndarray, radius: np.ndarray, smile: np.ndarray
) -> np.ndarray:
    """Height of the face towards the camera, float32 (n, h, w)."""
    ax = np.sqrt(x * x + 0.09) - 0.045  # |x| without its crease down the middle
    brow, lips = column(some.brow_heaviness), column(some.lip_fullness)
    size, wide = column(some.nose_size), column(some.nose_width)
    cheek, chin = column(some.cheek_fullness), column(some.chin_length)
    jaw, lines = column(some.jaw_width), column(some.wrinkles)

    # Beyond the rim the surface falls on steeply: the edge's pixels must not face the camera.
    z = 2.0 * np.sqrt(1 - np.minimum(radius, 0.975) ** 2) - 8.0 * np.maximum(radius - 0.975, 0)
    z += (0.03 + 0.25 * brow) * bump((ax - 0.90) / 0.58, (y + 0.62) / 0.27)
    z -= (0.22 + 0.16 * brow) * bump((ax - 0.9) / 0.55, (y + 0.02) / 0.40)
    z += 0.16 * bump((ax - 1.0) / 0.40, y / 0.30)
    z += (0.20 + 0.16 * cheek + 0.10 * smile) * bump((ax - 1.25) / 0.55, (y - 0.95) / 0.45)
    z -= (0.15 - 0.14 * cheek + 0.12 * lines) * bump((ax - 1.35) / 0.40, (y - 1.95) / 0.60)

    tip = 0.98 + 0.34 * size
    ridge = np.clip((y + 0.35) / (tip + 0.35), 0, 1)
    under = edge(tip + 0.12 - y, 0.32)
    slim = 0.23 + (0.10 + 0.18 * wide) * ridge * ridge
    z += (0.42 + 0.30 * size) * ridge * ridge * (1.7 - 0.7 * ridge) * under * np.exp(-((x / slim) ** 2))
    z += (0.14 + 0.08 * size) * bump((ax - 0.22 - 0.26 * wide) / 0.19, (y - tip + 0.02) / 0.22)

    z += 0.20 * bump(x / 0.85, (y - 2.08) / 0.60)
    z += (0.05 + 0.10 * lips) * bump(x / 0.62, (y - 1.93) / 0.12)
    z += (0.06 + 0.13 * lips) * bump(x / 0.52, (y - 2.26 - 0.08 * lips) / 0.14)
    z -= 0.12 * bump(x / 0.45, (y - 2.62) / 0.18)
    z += (0.12 + 0.22 * chin) * bump(x / (0.42 + 0.22 * jaw), (y - 3.0 - 0.3 * (chin - 0.5)) / 0.34)
    return z


def skin(canvas: Canvas, some: Speakers, shape: Shape, view: View, tone: np.ndarray) -> Face:
    """Draw the head and return its surface."""
    radius = shape.radius(canvas.x, canvas.y)
    # What lies nearer than the eyes moves with the turn, what lies behind them against it.
    depth = 2.0 * np.sqrt(1 - np.minimum(radius, 0.98) ** 2)
    x, y = canvas.x - view.yaw * (depth - 1.75), canvas.y
    cover = edge((1 - radius) * shape.width, canvas.pixel)
    z = _relief(some, x, y, radius, view.smile)

    # Central differences: relief is smooth on the scale of two pixels.
    slope_x, slope_y = np.zeros_like(z), np.zeros_like(z)
    slope_x[:, :, 1:-1] = (z[:, :, 2:] - z[:, :, :-2]) * (0.5 / canvas.pixel)
    slope_y[:, 1:-1] = (z[:, 2:] - z[:, :-2]) * (0.5 / canvas.pixel)
    length = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = (view.light[2] - slope_x * view.light[0] - slope_y * view.light[1]) * length
    # Light wraps a little round the edge, as it does in skin.
    shade = view.ambient + (1.04 - view.ambient) * np.clip((facing + 0.25) / 1.25, 0, 1)
    shade = shade * (0.82 + 0.18 * edge((1 - radius) * shape.width, 0.55))
    # The highlight lies where the surface's normal halves the angle between light and camera.
    half = view.light + np.array([0, 0, 1], np.float32)[:, None, None, None]
    half = half / np.sqrt((half**2).sum(axis=0))
    gloss = np.clip((half[2] - slope_x * half[0] - slope_y * half[1]) * length, 0, 1)
    for _ in range(4):  # to the 16th
        gloss *= gloss
    shade = shade + 0.10 * gloss

    depth = column(np.interp(some.skin_tone, [0, 1], [1.0, 0.45]))
    tip = 0.98 + 0.34 * column(some.nose_size)
    flush = 0.10 * bump((np.abs(x) - 1.2) / 0.6, (y - 1.1) / 0.5) + 0.08 * bump(x / 0.4, (y - tip) / 0.35)
    # Shadows in skin are redder than light: green and blue fall off faster.
    deep = np.clip(1 - shade, 0, 1)
    for c in range(3):
        colour = (
            tone[c][:, None, None] * (shade - (0.0, 0.10, 0.14)[c] * deep) * (1 - depth * flush * _RED[c])
        )
        canvas.colour[c] += cover * (colour - canvas.colour[c])
    face = Face(x, y, cover, shade)
    _nose(canvas, some, face, view, tip)
    _age(canvas, some, face)
    return face


def _nose(canvas: Canvas, some: Speakers, face: Face, view: View, tip: np.ndarray) -> None:
    """Nostrils, the wings' outline and the shadow that the nose casts on the lip."""
    box = canvas.window(-1.2, 1.2, 0.6, 2.0)
    size, wide = column(some.nose_size), column(some.nose_width)
    # The tip stands out by nearly one unit, so it moves further with the turn than the skin under it.
    x, y = face.x[:, *box] - 0.35 * view.yaw, face.y[:, *box]
    ax = np.abs(x)
    gap = 0.17 + 0.14 * wide
    nostril = bump((ax - gap) / (0.10 + 0.06 * wide), (y - tip - 0.17 - 0.10 * (ax - gap)) / 0.065)
    wing = bump((ax - 0.40 - 0.30 * wide) / 0.08, (y - tip - 0.03) / 0.17)
    cast = bump((x + 0.35 * view.light[0]) / (0.36 + 0.2 * wide), (y - tip - 0.27) / 0.13)
    canvas.darken(
        np.clip(0.46 * nostril + 0.13 * wing + (0.08 + 0.06 * size) * cast, 0, 0.75), box, (0.85, 1.0, 1.0)
    )


def _age(canvas: Canvas, some: Speakers, face: Face) -> None:
    """Lines of the forehead, crow's feet, folds from nose to mouth, bags under the eyes, hollow cheeks."""
    lines = column(some.wrinkles)

    box = canvas.window(-1.8, 1.8, -2.3, -0.3)
    x, y = face.x[:, *box], face.y[:, *box]
    across = x * x / 1.8
    wave = 0.5 + 0.5 * np.cos((y + 0.06 * across) * (2 * np.pi / 0.38))
    forehead = 0.30 * np.exp(-across * across) * edge(-0.85 - y, 0.2) * edge(y + 2.0, 0.25) * wave * wave
    frown = 0.20 * bump((np.abs(x) - 0.17) / 0.07, (y + 0.55) / 0.25)
    canvas.darken(lines * (forehead + frown) * face.cover[:, *box], box, _CREASE)

    box = canvas.window(-2.3, 2.3, -0.6, 0.8)
    ax, y = np.abs(face.x[:, *box]), face.y[:, *box]
    bag = 0.28 * bump((y - 0.42 + 0.22 * (ax - 1.0) ** 2) / 0.075, (ax - 0.95) / 0.42)
    pouch = 0.10 * bump((ax - 0.95) / 0.4, (y - 0.30) / 0.16)
    ray = 0.5 + 0.5 * np.cos(np.arctan2(y - 0.02, ax - 1.2) * 9.0)
    feet = 0.16 * ray * ray * bump((ax - 1.72) / 0.22, (y - 0.05) / 0.28)
    canvas.darken(lines * (bag + pouch + feet) * face.cover[:, *box], box, _CREASE)

    box = canvas.window(-2.0, 2.0, 0.8, 3.2)
    ax, y = np.abs(face.x[:, *box]), face.y[:, *box]
    fold_at = 0.62 + 0.40 * np.clip(y - 1.15, 0, 1.4)
    fold = 0.36 * np.exp(-(((ax - fold_at) / 0.13) ** 2)) * edge(y - 1.15, 0.25) * edge(2.35 - y, 0.4)
    marionette = 0.22 * bump((ax - 0.98) / 0.11, (y - 2.52) / 0.28)
    cheek = 0.14 * bump((ax - 1.35) / 0.35, (y - 1.75) / 0.5)
    canvas.darken(lines * (fold + marionette + cheek) * face.cover[:, *box], box, _CREASE)
