"""The 68 landmarks of a face: dlib's predictor, and the same points on the template of `align`.

Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV workshops 2013: 17 points of the jaw, 5 of each brow,
9 of the nose, 6 of each eye and 20 of the mouth. dlib's predictor (Kazemi and Sullivan, "One Millisecond Face
Alignment with an Ensemble of Regression Trees", CVPR 2014) comes with the extra `faces`.

Landmarks are found in the image itself and then taken to the template by the alignment's transform, so that
they have the image's resolution. `on_template` finds them in faces that are aligned already, such as rendered
ones.
"""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.align import TEMPLATE, similarity, zoomed
from voice2face_gan.faces.mean_shape import POINTS, TEMPLATE_BOX

# face_recognition's landmark lists (api.py) joined in their order hold 72 points of these 68: the corners of
# the lips are in both lips. Each number is the place of a point among the 68.
_LISTS = (
    tuple(range(17)),  # chin
    tuple(range(17, 22)),  # left eyebrow
    tuple(range(22, 27)),  # right eyebrow
    tuple(range(27, 31)),  # nose bridge
    tuple(range(31, 36)),  # nose tip
    tuple(range(36, 42)),  # left eye
    tuple(range(42, 48)),  # right eye
    (*range(48, 55), 64, 63, 62, 61, 60),  # top lip
    (*range(54, 60), 48, 60, 67, 66, 65, 64),  # bottom lip
)
LIST_ORDER = tuple(i for group in _LISTS for i in group)
"""Places among the 68 of the 72 points in face_recognition's lists; 48, 54, 60 and 64 come twice."""

_LEAST_SIDE = 16  # pixels of a face, below which no landmark means anything


def dlib_modules():
    """The modules dlib and face_recognition_models.

    Raises:
        ImageError: the extra `faces` is not installed.
    """
    try:
        import dlib
        import face_recognition_models
    except ImportError as error:
        raise ImageError(
            "Landmarks of faces need dlib and its models: pip install 'voice2face-gan[faces]'."
        ) from error
    return dlib, face_recognition_models


@functools.cache
def shape_predictor(points: int):
    """dlib's predictor of 5 or 68 landmarks, loaded once a process.

    Raises:
        ImageError: the extra `faces` is not installed.
    """
    dlib, models = dlib_modules()
    path = {
        5: models.pose_predictor_five_point_model_location,
        POINTS: models.pose_predictor_model_location,
    }[points]()
    return dlib.shape_predictor(path)


class LandmarkPredictor:
    """Finds the 68 landmarks of a face whose box is known.

    Raises:
        ImageError: the extra `faces` is not installed.
    """

    def __init__(self):
        dlib, _ = dlib_modules()
        self._rectangle, self._predict = dlib.rectangle, shape_predictor(POINTS)

    def find(self, image: Image.Image | np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        """The landmarks of one face.

        Args:
            image: RGB, PIL or uint8 (height, width, 3).
            box: left, top, right and bottom in pixels, as `detect.Face.box`; may reach beyond the edges.
        Returns:
            float64 (68, 2), x and y in pixels of the image; pixel (0, 0) covers 0 to 1. Left is the image's
            left.
        Raises:
            ImageError: the box is too small to hold a face.
        """
        pixels = np.ascontiguousarray(np.asarray(image, dtype=np.uint8))
        left, top, right, bottom = (round(v) for v in box)
        if min(right - left, bottom - top) < _LEAST_SIDE or min(pixels.shape[:2]) < _LEAST_SIDE:
            height, width = pixels.shape[:2]
            raise ImageError(
                f"An image of {width} x {height} pixels with a face of {right - left} x {bottom - top} "
                f"is too small for landmarks; {_LEAST_SIDE} pixels each way are needed."
            )
        found = self._predict(pixels, self._rectangle(left, top, right - 1, bottom - 1))
        # dlib counts from pixel centres.
        return np.array([(p.x, p.y) for p in found.parts()], dtype=float) + 0.5

    def on_template(self, face: np.ndarray, zoom: float = 1.0) -> np.ndarray:
        """The landmarks of an aligned face, searched in the box that faces have on the template.

        Args:
            face: uint8 (side, side, 3), as `align` gives it.
            zoom: that the face was aligned with.
        Returns:
            float64 (68, 2), x and y in pixels of the face.
        Raises:
            ImageError: the face is too small.
        """
        side = face.shape[0]
        box = (zoomed(TEMPLATE_BOX, zoom) * side).ravel()
        return self.find(face, tuple(box))


@functools.cache
def predictor() -> LandmarkPredictor:
    """This process's predictor, made at first use."""
    return LandmarkPredictor()


def to_template(points: np.ndarray, five: np.ndarray, side: int, zoom: float = 1.0) -> np.ndarray:
    """Landmarks of an image, moved as `align` moves the image.

    Args:
        points: float (N, 2), x and y in pixels of the image.
        five: float (5, 2), the points that the face is aligned by, as `detect.Face.points`.
        side: of the aligned face in pixels.
        zoom: that it is aligned with.
    Returns:
        float64 (N, 2), x and y in pixels of the aligned face; may lie outside of it.
    """
    transform = similarity(five, zoomed(TEMPLATE, zoom))
    return (np.asarray(points, dtype=float) @ transform[:, :2].T + transform[:, 2]) * side


def from_lists(points: np.ndarray) -> np.ndarray:
    """The 68 landmarks among the 72 of face_recognition's lists (two places of one point are averaged).

    Args:
        points: float (..., 72, 2) in the lists' order, or (..., 144) with x and y in turn.
    Returns:
        float (..., 68, 2).
    Raises:
        ImageError: another number of values.
    """
    points = np.asarray(points)
    if points.shape[-1] == 2 * len(LIST_ORDER):
        points = points.reshape(*points.shape[:-1], len(LIST_ORDER), 2)
    if points.shape[-2:] != (len(LIST_ORDER), 2):
        raise ImageError(f"Landmarks of shape {points.shape} are not 72 points with x and y.")
    share = np.zeros((POINTS, len(LIST_ORDER)))
    share[LIST_ORDER, range(len(LIST_ORDER))] = 1
    return (share / share.sum(axis=1, keepdims=True)) @ points
