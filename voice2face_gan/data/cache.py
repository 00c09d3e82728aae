"""Arrays that are long to compute, kept in the cache folder."""

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

_LARGEST = 1 << 30  # bytes worth keeping on disk


def cached(by: str, of: Tensor, make: Callable[[Tensor], np.ndarray], rows: int | None = None) -> np.ndarray:
    """`make(of)`, float32 (rows, D), from disk where it was kept; a damaged file is made again.

    Args:
        by: what makes it, with a hash of its weights: the same for the same numbers only.
        of: what it is made of.
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
    if features.nbytes <= _LARGEST:
        content = io.BytesIO()
        np.savez(content, features=features)
        with contextlib.suppress(OSError):  # a full or read-only disk costs time, not the result
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content.getvalue())
    return features
