"""The one interface of face readers that train: an image to features, with gradients for the image.

`evaluation/readers` has the readers that measure. A reader here is a frozen network: losses of face decoders
and voice encoders ask it for the feature of real and of generated images. Sizes follow the reader.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.models.face_embedding_space import FaceSpace
from voice2face_gan.models.face_readers.classifier import EMBEDDING, SIDE, ClassifierTrunk
from voice2face_gan.models.face_readers.dlib_resnet import DIMENSIONS


class FaceFeatures(NamedTuple):
    """A reader's answer.

    Attributes:
        feature: float32 (B, reader.size), not normalised.
        logits: float32 (B, reader.classes), before softmax; None where the reader has no classes.
    """

    feature: Tensor
    logits: Tensor | None


class FaceReaderNet(nn.Module):
    """A frozen face network.

    Attributes:
        name: of the network and its preprocessing, for configurations and figures.
        size: numbers of the feature.
        classes: identities that it was trained to tell apart and still tells; 0 for none.
        positive: no number of the feature is negative, so that its predictor may end in a ReLU.

    forward: float (B, 3, side, side) in [-1, 1], aligned to the template of faces/align.py, any side ->
        FaceFeatures, with gradients for the images and none for the network.
    """

    name: str
    size: int
    classes: int = 0
    positive: bool = False

    def forward(self, faces: Tensor) -> FaceFeatures:
        raise NotImplementedError

    def classify(self, feature: Tensor) -> Tensor | None:
        """The logits (B, classes) of a feature (B, size), with gradients for it; None without classes."""
        return None

    def train(self, mode: bool = True) -> "FaceReaderNet":
        """Stays in evaluation mode: what it reads does not depend on the batch."""
        return super().train(False)


class DlibReaderNet(FaceReaderNet):
    """dlib's embedding, read through the chip of a face space.

    Args:
        space: it knows where dlib's chip lies in an aligned face, and holds dlib's network.
    """

    size = DIMENSIONS

    def __init__(self, space: FaceSpace):
        super().__init__()
        self.space = space.eval().requires_grad_(False)
        self.name = f"dlib-{space.network}"

    def forward(self, faces: Tensor) -> FaceFeatures:
        return FaceFeatures(self.space.net(self.space.chips(faces.float()))[0], None)


class ClassifierReaderNet(FaceReaderNet):
    """The embedding of a classifier that `train-face-classifier` made.

    Args:
        trunk: its network.
        name: as results print it.
    """

    size = EMBEDDING

    def __init__(self, trunk: ClassifierTrunk, name: str = "classifier"):
        super().__init__()
        self.trunk = trunk.eval().requires_grad_(False)
        self.name, self.size = name, trunk.embedding.out_features

    def forward(self, faces: Tensor) -> FaceFeatures:
        return FaceFeatures(self.trunk(resized(faces, SIDE))[0].float(), None)


def resized(faces: Tensor, side: int) -> Tensor:
    """Faces (B, C, s, s) at another side: bilinear, smoothed where they are made smaller, with gradients."""
    if faces.shape[-1] == side:
        return faces
    if torch.compiler.is_exporting():  # ONNX has no antialiasing for gradients' sake
        return F.interpolate(faces, size=(side, side), mode="bilinear")
    return F.interpolate(faces, size=(side, side), mode="bilinear", antialias=True)
