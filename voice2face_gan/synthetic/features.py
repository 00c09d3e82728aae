"""Layers on the head: eyes, brows, mouth, beard and hair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voice2face_gan.synthetic.canvas import Canvas, View, bump, column, edge, palette
from voice2face_gan.synthetic.head import Face, Shape
from voice2face_gan.synthetic.speakers import Speakers

_HAIR = (
    (222, 190, 132),
    (176, 134, 84),
    (118, 80, 50),
    (74, 50, 36),
    (42, 32, 28),
    (28, 25, 26),
)  # blond to black
_RED_HAIR = (168, 82, 42)
_GREY = (196, 194, 192)
_EYES = ((104, 146, 182), (116, 140, 126), (132, 122, 74), (122, 84, 46), (80, 50, 32), (52, 34, 26))
_LINE = (0.75, 1.0, 1.05)


def hair_colour(some: Speakers) -> np.ndarray:
    """Colour of the hair with its grey, float32 (3, n), 0-1."""
    colour = palette(_HAIR, some.hair_tone)
    red = np.asarray(_RED_HAIR, np.float32)[:, None] / 255
    colour += (some.hair_red * 0.8).astype(np.float32) * (red - colour)
    grey = np.asarray(_GREY, np.float32)[:, None] / 255
    return colour + (some.greying * 0.92).astype(np.float32) * (grey - colour)


def eyes(canvas: Canvas, some: Speakers, face: Face, view: View, skin: np.ndarray) -> None:
    """White, iris, pupil, catchlight, lids and lashes of both eyes."""
    box = canvas.window(-1.8, 1.8, -0.7, 0.6)
    # The eyes are what images are aligned by: they stay on the template whatever the turn.
    x, y, pixel = canvas.x[:, *box], canvas.y[:, *box], canvas.pixel
    ax, side = np.abs(x), np.sign(x)
    woman, size = column(some.female), column(some.eye_size)
    droop = column(some.wrinkles) * 0.05
    t = (ax - 1.0) / (0.46 + 0.07 * size)  # -1 at the inner corner, 1 at the outer
    arch = np.clip(1 - t * t, 0, 1)
    squint = 0.035 * np.clip(view.smile, 0, 1)
    upper = -(0.18 + 0.085 * size + 0.035 * woman - droop - squint) * arch**0.75 - 0.025 * t
    lower = (0.125 + 0.04 * size - squint) * arch**0.9 - 0.025 * t
    inside = np.minimum(y - upper, lower - y)
    opened = edge(inside, 1.2 * pixel) * (np.abs(t) < 1)

    socket = bump((ax - 0.95) / 0.62, (y + 0.05) / 0.34)
    canvas.darken((0.10 + 0.10 * column(some.brow_heaviness)) * socket, box, _LINE)
    white = np.array([[0.93], [0.91], [0.89]], np.float32) * np.ones((1, len(some)), np.float32)
    shaded = np.clip(0.55 + 0.5 * face.shade[:, *box], 0, 1.02) * (0.74 + 0.26 * edge(y - upper - 0.04, 0.10))
    canvas.blend(opened, white, shaded, box)

    dx = x - side - view.gaze
    radius = np.sqrt(dx * dx + (y - 0.01) ** 2)
    iris = palette(_EYES, some.eye_tone)
    ring = (1.10 - 0.75 * edge(radius - 0.155, 0.05) + 0.3 * edge(y, 0.15)) * (
        0.7 + 0.3 * edge(y - upper - 0.05, 0.1)
    )
    canvas.blend(opened * edge(0.215 - radius, 1.3 * pixel), iris, ring, box)
    canvas.blend(opened * edge(0.088 - radius, 1.3 * pixel), np.full_like(iris, 0.04), 1.0, box)
    glint = bump((dx - 0.10 * view.light[0] - 0.02) / 0.055, (y + 0.075) / 0.055)
    canvas.blend(opened * 0.85 * glint, np.ones_like(iris), 1.0, box)

    lid = np.exp(-(((y - upper) / (0.050 + 0.018 * woman)) ** 2)) * edge(1.12 - np.abs(t), 0.12)
    lash = np.clip((0.62 + 0.22 * woman) * lid, 0, 0.9)
    canvas.darken(lash, box, (0.92, 1.0, 1.0))
    crease = np.exp(-(((y - upper + 0.13 + 0.02 * woman) / 0.045) ** 2)) * edge(1.05 - np.abs(t), 0.25)
    below = np.exp(-(((y - lower) / 0.04) ** 2)) * edge(1.0 - np.abs(t), 0.2)
    canvas.darken(0.26 * crease + 0.22 * below, box, _LINE)


def brows(canvas: Canvas, some: Speakers, face: Face, view: View, hair: np.ndarray) -> None:
    """Brows: heavier means thicker, lower and straighter."""
    box = canvas.window(-2.1, 2.1, -1.4, -0.1)
    ax, y = np.abs(canvas.x[:, *box] - 0.15 * view.yaw), canvas.y[:, *box]
    heavy, woman = column(some.brow_heaviness), column(some.female)
    t = (ax - 0.98) / 0.68
    arc = (
        -0.70
        + 0.15 * heavy
        - (0.13 - 0.08 * heavy) * (1 - (t - 0.35) ** 2)
        - 0.05 * np.clip(view.smile, 0, 1)
    )
    thick = (0.085 + 0.085 * heavy - 0.010 * woman) * (1.0 - 0.45 * np.clip(t, -1, 1))
    cover = edge(thick - np.abs(y - arc), 0.10) * edge(1 - np.abs(t), 0.35)
    dark = hair * 0.62  # brows are darker than the hair of the head
    canvas.blend((0.60 + 0.28 * heavy) * cover, dark, 0.6 + 0.4 * face.shade[:, *box], box)


def mouth(canvas: Canvas, some: Speakers, face: Face, view: View, skin: np.ndarray) -> None:
    """Lips, the line between them, teeth in an open smile, and the corners' shadows."""
    box = canvas.window(-1.5, 1.5, 1.5, 2.9)
    x, y, pixel = face.x[:, *box], face.y[:, *box], canvas.pixel
    full, woman = column(some.lip_fullness), column(some.female)
    smile, opening = view.smile, view.opening
    half = 0.79 + 0.04 * (1 - woman) + 0.12 * smile
    t = x / half
    arch = np.clip(1 - t * t, 0, 1)
    line = 2.08 - 0.13 * smile * (t * t - 0.25)  # corners rise with a smile
    gap = 0.15 * opening * arch
    bow = 1 + 0.22 * np.exp(-(((np.abs(t) - 0.26) / 0.2) ** 2)) - 0.10 * np.exp(-((t / 0.12) ** 2))
    top = line - gap * 0.5 - (0.075 + 0.18 * full) * arch**0.8 * bow * (1 - 0.2 * np.clip(smile, 0, 1))
    bottom = line + gap + (0.11 + 0.23 * full) * arch**0.65 * (1 - 0.15 * np.clip(smile, 0, 1))
    within = np.abs(t) < 1

    # Lips keep the skin's depth; women's are somewhat redder, as with a little colour on them.
    redness = 0.62 + 0.30 * some.female.astype(np.float32)
    lips = np.stack([skin[0] * 0.90, skin[1] * (1 - 0.50 * redness), skin[2] * (1 - 0.44 * redness)])
    cover = edge(np.minimum(y - top, bottom - y), 1.6 * pixel) * within
    volume = np.where(y < line, 0.84, 0.97 + 0.10 * edge(bottom - 0.06 - y, 0.08)) * (
        0.30 + 0.70 * face.shade[:, *box]
    )
    canvas.blend(0.88 * cover, lips, volume, box)

    inner = edge(np.minimum(y - line + gap * 0.5, line + gap - y), 1.2 * pixel) * within * (opening > 0.02)
    canvas.blend(inner, lips * 0.22, 1.0, box)
    teeth = (
        inner * edge(line + 0.72 * gap - y, 0.04) * edge(0.78 - np.abs(t), 0.2) * edge(opening - 0.15, 0.1)
    )
    canvas.blend(teeth, np.full_like(lips, 0.90), 0.62 + 0.34 * face.shade[:, *box], box)
    seam = np.exp(-(((y - line) / 0.038) ** 2)) * edge(1.04 - np.abs(t), 0.12) * (1 - inner)
    corner = bump((np.abs(t) - 1.0) / 0.10, (y - line) / 0.08)
    below = bump(x / 0.50, (y - bottom - 0.10) / 0.09)
    canvas.darken(np.clip(0.52 * seam + 0.22 * corner + 0.13 * below, 0, 0.8), box, (0.8, 1.0, 1.0))


def beard(canvas: Canvas, some: Speakers, face: Face, hair: np.ndarray) -> None:
    """Stubble or a beard on jaw, chin and upper lip."""
    amount = column(some.beard)
    if not np.any(amount > 0):
        return
    box = canvas.window(-2.6, 2.6, 0.3, 4.3)
    x, y = face.x[:, *box], face.y[:, *box]
    ax = np.abs(x)
    top = 2.55 - 1.75 * np.clip((ax - 0.75) / 1.2, 0, 1) ** 1.2
    cheeks = edge(y - top, 0.35)
    moustache = edge(0.95 - ax, 0.25) * edge(y - 1.52, 0.14) * edge(2.0 - y, 0.15)
    around = edge(ax - 0.72, 0.25) * edge(1.15 - ax, 0.3) * edge(y - 1.7, 0.3)
    patch = np.maximum(np.maximum(cheeks, moustache), around)
    lips = edge(1 - (x / 0.86) ** 2 - ((y - 2.12) / 0.30) ** 2, 0.5)
    texture = 0.85 + 0.15 * np.sin(23 * x + 5 * np.sin(9 * y)) * np.sin(19 * y + 4 * np.sin(7 * x))
    cover = face.cover[:, *box] * patch * (1 - lips) * np.clip(1.15 * amount, 0, 0.92)
    canvas.blend(cover, hair * 0.75, (0.25 + 0.75 * face.shade[:, *box]) * texture, box)


@dataclass
class Hair:
    """Properties that back and front hair share.

    Attributes:
        colour: float32 (3, n).
        grow: how far the hair stands off the skull, (n, 1, 1).
        end: height at which the sides end, (n, 1, 1): -0.3 cropped, 0.5 ears, 2.9 chin, 6 below the image.
        outer: cover of the whole outline of the hair, (n, h, w).
        shade: light on it, (n, h, w).
    """

    colour: np.ndarray
    grow: np.ndarray
    end: np.ndarray
    outer: np.ndarray
    shade: np.ndarray


def hair(canvas: Canvas, some: Speakers, shape: Shape, view: View) -> Hair:
    """Outline and light of the hair."""
    volume, wave, long = column(some.hair_volume), column(some.hair_wave), column(some.hair_length)
    bald = column(some.hair_recession)
    x, y = canvas.x + 0.3 * view.yaw, canvas.y
    grow = (0.10 + 0.36 * volume + 0.10 * wave) * edge(long - 0.05, 0.2) * (1 - 0.8 * edge(bald - 0.7, 0.1))
    end = column(
        np.interp(some.hair_length, [0.0, 0.3, 0.4, 0.6, 0.85, 1.0], [-0.3, 0.45, 1.5, 2.9, 4.4, 6.0])
    )
    radius = shape.dome(x, y, grow)
    down = np.maximum(y, 0)
    # Long hair widens downwards, and bobs turn in again at their ends.
    spread = 0.13 * np.minimum(down, 2) - 0.35 * edge(y - end + 0.4, 0.7) * edge(3.6 - end, 0.5)
    ripple = 0.10 * wave * np.sin(3.2 * y + 2 * np.sign(x)) * np.minimum(down / 3, 1)
    half = shape.width + grow + (spread + ripple) * edge(long - 0.35, 0.1)
    dome = edge((1 - radius) * shape.width, 1.5 * canvas.pixel)
    outer = np.where(y > 0, edge(half - np.abs(x), 1.5 * canvas.pixel), dome)
    return Hair(hair_colour(some), grow, end, outer, _hair_shade(some, shape, view, x, y, grow, radius))


def _hair_shade(
    some: Speakers,
    shape: Shape,
    view: View,
    x: np.ndarray,
    y: np.ndarray,
    grow: np.ndarray,
    radius: np.ndarray,
) -> np.ndarray:
    """Light on hair, float32 (n, h, w): a round form, a band of gloss, strands from the parting."""
    radius = np.minimum(radius, 1.0)
    wave, part = column(some.hair_wave), column(some.hair_parting)
    lift = -np.minimum(y, 0) / (shape.crown + grow)
    facing = (
        0.62 + 0.30 * lift + 0.30 * view.light[0] * x / (shape.width + grow) - 0.18 * (radius * radius) ** 2
    )
    angle = np.arctan2(x - 0.5 * part, 4.6 + y)
    swing = wave * 0.35 * np.sin(2.4 * y + 9 * part)
    strands = np.sin(34 * (angle + 0.15 * swing) + 40 * part) + 0.7 * np.sin(
        61 * (angle + 0.12 * swing) + 17 * part
    )
    gloss = np.exp(-(((radius - 0.80 + 0.05 * wave) / 0.10) ** 2)) * np.clip(lift, 0, 1)
    gloss = gloss * (0.6 + 0.5 * view.light[0] * np.sign(x) * np.minimum(np.abs(x), 1))
    return np.clip(facing + 0.055 * strands + 0.20 * gloss, 0.2, 1.5)


def back_hair(canvas: Canvas, some: Speakers, hair: Hair) -> None:
    """Hair behind the face and the neck."""
    y = canvas.y
    bare = edge(column(some.hair_recession) - 0.75, 0.08) * edge(-1.2 - y, 0.4)
    cover = hair.outer * edge(hair.end - y, 0.3) * (1 - bare)
    canvas.blend(cover, hair.colour, hair.shade * (0.80 - 0.28 * edge(y + 0.5, 1.0)))


def front_hair(canvas: Canvas, some: Speakers, shape: Shape, face: Face, view: View, hair: Hair) -> None:
    """Hair over the skull: hairline with its recession, fringe, temples, and locks beside the face."""
    volume, wave, long = column(some.hair_volume), column(some.hair_wave), column(some.hair_length)
    part, bald = column(some.hair_parting), column(some.hair_recession)
    fringe = column(
        (some.hair_parting > 0.55) & (some.hair_length > 0.12)
    )  # the far end of the range is a fringe
    x, y = face.x, face.y
    ax = np.abs(x)

    sweep = 0.30 * np.minimum(np.abs(x - 0.9 * part * (1 - fringe)) / 1.5, 1) * edge(long - 0.12, 0.15)
    corner = np.clip((ax - 1.25) / 0.75, 0, 1)
    line = -1.98 + sweep + 0.9 * corner * corner
    jag = 0.06 * np.sin(9 * x + 20 * part) + 0.04 * np.sin(17 * x + 7 * part)
    line += fringe * (0.88 - 0.12 * x * x) + jag * (0.5 + fringe)
    # Recession takes the temples first, then the crown.
    temples = np.exp(-(((ax - 1.15) / 0.55) ** 2))
    crown = column(np.clip((some.hair_recession - 0.35) / 0.5, 0, 1) ** 1.3)
    line -= 1.3 * np.clip(bald * 1.6, 0, 1) * temples + 2.2 * crown * edge(1.75 - ax, 0.5)
    top = edge(line - y, 0.16 + 0.10 * bald)

    lock = (
        shape.width * 0.93
        - 0.10 * volume
        - 0.16 * np.clip(y, 0, 2) * edge(long - 0.45, 0.15) * (0.4 + volume)
    )
    lock += 0.06 * wave * np.sin(3 * y + 1.5 * np.sign(x))
    sides = edge(ax - lock, 0.12) * edge(hair.end - y, 0.3) * edge(y + 1.6, 0.5)
    # Thinning hair lets the scalp through before it is gone.
    cover = np.maximum(top, sides) * hair.outer * (1 - 0.45 * bald * top)
    shadow = edge(line + 0.22 - y, 0.25) * (1 - top) * face.cover * (1 - bald)
    canvas.darken(0.24 * shadow, (slice(None), slice(None)), _LINE)
    canvas.blend(cover, hair.colour, hair.shade * (0.80 + 0.42 * view.ambient))
