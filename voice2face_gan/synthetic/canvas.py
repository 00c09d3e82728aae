"""Canvas and light that all layers of a face share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def column(values: np.ndarray) -> np.ndarray:
    """Per-face values (n,) as float32 (n, 1, 1), to meet pixels (n, h, w)."""
    return np.asarray(values, dtype=np.float32)[:, None, None]


def palette(stops: tuple[tuple[int, int, int], ...], where: np.ndarray) -> np.ndarray:
    """Colours between stops evenly spaced over 0-1: RGB 0-255 stops and where (n,) to float32 (3, n), 0-1."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(where, at, [s[c] for s in stops]) for c in range(3)]).astype(np.float32) / 255


def edge(distance: np.ndarray, softness: float | np.ndarray) -> np.ndarray:
    """Coverage 0-1 from a signed distance (positive inside): a smooth step over +- softness."""
    t = np.clip(distance * (0.5 / softness) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def bump(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """A Gaussian hill of height 1, exp(-(dx^2 + dy^2))."""
    return np.exp(-(dx * dx + dy * dy))


@dataclass
class Canvas:
    """A block of n images in the making.

    Attributes:
        colour: float32 (3, n, h, w), 0-1.
        x, y: float32 (n, h, w), coordinates of the head (see `face`).
        pixel: size of a pixel in the same unit: the softness of a sharp edge.
        left, top: head coordinates of the image's corner for a head without shift, roll or turn.
    """

    colour: np.ndarray
    x: np.ndarray
    y: np.ndarray
    pixel: float
    left: float
    top: float

    def blend(
        self,
        cover: np.ndarray,
        tone: np.ndarray,
        shade: np.ndarray | float = 1.0,
        window: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> None:
        """Blend a tone (3, n), times a shade (n, h, w), over the window's pixels where cover is above 0."""
        for c in range(3):
            part = self.colour[c][(slice(None), *window)]
            part += cover * (tone[c][:, None, None] * shade - part)

    def darken(
        self, amount: np.ndarray, window: tuple[slice, slice], tint: tuple[float, float, float]
    ) -> None:
        """Multiply the window by 1 - amount x tint: shadows and lines that keep the colour beneath."""
        for c in range(3):
            self.colour[c][(slice(None), *window)] *= 1 - amount * tint[c]

    def window(self, left: float, right: float, top: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns that hold a box of head coordinates, whatever the pose.

        The slack covers the largest shift, roll and turn. It must not depend on the poses in this block:
        then an image would depend on the others rendered with it.
        """
        slack = 0.4
        size = self.colour.shape[2]
        columns, rows = (
            slice(
                max(0, int((low - slack - start) / self.pixel)),
                min(size, int((high + slack - start) / self.pixel) + 1),
            )
            for low, high, start in ((left, right, self.left), (top, bottom, self.top))
        )
        return rows, columns


@dataclass
class View:
    """Properties that differ between images of one speaker; float32 (n, 1, 1) unless said otherwise."""

    light: np.ndarray  # (3, n, 1, 1): unit vector towards the light; x right, y down, z to the camera
    ambient: np.ndarray  # part of the light that comes from everywhere, 0.3-0.6
    warmth: np.ndarray  # colour of the light, -0.06 (blue) to 0.06 (yellow)
    exposure: np.ndarray
    roll: np.ndarray  # radians
    yaw: np.ndarray  # shift in x per unit of depth: the tangent of the turn
    shift_x: np.ndarray
    shift_y: np.ndarray
    scale: np.ndarray
    smile: np.ndarray  # -0.3 (stern) to 1
    opening: np.ndarray  # of the mouth, 0 to 1
    gaze: np.ndarray
    noise: np.ndarray
    wall: np.ndarray  # int (n,)
    wall_fall: np.ndarray
    shirt: np.ndarray  # int (n,)

    @classmethod
    def draw(cls, rngs: list[np.random.Generator]) -> View:
        """One view for every generator, always the same number of draws from each."""
        z = np.stack([rng.standard_normal(12) for rng in rngs]).clip(-2.2, 2.2).T
        u = np.stack([rng.random(8) for rng in rngs]).T
        light = np.stack([0.55 * z[0], -0.45 - 0.25 * u[0], 0.85 + 0 * z[0]])
        light /= np.sqrt((light**2).sum(axis=0))
        smile = np.clip(1.5 * u[1] - 0.4, -0.3, 1)
        opening = np.where(u[2] < 0.45, 0, (u[2] - 0.45) / 0.55) * np.clip(0.5 + 0.5 * smile, 0, 1)
        return cls(
            light=np.stack([column(v) for v in light]),
            ambient=column(0.42 + 0.06 * z[1]),
            warmth=column(0.022 * z[2] + 0.01),
            exposure=column(1 + 0.06 * z[3]),
            roll=column(0.03 * z[4]),
            yaw=column(0.13 * z[5]),
            shift_x=column(0.04 * z[6]),
            shift_y=column(0.04 * z[7]),
            scale=column(1 + 0.014 * z[8]),
            smile=column(smile),
            opening=column(opening),
            gaze=column(0.05 * z[9]),
            noise=column(0.006 + 0.006 * u[3]),
            wall=(u[4] * 1000).astype(int),
            wall_fall=column(0.5 * u[5] - 0.35),
            shirt=(u[6] * 1000).astype(int),
        )
