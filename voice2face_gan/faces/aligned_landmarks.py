"""dlib's landmarks of aligned faces, in the box where the template lays the face or in another.

dlib's detector has a window of 80 pixels (Dalal and Triggs 2005; King 2015), so images are looked at with 256
pixels a side: a face of 64 is enlarged four times (bicubic). The template's box is the one that
faces/align.py calls for: medians of what HOG finds on 300 aligned faces of VoxCeleb and AVSpeech.

dlib and its models are the extra `faces`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image
from torch import Tensor

from voice2face_gan.faces.align import EYE_DISTANCE, EYES_Y
from voice2face_gan.faces.landmarks import dlib_modules, shape_predictor

SEARCH_SIDE = 256  # pixels a side

_HALF, _ABOVE, _BELOW = (
    1.35,
    0.88,
    1.84,
)  # of the distance of the eyes: half the width, and to either side of them
TEMPLATE_BOX = tuple(
    round(SEARCH_SIDE * v)
    for v in (
        0.5 - _HALF * EYE_DISTANCE,
        EYES_Y - _ABOVE * EYE_DISTANCE,
        0.5 + _HALF * EYE_DISTANCE,
        EYES_Y + _BELOW * EYE_DISTANCE,
    )
)
"""left, top, right, bottom in pixels of an enlarged image."""


def enlarged(faces: Tensor) -> Iterator[np.ndarray]:
    """uint8 (N, side, side, 3) -> uint8 (256, 256, 3) one after the other, bicubic."""
    for face in faces.numpy():
        if face.shape[0] != SEARCH_SIDE:
            face = np.asarray(
                Image.fromarray(face).resize((SEARCH_SIDE, SEARCH_SIDE), Image.Resampling.BICUBIC)
            )
        yield np.ascontiguousarray(face)


def shapes(faces: Tensor, boxes: np.ndarray, points: int) -> Iterator[tuple[np.ndarray, object]]:
    """(enlarged image, dlib's full_object_detection) of each face: its landmarks in its box.

    Args:
        faces: uint8 (N, side, side, 3).
        boxes: int (N, 4) left, top, right, bottom in pixels of the enlarged images.
        points: 5 or 68.
    Raises:
        ImageError: the extra `faces` is not installed.
    """
    dlib, _ = dlib_modules()
    predict = shape_predictor(points)
    for image, (left, top, right, bottom) in zip(enlarged(faces), boxes.tolist(), strict=True):
        yield image, predict(image, dlib.rectangle(left, top, right - 1, bottom - 1))
