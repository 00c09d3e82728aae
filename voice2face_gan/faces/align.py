"""A face in an image -> the face of every data set: one template, one framing.

The five points are dlib's: both corners of each eye and the base of the nose. A similarity transform (turn,
scale, shift; nothing is sheared) lays them on the template as well as least squares can, so that pupils and
mouth lie where the synthetic world draws them: EYE_LEFT, EYE_RIGHT and MOUTH of `synthetic.face`.

In units of half the distance between the eyes' centres, with the origin between them, the medians of about
860 real faces (AVSpeech, VoxCeleb, UTKFace; found by dlib's own predictor) are: corners at x = -1.40,
-0.60, 0.60 and 1.40, base of the nose at y = 1.43 to 1.54, middle of the mouth at y = 2.05 to 2.3. The
synthetic world's mouth is at 2.08."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from voice2face_gan.errors import ImageError

EYES_Y, EYE_DISTANCE = 0.44, 0.26
"""Height of the eyes and distance of their centres, in fractions of the side."""

_UNIT = EYE_DISTANCE / 2
TEMPLATE = np.array([0.5, EYES_Y]) + _UNIT * np.array(
    [(-1.40, 0.0), (-0.60, 0.0), (0.60, 0.0), (1.40, 0.0), (0.0, 1.50)]
)
"""float64 (5, 2): x and y in fractions of the side, in the order of `detect.Face.points`."""

ZOOM_ABOUT = np.array([0.5, 0.71])
"""Fixed point of zooming (`zoomed`): the middle of the mouth."""

_BLUR_RADIUS = 0.08  # radius of the blur beyond an image's edges, in fractions of the side
_TOLERANCE = 1e-6  # of a pixel: an edge that rounding puts beyond a pixel's border lies on it
_SUPERSAMPLING = 2  # least samples a pixel of the result, each way: the bicubic warp does not smooth


def zoomed(points: np.ndarray, zoom: float) -> np.ndarray:
    """Points (N, 2) of the template, in fractions of the side, in faces enlarged by `zoom`."""
    return ZOOM_ABOUT + zoom * (np.asarray(points) - ZOOM_ABOUT)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity transform that takes `source` to `target`, least squares (Umeyama 1991, in closed form).

    Args:
        source, target: float (points, 2), not all source points the same.
    Returns:
        float64 (2, 3) A with A @ (x, y, 1) nearest to the target; never a reflection.
    Raises:
        ImageError: all source points are the same.
    """
    z, w = (points[:, 0] + 1j * points[:, 1] for points in (np.asarray(source), np.asarray(target)))
    centred = z - z.mean()
    spread = float(np.sum(np.abs(centred) ** 2))
    if spread < 1e-12:
        raise ImageError("The points of the face all lie in one place, so it cannot be aligned.")
    turn = np.sum(np.conj(centred) * (w - w.mean())) / spread  # scale and rotation as one complex number
    shift = w.mean() - turn * z.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def eye_distance(points: np.ndarray) -> float:
    """Distance between the centres of the eyes in pixels, of float (5, 2) points."""
    return float(np.hypot(*(points[2:4].mean(axis=0) - points[:2].mean(axis=0))))


def align(
    image: Image.Image, points: np.ndarray, side: int = 64, zoom: float = 1.0
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The face at `points`, laid on the template.

    Args:
        image: RGB.
        points: float (5, 2), x and y in pixels; pixel (0, 0) covers 0 to 1.
        side: of the result in pixels.
        zoom: how much larger than the template it is to be.
    Returns:
        uint8 (side, side, 3), smoothed as far as it is made smaller. Beyond the image's edges its outermost
        pixels go on, softly: a mirror image there would grow a second brow on tightly cut faces. And what of
        it shows the image (`visible_box`).
    Raises:
        ImageError: the points do not make a face.
    """
    transform = similarity(points, zoomed(TEMPLATE, zoom))
    return warp(image, transform, side), visible_box(transform, image.size, side)


def visible_box(transform: np.ndarray, size: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """The part of a warped face that shows its image and was not filled in beyond the image's edges.

    Args:
        transform: as `warp` takes it.
        size: width and height of the image in pixels.
        side: of the face in pixels.
    Returns:
        left, top, right and bottom of a box of whole pixels of the face, all of which show the image; where
        the image lies turned, the largest such box that its four corners allow. (0, 0, 0, 0) for none.
    """
    width, height = size
    corners = np.array([(0, width, width, 0), (0, 0, height, height), (1, 1, 1, 1)], dtype=float)
    x, y = transform @ corners * side  # top left, top right, bottom right, bottom left
    left, top = (
        max(0, math.ceil(max(x[0], x[3]) - _TOLERANCE)),
        max(0, math.ceil(max(y[0], y[1]) - _TOLERANCE)),
    )
    right, bottom = (min(side, math.floor(min(edge) + _TOLERANCE)) for edge in ((x[1], x[2]), (y[2], y[3])))
    return (left, top, right, bottom) if left < right and top < bottom else (0, 0, 0, 0)


def warp(image: Image.Image, transform: np.ndarray, side: int) -> np.ndarray:
    """Take an image through a similarity transform into the unit square.

    Args:
        image: RGB.
        transform: float (2, 3), pixels of the image -> fractions of the side.
        side: of the result in pixels.
    Returns:
        uint8 (side, side, 3).
    """
    inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))[:2]
    scale = float(np.hypot(inverse[0, 0], inverse[1, 0])) / side  # pixels of the image per pixel
    corners = inverse @ np.array([(0, 1, 0, 1), (0, 0, 1, 1), (1, 1, 1, 1)], dtype=float)
    margin = 4 + 2 * math.ceil(scale)
    left, top = (int(v) - margin for v in np.floor(corners.min(axis=1)))
    right, bottom = (int(v) + margin for v in np.ceil(corners.max(axis=1)))
    if max(right - left, bottom - top) > 64 * (image.width + image.height):
        raise ImageError("The points of the face lie too far apart for the image.")
    patch = _cut(image, (left, top, right, bottom))
    inverse[:, 2] -= (left, top)
    # Whole-number reduction first, so that what follows works on little more than it needs.
    factor = max(1, int(scale / _SUPERSAMPLING))
    if factor > 1:
        patch = patch.reduce(factor)
        inverse /= factor
    edges = (-left, -top, image.width - left, image.height - top)
    patch = _soften(patch, tuple(v / factor for v in edges), _BLUR_RADIUS * scale * side / factor)
    fine = side * max(1, math.ceil(scale / factor))
    matrix = inverse.copy()
    matrix[:, :2] /= fine
    warped = patch.transform(
        (fine, fine), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BICUBIC
    )
    if fine > side:
        warped = warped.resize((side, side), Image.Resampling.BOX)
    return np.array(warped)


def plain(
    image: Image.Image, side: int, crop: tuple[float, ...] | None = None, zoom: float = 1.0
) -> np.ndarray:
    """An image of a set that is aligned already: cut and resized, not searched.

    Args:
        image: RGB.
        side: of the result in pixels.
        crop: left, top, right and bottom in fractions of the width and height; default: the largest square
            in the middle.
        zoom: how much larger than that the face is to be, 1 or more; the middle of the mouth keeps its place.
    Returns:
        uint8 (side, side, 3).
    """
    width, height = image.size
    if crop is None:
        half = min(width, height) / 2
        box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
    else:
        box = (crop[0] * width, crop[1] * height, crop[2] * width, crop[3] * height)
    corner, size = np.array(box[:2]), np.array(box[2:]) - np.array(box[:2])
    corner = corner + ZOOM_ABOUT * size * (1 - 1 / zoom)
    box = tuple(float(v) for v in (*corner, *(corner + size / zoom)))
    return np.array(image.resize((side, side), Image.Resampling.BICUBIC, box=box))


def _cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """The part of an image in `box`; beyond the edges the outermost pixels are repeated."""
    left, top, right, bottom = box
    if left >= 0 and top >= 0 and right <= image.width and bottom <= image.height:
        return image.crop(box)
    pixels = np.asarray(image)
    rows = np.arange(top, bottom).clip(0, image.height - 1)
    columns = np.arange(left, right).clip(0, image.width - 1)
    return Image.fromarray(pixels[rows[:, None], columns[None, :]])


def _soften(patch: Image.Image, edges: tuple[float, ...], radius: float) -> Image.Image:
    """Blur what `_cut` repeated, the more the farther it lies beyond the edges; what is inside stays.

    Args:
        patch: RGB.
        edges: left, top, right and bottom of the true image in the patch's pixels.
        radius: of the blur, and the distance at which it is whole, in the patch's pixels.
    """
    x, y = np.arange(patch.width) + 0.5, np.arange(patch.height) + 0.5
    beyond_x = np.maximum(0, np.maximum(edges[0] - x, x - edges[2]))
    beyond_y = np.maximum(0, np.maximum(edges[1] - y, y - edges[3]))
    distance = np.maximum(beyond_x[None, :], beyond_y[:, None])
    if not distance.any():
        return patch
    weight = Image.fromarray((255 * np.minimum(1, distance / radius)).astype(np.uint8))
    return Image.composite(patch.filter(ImageFilter.GaussianBlur(radius)), patch, weight)
