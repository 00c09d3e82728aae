"""A face embedding space of the face classifier that ships: it needs nothing beyond the core dependencies.

    face -> classifier -> 64 numbers, logit of "female", age -> e (64)

Fitted on the training identities' faces when a run starts: each element of e has variance 1 over identities'
mean faces, so that a predicted e is measured in what separates people. (models/face_embedding_space.py, by
dlib's network, is of single faces.) The classifier was trained on rendered faces and real ones
(`v2f-gan train-face-classifier`); figures by the same classifier are of a reader used in training.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from voice2face_gan.faces.align import ZOOM_ABOUT
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.face_readers.classifier import EMBEDDING, SIDE, ClassifierTrunk, load_classifier
from voice2face_gan.models.face_space_base import COMPONENTS, BaseFaceSpace
from voice2face_gan.resources import resource

CLASSIFIER = "classifier"  # face_embedding.space: this space
CERTAIN = 6.0  # logits of "female" beyond it say no more
FURTHEST = 5.0  # standard deviations that an element of e is from the average, at most
_LEAST = 1e-3  # variance of a component, as a part of their mean: few people vary in few directions
_MAPS = (3, 4)  # layers of the classifier whose outputs `maps` gives: 32 x 32 and 16 x 16
_PIECE = 256  # faces read together


class ClassifierSpace(BaseFaceSpace):
    """Reads e from aligned faces by the face classifier.

    Attributes:
        chip: (3,), where the template's pixels lie in the faces.
        centre (64,), basis (64, 62), scale (62,): as in BaseFaceSpace.
        attribute_mean, attribute_std (2,): of the logit and of the age as the classifier gives it.
    """

    map_shapes = {
        "chip": (3,),
        "centre": (EMBEDDING,),
        "basis": (EMBEDDING, COMPONENTS),
        "scale": (COMPONENTS,),
        "attribute_mean": (2,),
        "attribute_std": (2,),
    }
    prefix, naming = "classifier-space", ("basis", "scale", "attribute_mean")
    chip_side = SIDE
    kept_in_stores = False

    def __init__(self, net: ClassifierTrunk | None = None):
        """
        Args:
            net: default: the classifier that ships.
        Raises:
            CheckpointError: it is missing from this installation.
        """
        super().__init__(net or load_classifier(resource("assets", "face_classifier")).net)

    def read(self, faces: Tensor, disturbed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.split(self._outputs(self.chips(faces.float(), disturbed)))

    def read_with_maps(
        self, faces: Tensor, disturbed: Tensor | None = None
    ) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
        """What `read` and `maps` give, in the time of one of them."""
        maps, last = self._maps(self.chips(faces.float(), disturbed))
        for layer in self.net.features[_MAPS[-1] + 1 :]:
            last = layer(last)
        logit, age = self.net.attributes(last).unbind(dim=1)
        return self.split(_joined(self.net.embedding(last), logit, age)), maps

    def forward(self, faces: Tensor) -> Tensor:
        """float (B, 3, side, side) in [-1, 1] -> e (B, 64), of the mean reading of a face and its mirror
        image, as FaceClassifier reads."""
        return self.encode(*self.split(self._mirrored(faces)))

    def encode(self, embedding: Tensor, attributes: Tensor) -> Tensor:
        """e, no element further than FURTHEST from 0: among women alone a face that is misread as a man's is
        forty standard deviations away, and one such face spoils a batch."""
        return super().encode(embedding, attributes).clamp(-FURTHEST, FURTHEST)

    def maps(self, faces: Tensor, disturbed: Tensor | None = None) -> list[Tensor]:
        """Outputs of two early layers, (B, channels, side, side) each, for a perceptual loss; arguments as in
        `read`."""
        return self._maps(self.chips(faces.float(), disturbed))[0]

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The classifier's outputs (B, 66) as `read` gives them."""
        attributes = (outputs[:, EMBEDDING:] - self.attribute_mean) / self.attribute_std
        return outputs[:, :EMBEDDING], attributes

    @torch.no_grad()
    def readings(self, faces: Tensor) -> Tensor:
        """float32 (N, 66): the classifier's embedding, logit and age, of faces as stores hold them, uint8
        (N, side, side, 3)."""
        device = self.chip.device
        parts = [self._mirrored(to_unit(part.to(device))).cpu() for part in faces.split(_PIECE)]
        return torch.cat(parts) if parts else torch.zeros(0, EMBEDDING + 2)

    def place(self, zoom: float) -> ClassifierSpace:
        """Says how much larger than the template's the faces to be read are."""
        shift = [zoom / SIDE + 2 * about * (1 - zoom) - 1 for about in ZOOM_ABOUT.tolist()]
        self.chip.copy_(torch.tensor([2 * zoom / SIDE, *shift]))
        return self

    def fit(self, people: Tensor) -> ClassifierSpace:
        """Fits everything but `chip`.

        Args:
            people: (identities, 66), the mean of each one's `readings`; two or more.
        """
        h, attributes = people[:, :EMBEDDING].double(), people[:, EMBEDDING:].double()
        values, vectors = torch.linalg.eigh(torch.cov(h.t()))
        values = values.clamp(min=_LEAST * float(values.mean()) + 1e-12)
        self.centre.copy_(h.mean(dim=0))
        self.basis.copy_(vectors.flip(1)[:, :COMPONENTS])
        self.scale.copy_(values.flip(0)[:COMPONENTS].sqrt())
        self.attribute_mean.copy_(attributes.mean(dim=0))
        self.attribute_std.copy_(attributes.std(dim=0).clamp(min=1e-3))
        return self

    @classmethod
    def of_map(
        cls, tensors: dict[str, Tensor], about: dict | None = None, reader: str | Path | None = None
    ) -> ClassifierSpace:
        return cls().with_map(tensors, about)

    def _mirrored(self, faces: Tensor) -> Tensor:
        chips = self.chips(faces.float())
        return (self._outputs(chips) + self._outputs(chips.flip(-1))) / 2

    def _outputs(self, chips: Tensor) -> Tensor:
        return _joined(*self.net(chips.contiguous(memory_format=torch.channels_last)))

    def _maps(self, chips: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps, and the last of them as the next layer takes it."""
        x, found = chips.contiguous(memory_format=torch.channels_last), []
        for i, layer in enumerate(self.net.features[: _MAPS[-1] + 1]):
            x = layer(x)
            if i in _MAPS:
                found.append(x)
        return found, x


def _joined(embedding: Tensor, logit: Tensor, age: Tensor) -> Tensor:
    """The classifier's outputs as one tensor (B, 66)."""
    return torch.cat([embedding, logit.clamp(-CERTAIN, CERTAIN)[:, None], age[:, None]], dim=1)
