"""dlib's face embedder as a judge: 128 numbers a face, from a ResNet that only real faces have trained.

King, "High quality face recognition with deep metric learning", blog.dlib.net, February 2017. Two faces of
one person lie within 0.6 (Euclidean) as dlib recommends. Each face is found by HOG, laid upright by its five
landmarks and cut to 150x150 pixels (`hog.find`, `dlib.get_face_chip`), as dlib's own examples do.
"""

import hashlib
from pathlib import Path

import numpy as np
from torch import Tensor

from voice2face_gan.evaluation.judges import hog
from voice2face_gan.evaluation.judges.base import Reading

DIMENSIONS = 128
_CHIP = 150  # pixels: what the network was trained on
_BATCH = 32

_ABOUT = {
    "trained_on": "about 3 million photographs of 7,485 people (as dlib states: FaceScrub, VGG, the web)",
    "held_out": {"LFW": "99.38 % of pairs right, as dlib itself states"},
}


class DlibJudge:
    """dlib's embedder.

    Raises:
        MetricError: the extra `faces` is not installed.
    """

    def __init__(self):
        self._dlib, models = hog.libraries()
        path = models.face_recognition_model_location()
        self.name = f"dlib-resnet-{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]}"
        self.about = dict(_ABOUT)
        self._embed = self._dlib.face_recognition_model_v1(path)

    def read(self, faces: Tensor) -> Reading:
        """`found` is where HOG found a face; the others are read in the template's box."""
        boxes, found = hog.find(faces)
        parts = []
        for start in range(0, len(faces), _BATCH):
            some = slice(start, start + _BATCH)
            chips = [
                self._dlib.get_face_chip(picture, shape, size=_CHIP)
                for picture, shape in hog.shapes(faces[some], boxes[some], points=5)
            ]
            parts.append(np.array(self._embed.compute_face_descriptor(chips), dtype=np.float32))
        embedding = np.concatenate(parts) if parts else np.empty((0, DIMENSIONS), dtype=np.float32)
        return Reading(embedding, None, None, found)
