"""Faces that parts of generators are fitted on: evenly spread, a piece at a time."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.training.stages.batches import FaceEmbeddingBatches

PIECE = 64  # faces warped together; even, so that mirrored faces alternate from piece to piece


def spread(count: int, most: int) -> np.ndarray:
    """At most so many of `count` places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def pieces(items: np.ndarray, size: int) -> list[np.ndarray]:
    """The items in their order, `size` at a time; the last piece may have fewer."""
    return np.split(items, range(size, len(items), size))


def landmarked_faces(
    batches: FaceEmbeddingBatches, items: np.ndarray, flip: bool, side: int, device: torch.device
) -> Iterator[tuple[np.ndarray, Tensor, Tensor, Tensor]]:
    """Pieces of faces with landmarks.

    Args:
        items: places in `batches.faces`.
        flip: every second face is mirrored.
        side: of an image in pixels.
    Yields:
        The piece's items; its faces (B, 3, side, side), 0 where a pixel is not visible; (B, 1, side, side), 1
        for visible pixels; landmarks (B, 68, 2) in pixels.
    """
    for piece in pieces(items, PIECE):
        flips = np.arange(len(piece)) % 2 == 1 if flip else None
        real = batches.faces.batch(piece, flips)[0].to(device)
        landmarks = side * batches.faces.landmarks_of(piece, flips).to(device)
        yield piece, real.nan_to_num(), real[:, :1].isfinite().float(), landmarks
