"""Where dlib's HOG detector finds the face in an aligned image; where nothing is found, the box is the
template's (faces/aligned_landmarks.py).

dlib and its models are the extra `faces`.
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict

import numpy as np
from torch import Tensor

from voice2face_gan.errors import MetricError
from voice2face_gan.faces.aligned_landmarks import SEARCH_SIDE, TEMPLATE_BOX, enlarged, shapes

__all__ = ["SEARCH_SIDE", "TEMPLATE_BOX", "find", "libraries", "shapes"]

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
