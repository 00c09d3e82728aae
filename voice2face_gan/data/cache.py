"""Disk cache of arrays that take long to compute."""

import contextlib
import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from torch import Tensor

from voice2face_gan.files import write_bytes
from voice2face_gan.resources import cache_folder

_MAX_BYTES = 1 << 30  # of an array that is cached


def cached(by: str, of: Tensor, make: Callable[[Tensor], np.ndarray], rows: int | None = None) -> np.ndarray:
    """`make(of)`, float32 (rows, D), from the disk cache if it is there.

    A damaged file is computed again.

    Args:
        by: name of the computation, with a hash of its weights; equal names must give equal numbers.
        of: its input.
        rows: of the result; default: as many as `of` has.
    """
    rows = len(of) if rows is None else rows
    digest = hashlib.sha256(f"{by} {tuple(of.shape)}".encode())
    digest.update(np.ascontiguousarray(of.numpy()))
    path = cache_folder() / "statistics" / f"{digest.hexdigest()[:32]}.npz"
    # Whatever a damaged or foreign file raises, the array can be computed again. Checksums are the zip's.
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        with np.load(path, allow_pickle=False) as file:
            features = file["features"]
        if features.ndim == 2 and len(features) == rows and features.dtype == np.float32:
            return features
    features = make(of)
    if features.nbytes <= _MAX_BYTES:
        content = io.BytesIO()
        np.savez(content, features=features)
        with contextlib.suppress(OSError):  # a full or read-only disk costs time, not the result
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content.getvalue())
    return features
