"""Fits a face space (models/face_embedding_space.py) on the faces of prepared stores, and keeps what it
reads from them in the stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.data.face_embedding import write_face_embedding
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.faces.align import zoomed
from voice2face_gan.faces.aligned_landmarks import SEARCH_SIDE, TEMPLATE_BOX, shapes
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.face_embedding_space import FaceSpace, chip_place
from voice2face_gan.models.face_embedding_space_fit import Faces, fit_space, fit_to_generator
from voice2face_gan.models.face_readers.dlib_resnet import weights_file

_PIECE = 128  # faces read together
_LANDMARKED = 2000  # faces whose landmarks are found: their average place is wanted, no more
_UNSEEN = 1000  # faces of test people, by which a fit to a generator is measured

Decode = Callable[[Tensor, Tensor], Tensor]
Progress = Callable[[str, int, int], None]  # what is done, done, in all


@dataclass
class FittedSpace:
    """A face space and how it was fitted.

    Attributes:
        space: without gradients; `space.about` says what it was fitted on.
        faces: how many it was fitted on.
        fitted: the figures of `fit_space`, and of `fit_to_generator` where it was fitted to one.
        stores: those with faces.
        read: embedding (faces, 128) and features (faces, FEATURES) of each store's faces.
    """

    space: FaceSpace
    faces: int
    fitted: dict[str, float]
    stores: list[Store]
    read: list[tuple[Tensor, Tensor]]

    def save(self, folder: str | Path) -> None:
        """Writes the space's folder, and into each store the e of its faces."""
        self.space.save(folder)
        for store, (embedding, features) in zip(self.stores, self.read, strict=True):
            with torch.no_grad():
                e = self.space.encode(embedding, self.space.attributes(features))
            write_face_embedding(store, e.numpy(), self.space.name)


def fit_face_space(
    stores: Sequence[Store],
    progress: Progress = lambda title, done, total: None,
    decode: Decode | None = None,
    z_dim: int = 0,
    zoom: float | None = None,
) -> FittedSpace:
    """Fit a face space on the faces of everybody but the test people.

    Nothing is written: `FittedSpace.save` does so.

    Args:
        stores: prepared, all with the same faces.zoom; those without faces are passed over.
        progress: called with (what is done, done, in all).
        decode: of a generator, e (B, 64), z (B, z_dim) -> uint8 (B, side, side, 3). The components are
            turned to its own (`turn_to_generator`).
        z_dim: of that generator's noise.
        zoom: of the faces that it makes.
    Raises:
        DataError: there are no faces, too few, or faces of another zoom.
        CheckpointError, ImageError: the extra `faces` is not installed.
    """
    opened = [part for store in stores for part in getattr(store, "stores", (store,)) if len(part.faces)]
    if not opened:
        raise DataError("There are no faces in these stores.")
    own = opened[0].zoom
    other = next((store for store in opened if store.zoom != own), None)
    if other is not None:
        raise DataError(
            f"{other.folder}: its faces were taken at zoom {other.zoom:g}, those of {opened[0].folder} at "
            f"{own:g}; prepare all with the same faces.zoom."
        )
    if zoom is not None and zoom != own:
        raise DataError(
            f"{opened[0].folder}: its faces were taken at zoom {own:g}, the generator makes them at "
            f"{zoom:g}; prepare them with --set faces.zoom={zoom:g}."
        )
    space = FaceSpace().eval().requires_grad_(False)
    space.net.load_dat(weights_file())
    space.chip.copy_(chip_place(_landmarks(opened, progress), SEARCH_SIDE))
    read = [_read(space, store, progress) for store in opened]
    faces = gather_faces(opened, read)
    fitted = fit_space(space, faces)
    if decode is not None:
        fitted |= fit_to_generator(space, decode, z_dim, *_seen_and_unseen(space, opened, read))
    space.about = {
        "faces": len(faces.embedding),
        "zoom": own,
        "fitted": {k: round(v, 4) for k, v in fitted.items()},
        "trained_on": {
            "network": "dlib_face_recognition_resnet_model_v1",
            "stores": [str(store.folder) for store in opened],
        },
    }
    return FittedSpace(space, len(faces.embedding), fitted, opened, read)


def with_space(checkpoint: Checkpoint, space: FaceSpace) -> Checkpoint:
    """The checkpoint, keeping a space that was fitted to its generator."""
    info = {**checkpoint.info, "face_space": space.summary()}
    if "distillation" in info:
        info["distillation"] = {**info["distillation"], "space": space.name}
    return replace(checkpoint, face_space=space.map_tensors(), info=info)


def gather_faces(stores: Sequence[Store], read: Sequence[tuple[Tensor, Tensor]]) -> Faces:
    """What a space is fitted on: the faces of everybody but the test people. The centre is that of the people
    who have a voice, each clip by one over the root of its identity's number; of all where nobody has one.

    Args:
        stores: with faces.
        read: embedding (faces, 128) and features (faces, FEATURES) of each store's faces.
    """
    columns: list[list] = [[], [], [], [], []]
    for store, (embedding, features) in zip(stores, read, strict=True):
        part = store.select(store.has_face & (store.split != "test"))
        rows = torch.from_numpy(part.face_index)
        gender = np.select([part.gender == "female", part.gender == "male"], [1.0, 0.0], np.nan)
        _, who, clips = np.unique(part.identity, return_inverse=True, return_counts=True)
        weight = np.where(part.has_voice, 1 / np.sqrt(clips[who]), 0)
        values = (embedding[rows], features[rows], gender, part.age, weight)
        for column, value in zip(columns, values, strict=True):
            column.append(torch.as_tensor(value, dtype=torch.float32))
    faces = Faces(*(torch.cat(column) for column in columns))
    if not faces.weight.any():
        faces.weight = torch.ones_like(faces.weight)
    return faces


def _landmarks(stores: Sequence[Store], progress: Progress) -> np.ndarray:
    """Average dlib landmarks (5, 2) of the stores' faces, in pixels of the enlarged image."""
    total = sum(len(store.faces) for store in stores)
    corners = np.reshape(TEMPLATE_BOX, (2, 2)) / SEARCH_SIDE
    box = (SEARCH_SIDE * zoomed(corners, stores[0].zoom)).round().astype(int).ravel()
    points, wanted = [], min(total, _LANDMARKED)
    for store in stores:
        count = -(-len(store.faces) * wanted // total)
        chosen = np.unique(np.linspace(0, len(store.faces) - 1, count).astype(int))
        some = torch.from_numpy(np.array(store.faces[chosen]))
        for _, shape in shapes(some, np.tile(box, (len(some), 1)), points=5):
            points.append([(p.x, p.y) for p in shape.parts()])
            progress("landmarks", len(points), wanted)
    return np.mean(points, axis=0)


def _read(space: FaceSpace, store: Store, progress: Progress) -> tuple[Tensor, Tensor]:
    """Embedding (faces, 128) and features (faces, FEATURES) of a store's faces."""
    parts, total = [], len(store.faces)
    with torch.inference_mode():
        for start in range(0, total, _PIECE):
            piece = to_unit(torch.from_numpy(np.array(store.faces[start : start + _PIECE])))
            parts.append(space.net(space.chips(piece)))
            progress(f"reading faces of {store.folder.name}", start + len(piece), total)
    embedding, features = (torch.cat(kind).clone() for kind in zip(*parts, strict=True))
    return embedding, features


def _seen_and_unseen(space: FaceSpace, stores, read) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Embeddings that the space was fitted on; embeddings and attributes of test people."""
    seen, unseen, attributes = [], [], []
    for store, (embedding, features) in zip(stores, read, strict=True):
        test = store.has_face & (store.split == "test")
        rows = torch.from_numpy(store.face_index[test])
        unseen.append(embedding[rows])
        attributes.append(space.attributes(features[rows]))
        seen.append(embedding[torch.from_numpy(store.face_index[store.has_face & ~test])])
    return torch.cat(seen), (torch.cat(unseen)[-_UNSEEN:], torch.cat(attributes)[-_UNSEEN:])
