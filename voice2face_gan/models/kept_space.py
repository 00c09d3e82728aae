"""The face space that a checkpoint keeps, with its face network."""

from pathlib import Path

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.face_space_base import BaseFaceSpace
from voice2face_gan.models.registry import face_space_class


def open_kept_space(
    checkpoint: Checkpoint, called: str | None = None, reader: str | Path | None = None
) -> BaseFaceSpace:
    """The face space that a checkpoint keeps.

    Args:
        checkpoint: loaded.
        called: its name in messages; default: its folder.
        reader: the folder of the space's face reader, where it has one; default: the one that the
            checkpoint's recipe names.
    Raises:
        CheckpointError: it keeps none, the space's network is not installed, or the reader is missing or
            another one.
    """
    kind = face_space_class(checkpoint.face_space) if checkpoint.face_space else None
    if kind is None:
        raise CheckpointError(
            f"{called or checkpoint.folder} keeps no face space, so that no face can be read for its "
            "generator; take a checkpoint with one, such as 'default' or one of the recipe face-decoder."
        )
    # A voice encoder trained beside a given decoder keeps that one's recipe too.
    recipe = checkpoint.info.get("decoder_recipe") or checkpoint.info.get("recipe", {})
    named = recipe.get("face_embedding", {}).get("space")
    return kind.of_map(checkpoint.face_space, checkpoint.info.get("face_space"), reader or named)
