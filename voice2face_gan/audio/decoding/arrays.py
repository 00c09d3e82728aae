"""`(array, rate)` as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from voice2face_gan.audio.decoding.downmix import Piece
from voice2face_gan.errors import AudioError

MAX_CHANNELS = 32
MAX_RATE = 1_000_000
# Floats that go far beyond 1 are integers in disguise; a lossy codec overshoots by far less than this.
MAX_FLOAT = 8.0


def array_pieces(source: tuple[Any, Any], name: str) -> Iterator[Piece]:
    """`(array, rate)` in pieces of about a second each, so that a long array is not doubled.

    Raises:
        AudioError: not such a pair, or its type, shape, rate or range is wrong.
    """
    if len(source) != 2 or np.ndim(source[1]) != 0:
        raise AudioError(f"{name}: give a pair (array, rate), for instance (samples, 16000).")
    rate = checked_rate(source[1], "the rate of the array given")
    array = source[0]
    if hasattr(array, "detach"):  # a torch tensor; NumPy has no bfloat16
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    array = np.asarray(array)
    if array.dtype.kind != "f" and array.dtype not in (np.int8, np.uint8, np.int16, np.int32):
        raise AudioError(f"{name}: is of type {array.dtype}; give floats in [-1, 1], int16, int32 or 8 bits.")
    if array.ndim == 1:
        array = array[None]
    elif array.ndim == 2 and array.shape[0] > array.shape[1]:
        array = array.T
    if array.ndim != 2 or len(array) > MAX_CHANNELS:
        raise AudioError(
            f"{name}: has the shape {array.shape}; give (samples,), (samples, channels) or "
            f"(channels, samples) with at most {MAX_CHANNELS} channels."
        )
    if array.size == 0:
        raise AudioError(f"{name}: is empty; give at least one sample.")
    for start in range(0, array.shape[1], rate):
        samples = array[:, start : start + rate]
        peak = np.abs(samples).max() if samples.dtype.kind == "f" else 0
        if MAX_FLOAT < peak < np.inf:
            raise AudioError(
                f"{name}: reaches {peak:.6g}, and floats must lie in [-1, 1]; "
                "give integers as they are, or divide by their full scale."
            )
        yield Piece(samples, rate)


def checked_rate(rate: Any, what: str) -> int:
    """A sampling rate as a whole number, from 1 to `MAX_RATE` samples per second, else an AudioError."""
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if whole != rate or not 1 <= whole <= MAX_RATE:
        raise AudioError(f"{what} is {rate!r}; give whole samples per second, such as 16000.")
    return whole
