"""Face detection: dlib's detectors, and its five points on each face.

Two detectors, both of frontal faces and both without a network at hand: "hog" (Dalal and Triggs 2005; fast,
faces of 80 pixels and more) and "cnn" (King 2015, max-margin; finds turned and covered faces too, some twenty
times slower without a GPU). Both miss small faces, so small images are enlarged first: HOG finds 51 of 60
UTKFace images at their 72 pixels, and all 60 at three times that. Large ones are reduced, and searched
again in more detail when nothing is found.

dlib and its models are the extra `faces`; nothing else in this package needs them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.align import eye_distance
from voice2face_gan.faces.landmarks import shape_predictor

DETECTORS = ("hog", "cnn")

# Longer side in pixels at which an image is searched: enlarged to the first number if it is smaller, reduced
# to the second if it is larger; then, if nothing is found, once more at the third.
_SIZES = {"hog": (216, 640, 1280), "cnn": (144, 480, 960)}
_MAX_ENLARGEMENT = 4  # an image of a few pixels holds no face, however large it is made


class NoFaceError(ImageError):
    """No face was found, or none that may be taken.

    Attributes:
        reason: "no face", "several faces" or "face too small".
    """

    def __init__(self, reason: str, sentence: str):
        self.reason = reason
        super().__init__(sentence)


@dataclass(frozen=True)
class Face:
    """A face in an image.

    Attributes:
        box: left, top, right, bottom in pixels of the image; may reach beyond its edges.
        points: float64 (5, 2), x and y in pixels, from left to right in the image: outer and inner corner
            of the left eye, inner and outer corner of the right eye; then the base of the nose.
        score: the detector's confidence; higher is surer, scales differ between detectors.
    """

    box: tuple[float, float, float, float]
    points: np.ndarray
    score: float

    @property
    def area(self) -> float:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


class FaceDetector:
    """Finds faces and their five points.

    Args:
        kind: "hog" or "cnn".
    Raises:
        ImageError: no such detector, or the extra `faces` is not installed.
    """

    def __init__(self, kind: str = "hog"):
        if kind not in DETECTORS:
            raise ImageError(f"There is no face detector '{kind}'; take {' or '.join(DETECTORS)}.")
        dlib, models = _dlib()
        self.kind = kind
        if kind == "hog":
            hog = dlib.get_frontal_face_detector()
            self._search = lambda pixels: list(zip(*hog.run(pixels, 0, 0.0)[:2], strict=True))
        else:
            cnn = dlib.cnn_face_detection_model_v1(models.cnn_face_detector_model_location())
            self._search = lambda pixels: [(found.rect, found.confidence) for found in cnn(pixels, 0)]
        self._predict = shape_predictor(5)

    @property
    def least_side(self) -> int:
        """More pixels than this on the shorter side of an image are of no use."""
        return _SIZES[self.kind][2]

    def find(self, image: Image.Image) -> list[Face]:
        """All faces of an RGB image, the largest first; maybe none."""
        longer = max(image.size)
        least, most, finest = _SIZES[self.kind]
        first = min(max(longer, least), most, _MAX_ENLARGEMENT * longer)
        second = min(
            max(2 * first, finest) if longer > most else 2 * first, finest, 2 * _MAX_ENLARGEMENT * longer
        )
        faces = self._find_at(image, first / longer)
        if not faces and second > first:
            faces = self._find_at(image, second / longer)
        return sorted(faces, key=lambda face: (-face.area, face.box))

    def _find_at(self, image: Image.Image, scale: float) -> list[Face]:
        """The faces of an image, searched at `scale` times its size."""
        size = tuple(max(1, round(scale * length)) for length in image.size)
        shown = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(shown)
        ratio = np.array(image.size) / size
        faces = []
        for box, score in self._search(pixels):
            corners = np.array([(box.left(), box.top()), (box.right() + 1, box.bottom() + 1)]) * ratio
            # dlib counts from pixel centres, and its eyes as the person's own: left eye, right eye, nose.
            found = np.array([(p.x, p.y) for p in self._predict(pixels, box).parts()], dtype=float) + 0.5
            points = found[[2, 3, 1, 0, 4]] * ratio
            faces.append(Face(tuple(float(v) for v in corners.ravel()), points, float(score)))
        return faces


def choose(
    faces: list[Face],
    several: str = "largest",
    near: tuple[float, float] | None = None,
    least_eye_distance: float = 0.0,
    name: str = "the image",
) -> Face:
    """The one face that is meant.

    Args:
        faces: what `find` gave.
        several: "largest" takes the largest of several; "reject" refuses an image with several.
        near: x and y in pixels; takes the face whose middle is nearest, whatever `several` is (AVSpeech
            gives such a point for every clip).
        least_eye_distance: between the eyes' centres, in pixels; a smaller face is refused.
        name: of the image, for messages.
    Raises:
        NoFaceError: none, several or too small.
    """
    if not faces:
        raise NoFaceError("no face", f"{name}: no face was found; give a frontal, well lit image of one.")
    if near is not None:
        face = min(faces, key=lambda f: np.hypot(f.centre[0] - near[0], f.centre[1] - near[1]))
    elif len(faces) > 1 and several == "reject":
        raise NoFaceError("several faces", f"{name}: {len(faces)} faces were found; give an image of one.")
    else:
        face = max(faces, key=lambda f: f.area)
    distance = eye_distance(face.points)
    if distance < least_eye_distance:
        raise NoFaceError(
            "face too small",
            f"{name}: the eyes are {distance:.0f} pixels apart, {least_eye_distance:g} are needed; "
            "give a larger image of the face.",
        )
    return face


@functools.cache
def detector(kind: str) -> FaceDetector:
    """This process's detector of a kind, made at first use."""
    return FaceDetector(kind)


def _dlib():
    """The modules dlib and face_recognition_models, or one sentence."""
    try:
        import dlib
        import face_recognition_models
    except ImportError as error:
        raise ImageError(
            "Finding faces needs dlib and its models: pip install 'voice2face-gan[faces]', "
            "or give images that are aligned already with --detector none (prepare, reconstruct)."
        ) from error
    return dlib, face_recognition_models
