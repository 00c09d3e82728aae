"""The package's face classifier as a face reader: gender, age and a 64-d embedding."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.evaluation.readers.base import Reading
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.face_readers.classifier import FaceClassifier, load_classifier

SIDE = 64  # pixels a side in training
_PIECE = 1024  # faces that are resized together


class ClassifierReader:
    """A face classifier.

    Args:
        classifier: as `load_classifier` gives it.
    """

    def __init__(self, classifier: FaceClassifier):
        self.classifier, self.name, self.about = classifier, classifier.name, classifier.about

    @classmethod
    def load(cls, folder: str | Path) -> "ClassifierReader":
        return cls(load_classifier(folder))

    def read(self, faces: Tensor) -> Reading:
        # A piece at a time: 50,000 faces of 128 pixels are 10 GB of numbers.
        pieces = [self.classifier.read(at_side(piece)) for piece in faces.split(_PIECE)]
        h, female, age = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        return Reading(h.numpy(), female.numpy(), age.numpy(), np.ones(len(faces), dtype=bool))


def at_side(faces: Tensor, side: int = SIDE) -> Tensor:
    """uint8 (N, s, s, 3) -> float32 (N, 3, side, side) in [-1, 1], resized with antialiasing."""
    x = to_unit(faces)
    if x.shape[-1] != side:
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return x
