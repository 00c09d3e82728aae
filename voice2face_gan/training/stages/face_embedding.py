"""The face embedding space of a run (models/face_space_base.py), and the e of its faces.

The GAN is trained on faces with e of their own; a voice encoder of the same space predicts e from speech.
`open_space` finds the space, `embeddings_of_faces` the faces' e, `predicted_variance` how much of e the voice
encoder predicts. Batches are drawn in batches.py.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.data.cache import cached
from voice2face_gan.data.face_embedding import read_face_embedding
from voice2face_gan.data.store import Store
from voice2face_gan.errors import CheckpointError, DataError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.classifier_space import CLASSIFIER, ClassifierSpace
from voice2face_gan.models.face_embedding_space import FaceSpace
from voice2face_gan.models.face_space_base import BaseFaceSpace
from voice2face_gan.models.kept_space import open_kept_space
from voice2face_gan.models.reader_space import is_reader, open_reader_space
from voice2face_gan.models.registry import face_space_class, takes_voices

KEPT = "checkpoint"  # face_embedding.space: the space that the voice encoder's checkpoint keeps


def open_space(name: str, encoder: Checkpoint) -> BaseFaceSpace:
    """The face space that a recipe names: a folder of `v2f-gan face-space`, a face reader ("dlib", or a
    folder of `v2f-gan convert vggface`), or the one kept beside the voice encoder. That of the classifier,
    which the voice encoder's stage fitted, is kept there too.

    Raises:
        CheckpointError: it is missing or damaged, the checkpoint keeps none or another kind, or the extra
            `faces` is missing.
    """
    if name not in (KEPT, CLASSIFIER):
        return open_reader_space(name) if is_reader(name) else FaceSpace.load(name)
    kind = face_space_class(encoder.face_space) if encoder.face_space else None
    if name == CLASSIFIER and kind is not ClassifierSpace:
        raise CheckpointError(
            f"{encoder.folder}: its voice encoder predicts no e of the face classifier's space; take one "
            "that the recipe voice-to-face trained."
        )
    if not encoder.face_space:
        raise CheckpointError(
            f"{encoder.folder} keeps no face space; name the folder of one: "
            "--set face_embedding.space=FOLDER."
        )
    return open_kept_space(encoder)


def embeddings_of_faces(
    faces: Store, space: BaseFaceSpace, named: str, note: Callable[[str], None] | None = None
) -> np.ndarray:
    """e of each record's face, float32 (records, size): as the stores keep them, else read now where the
    space came with a checkpoint or is of a face reader, and kept in the cache.

    Args:
        faces: records with faces only.
        named: the recipe's face_embedding.space.
        note: called with a sentence for the user, now and then while faces are read.
    Raises:
        DataError: the stores' faces were read by something else, if at all.
    """
    kept = _kept_embeddings(faces, space, named) if space.kept_in_stores else None
    if kept is not None:
        return kept
    zoom = space.about.get("zoom", faces.zoom)
    if zoom != faces.zoom:
        raise DataError(
            f"{faces.folder}: its faces were taken at zoom {faces.zoom:g}, {space.name} reads them at "
            f"{zoom:g}; prepare them again with --set faces.zoom={zoom:g}."
        )
    pixels = torch.from_numpy(np.asarray(faces.faces))
    progress = _Progress(note) if note else None
    read = cached(f"{space.name} {space.network}", pixels, lambda x: space.encode_faces(x, progress).numpy())
    return read[faces.face_index]


class _Progress:
    """Says how many faces were read, at most every SECONDS; nothing of what takes less."""

    SECONDS = 15

    def __init__(self, note: Callable[[str], None]):
        self.note, self.said = note, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self.said > self.SECONDS:
            self.said = time.monotonic()
            self.note(f"The faces are read into the face space first: {done} of {total}.")


def _kept_embeddings(faces: Store, space: BaseFaceSpace, named: str) -> np.ndarray | None:
    """e as the stores keep them; None where they do not and the space came with a checkpoint."""
    try:
        embedding, name = read_face_embedding(faces)
        if name != space.name:
            raise DataError(
                f"{faces.folder}: its faces were read by {name}, but {named} is {space.name}; "
                "run v2f-gan face-space on them again."
            )
        return embedding[faces.face_index]
    except DataError:
        if named != KEPT:
            raise
    return None


def predicted_variance(encoder: Checkpoint, space: BaseFaceSpace, named: str) -> Tensor:
    """R2, float32 (size,): the share of each element's variance that a voice encoder predicts of people it
    was not trained on; 0 without a voice encoder. Its checkpoint keeps it as the control `residual_std` =
    sqrt(1 - R2).

    Raises:
        DataError: the encoder was not trained on a face space, or on another one.
    """
    if not takes_voices(encoder.encoder_config):
        return torch.zeros(space.size)
    residual_std = encoder.controls.residual_std
    if len(residual_std) != space.size:
        raise DataError(
            "The voice encoder gives no e of a face space (its residual_std has "
            f"{len(residual_std)} numbers, not {space.size}); train one with v2f-gan train "
            "--recipe default-encoder."
        )
    fits = (encoder.info.get(key, {}) for key in ("distillation", "voice_regression", "speech2face"))
    trained_on = next((fit["space"] for fit in fits if "space" in fit), space.name)
    if trained_on != space.name:
        raise DataError(
            f"The voice encoder gives the e of {trained_on}, but {named} is {space.name}; "
            "train one on this space with v2f-gan train --recipe default-encoder."
        )
    return 1 - torch.tensor(residual_std, dtype=torch.float32).square()
