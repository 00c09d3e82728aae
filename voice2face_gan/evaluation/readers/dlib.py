"""dlib's face encoder as a face reader: a 128-d embedding, from a ResNet that was trained on real faces
alone.

King, "High quality face recognition with deep metric learning", blog.dlib.net, February 2017. Two faces of
one person lie within 0.6 (Euclidean) as dlib recommends. Each face is found by HOG, turned upright by its
five landmarks and cut to 150x150 pixels (`hog.find`, `dlib.get_face_chip`), as in dlib's own examples. Its
network is computed by PyTorch (models/face_readers/dlib_resnet.py), for dlib's own convolutions take 0.13 s a
face.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.evaluation.readers import hog
from voice2face_gan.evaluation.readers.base import Reading
from voice2face_gan.models.face_readers.dlib_resnet import DIMENSIONS, SIDE, DlibResnet

_BATCH = 32

_ABOUT = {
    "trained_on": "about 3 million photographs of 7,485 people (as dlib states: FaceScrub, VGG, the web)",
    "held_out": {"LFW": "99.38 % of pairs right, as dlib itself states"},
}


class DlibReader:
    """dlib's encoder.

    Raises:
        MetricError: the extra `faces` is not installed.
        CheckpointError: its file of weights is damaged.
    """

    def __init__(self):
        self._dlib, models = hog.libraries()
        path = models.face_recognition_model_location()
        self.name = f"dlib-resnet-{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]}"
        self.about = dict(_ABOUT)
        self._net = DlibResnet().load_dat(path)

    @torch.inference_mode()
    def read(self, faces: Tensor) -> Reading:
        """Read faces; `found` is True where HOG found one. The others are read in the template's box."""
        boxes, found = hog.find(faces)
        parts = []
        for start in range(0, len(faces), _BATCH):
            some = slice(start, start + _BATCH)
            chips = [
                self._dlib.get_face_chip(image, shape, size=SIDE)
                for image, shape in hog.shapes(faces[some], boxes[some], points=5)
            ]
            pixels = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2)  # (B, 3, 150, 150) in 0-255
            parts.append(self._net(pixels.float())[0].numpy())
        embedding = np.concatenate(parts) if parts else np.empty((0, DIMENSIONS), dtype=np.float32)
        return Reading(embedding, None, None, found)
