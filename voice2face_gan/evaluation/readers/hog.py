"""dlib's HOG face detector on aligned images, and dlib's landmarks in its boxes.

The detector's window is 80 pixels (Dalal and Triggs 2005; King 2015), so images are searched at 256: a face
of 64 is enlarged four times (bicubic). Where nothing is found, the box is that of the template of
faces/align.py: medians of HOG's boxes on 300 aligned faces of VoxCeleb and AVSpeech.

dlib and its models are the extra `faces`.
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from PIL import Image
from torch import Tensor

from voice2face_gan.errors import MetricError
from voice2face_gan.faces.align import EYE_DISTANCE, EYES_Y

SEARCH_SIDE = 256  # pixels a side

_BOX_HALF_WIDTH, _BOX_ABOVE, _BOX_BELOW = (
    1.35,
    0.88,
    1.84,
)  # eye distances: half the width, above and below the eyes
TEMPLATE_BOX = tuple(
    round(SEARCH_SIDE * v)
    for v in (
        0.5 - _BOX_HALF_WIDTH * EYE_DISTANCE,
        EYES_Y - _BOX_ABOVE * EYE_DISTANCE,
        0.5 + _BOX_HALF_WIDTH * EYE_DISTANCE,
        EYES_Y + _BOX_BELOW * EYE_DISTANCE,
    )
)
"""left, top, right, bottom in pixels of an enlarged image."""

_CACHED_FACE_SETS = 8  # sets of faces whose boxes are cached for other metrics
_boxes: OrderedDict[bytes, tuple[np.ndarray, np.ndarray]] = OrderedDict()


@functools.cache
def libraries():
    """The modules dlib and face_recognition_models.

    Raises:
        MetricError: the extra `faces` is not installed.
    """
    try:
        import dlib
        import face_recognition_models
    except ImportError as error:
        raise MetricError(
            "dlib's face detector, landmarks and encoder are not installed: "
            "pip install 'voice2face-gan[faces]'."
        ) from error
    return dlib, face_recognition_models


def enlarged(faces: Tensor) -> Iterator[np.ndarray]:
    """uint8 (N, side, side, 3) -> uint8 (256, 256, 3) one after the other, bicubic."""
    for face in faces.numpy():
        if face.shape[0] != SEARCH_SIDE:
            face = np.asarray(
                Image.fromarray(face).resize((SEARCH_SIDE, SEARCH_SIDE), Image.Resampling.BICUBIC)
            )
        yield np.ascontiguousarray(face)


def find(faces: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The largest face that HOG finds in each image.

    Args:
        faces: uint8 (N, side, side, 3).
    Returns:
        int (N, 4) left, top, right, bottom in pixels of the enlarged images, right and bottom outside the
        box (the template's box where nothing is found); bool (N,) where something is found.
    Raises:
        MetricError: the extra `faces` is not installed.
    """
    dlib, _ = libraries()
    key = hashlib.sha256(repr(tuple(faces.shape)).encode() + faces.numpy().tobytes()).digest()
    if key not in _boxes:
        hog = dlib.get_frontal_face_detector()
        boxes = np.tile(np.array(TEMPLATE_BOX), (len(faces), 1))
        found = np.zeros(len(faces), dtype=bool)
        for i, image in enumerate(enlarged(faces)):
            if rectangles := list(hog(image, 0)):
                r = max(rectangles, key=lambda r: r.area())
                boxes[i], found[i] = (r.left(), r.top(), r.right() + 1, r.bottom() + 1), True
        _boxes[key] = boxes, found
        while len(_boxes) > _CACHED_FACE_SETS:
            _boxes.popitem(last=False)
    boxes, found = _boxes[key]
    return boxes.copy(), found.copy()


def shapes(faces: Tensor, boxes: np.ndarray, points: int) -> Iterator[tuple[np.ndarray, object]]:
    """(enlarged image, dlib's full_object_detection) of each face: its landmarks in the box of `find`.

    Args:
        points: 5 or 68.
    """
    dlib, models = libraries()
    predict = _predictor(points)
    for image, (left, top, right, bottom) in zip(enlarged(faces), boxes.tolist(), strict=True):
        yield image, predict(image, dlib.rectangle(left, top, right - 1, bottom - 1))


@functools.cache
def _predictor(points: int):
    dlib, models = libraries()
    path = {
        5: models.pose_predictor_five_point_model_location,
        68: models.pose_predictor_model_location,
    }[points]()
    return dlib.shape_predictor(path)
