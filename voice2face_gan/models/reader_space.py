"""A face space of any face reader: e is the reader's feature as it is, of the reader's size.

    face (aligned) -> chip -> face reader -> e

Readers are VGG-Face, from the folder that `v2f-gan convert vggface` wrote (fc7, 4096 numbers, and fc8's
identities), and dlib's embedding (128 numbers, extra `faces`) by the name "dlib". There are no principal
components, and no sex and age. Speech2Face's decoder and voice encoder work on such features.

A checkpoint keeps which reader it was and where it looks, but not the reader's weights, which are not ours to
ship and large: `of_map` wants the same reader again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.faces.align import TEMPLATE
from voice2face_gan.models.face_embedding_space import chip_place
from voice2face_gan.models.face_readers.base import FaceFeatures, FaceReaderNet
from voice2face_gan.models.face_readers.dlib_resnet import DIMENSIONS, DlibResnet, weights_file
from voice2face_gan.models.face_readers.dlib_resnet import SIDE as DLIB_SIDE
from voice2face_gan.models.face_readers.vggface import SIDE as VGGFACE_SIDE
from voice2face_gan.models.face_readers.vggface import VggFaceReader
from voice2face_gan.models.face_space_base import BaseFaceSpace

DLIB = "dlib"  # face_embedding.space: dlib's embedding
_LIKE_DLIB = [3, 2, 0, 1, 4]  # the template's points in the order of CHIP_POINTS
_SIDE = 256  # pixels, in which the template's points are given to `chip_place`
_DIGITS = 16  # of SHA-256, in hexadecimal, by which weights are known


class ReaderSpace(BaseFaceSpace):
    """Reads a face reader's feature from aligned faces.

    Args:
        net: reads chips, float (B, 3, chip_side, chip_side) in [-1, 1].
        chip_side: pixels.
        weights: a hash of the network's weights.
        folder: name of the folder that it came from; "" for dlib.
        home: size of the faces that `chip` is for, relative to the template; None for that of the faces that
            it is first given, of which the chip is the whole image.
    Attributes:
        size: numbers of e.
        chip: (3,), as in BaseFaceSpace.
        centre (size,), spread (): mean of e over the training faces, and the root of its elements' mean
            variance.
    """

    kept_in_stores, piece = False, 16

    def __init__(self, net: FaceReaderNet, chip_side: int, weights: str, folder: str = "", home=None):
        super().__init__(net, {"chip": (3,), "centre": (net.size,), "spread": ()})
        self.chip_side, self.size, self.home = chip_side, net.size, home
        self.chip.copy_(torch.tensor([2 / chip_side, 1 / chip_side - 1, 1 / chip_side - 1]))
        self.spread.fill_(1.0)
        self.reader = {"name": net.name, "folder": folder, "weights": weights, "size": net.size}
        self.about = {"reader": self.reader}

    @property
    def name(self) -> str:
        return f"{self.net.name}-{self.reader['weights'][:8]}"

    @property
    def network(self) -> str:
        return f"{self.reader['weights']} at zoom {self.about.get('zoom')}"

    def at_zoom(self, zoom: float) -> Self:
        if "zoom" not in self.about:
            self.about = {**self.about, "zoom": self.home or zoom}
        return super().at_zoom(zoom)

    def read(self, faces: Tensor, disturbed: Tensor | None = None) -> tuple[Tensor, None]:
        """The reader's feature (B, size) of aligned faces, and None for sex and age."""
        return self.net(self.chips(faces.float(), disturbed)).feature, None

    def encode(self, embedding: Tensor, attributes: Tensor | None = None) -> Tensor:
        return embedding

    def target(self, e: Tensor) -> tuple[Tensor, None]:
        return e, None

    def average(self) -> Tensor:
        return self.centre

    def classify(self, e: Tensor) -> Tensor | None:
        return self.net.classify(e)

    def importance(self) -> Tensor:
        return torch.ones_like(self.centre)

    def fit(self, e: Tensor) -> Self:
        """Takes mean and spread of e (N, size) of training faces."""
        self.centre.copy_(e.mean(dim=0))
        self.spread.copy_((e - e.mean(dim=0)).square().mean().sqrt().clamp(min=1e-6))
        return self

    @staticmethod
    def is_map(shapes: dict[str, tuple[int, ...]]) -> bool:
        named = shapes.keys() == {"chip", "centre", "spread"}
        return named and shapes["chip"] == (3,) and len(shapes["centre"]) == 1 and not shapes["spread"]

    @classmethod
    def of_map(
        cls, tensors: dict[str, Tensor], about: dict | None = None, reader: str | Path | None = None
    ) -> ReaderSpace:
        """The space that a checkpoint kept.

        Args:
            tensors, about: what `map_tensors` and `summary` were.
            reader: the folder of its face reader.
        Raises:
            CheckpointError: the folder is not given, missing, damaged, or of another reader.
        """
        wanted = (about or {}).get("reader", {})
        called, folder = wanted.get("name", "a face reader"), wanted.get("folder", "")
        if folder and (reader is None or not Path(reader).expanduser().is_dir()):
            missing = f", and {reader} is no folder" if reader else ""
            raise CheckpointError(
                f"The checkpoint's e is read by {called}, whose weights are in a folder of their own "
                f"('{folder}' when it was trained){missing}; give it with "
                "--reader FOLDER, in training with --set face_embedding.space=FOLDER."
            )
        space = open_reader_space(reader if folder else DLIB)
        if space.reader["weights"] != wanted.get("weights") or space.net.name != called:
            raise CheckpointError(
                f"{reader if folder else DLIB} is the face reader {space.name}, but the checkpoint's e is of "
                f"{called}-{wanted.get('weights', '')[:8]}; give that one."
            )
        if len(tensors["centre"]) != space.size:
            raise CheckpointError(f"The checkpoint's face space has {len(tensors['centre'])} numbers.")
        return space.with_map(tensors, about)


class DlibChips(FaceReaderNet):
    """dlib's embedding of chips in [-1, 1]."""

    name, size = "dlib", DIMENSIONS

    def __init__(self, net: DlibResnet):
        super().__init__()
        self.net = net.eval().requires_grad_(False)

    def forward(self, faces: Tensor) -> FaceFeatures:
        chips = (faces * 127.5 + 127.5).contiguous(memory_format=torch.channels_last)
        return FaceFeatures(self.net(chips)[0], None)


def is_reader(name: str | Path) -> bool:
    """A name of `open_reader_space`: "dlib", or a folder whose config.json is a face reader's."""
    if str(name) == DLIB:
        return True
    try:
        about = json.loads((Path(name).expanduser() / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and "reader" in about


def open_reader_space(name: str | Path) -> ReaderSpace:
    """The space of a face reader, without gradients for its own numbers.

    Args:
        name: "dlib", or the folder that `v2f-gan convert vggface` wrote.
    Raises:
        CheckpointError: the extra `faces` is missing, or the folder is missing or damaged.
    """
    if str(name) == DLIB:
        file = weights_file()
        net: nn.Module = DlibChips(DlibResnet().load_dat(file))
        space = ReaderSpace(net, DLIB_SIDE, _hash(file), home=1.0)
        # dlib counts pixels by their middles.
        space.chip.copy_(chip_place(_SIDE * TEMPLATE[_LIKE_DLIB] - 0.5, _SIDE))
    else:
        folder = Path(name).expanduser()
        net = VggFaceReader.load(folder)
        weights = _hash(folder / "model.safetensors")
        space = ReaderSpace(net, VGGFACE_SIDE, weights, folder.resolve().name)
    return space.eval().requires_grad_(False)


def _hash(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()[:_DIGITS]
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({first_line(error)}).") from error
