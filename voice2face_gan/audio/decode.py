"""Any recording -> one waveform: float32 (samples,), mono, 16 kHz, in [-1, 1].

    decoding/source.py       a path, bytes, a pipe, a file object -> a file that winds back and has no name
    decoding/content.py      what a file that is no recording is, for the refusal
    decoding/container.py    FFmpeg through PyAV: which sound track, its samples
    decoding/raw_formats.py  sound without a header
    decoding/arrays.py       (array, rate)
    decoding/downmix.py      several channels -> one
    here            the rate, the part wanted, blocks

Whatever the bytes are, nothing but a VoiceToFaceError comes out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import av
import numpy as np

from voice2face_gan.audio.decoding.arrays import array_pieces, checked_rate
from voice2face_gan.audio.decoding.container import file_pieces, no_sound
from voice2face_gan.audio.decoding.downmix import mono
from voice2face_gan.audio.decoding.info import AudioInfo
from voice2face_gan.audio.decoding.source import opened, source_name
from voice2face_gan.errors import AudioError, VoiceToFaceError, first_line

__all__ = ["SAMPLE_RATE", "AudioInfo", "AudioStream", "load_audio", "source_name", "stream_audio"]

SAMPLE_RATE = 16_000
"""Samples per second of every waveform in this package."""


def load_audio(
    source: Any,
    sample_rate: int = SAMPLE_RATE,
    *,
    track: int | None = None,
    start: float | None = None,
    end: float | None = None,
) -> np.ndarray:
    """Decode a whole recording, or a part of it.

    Args:
        source: one of
            - a path (str or os.PathLike), also of a pipe;
            - the bytes of a file (bytes, bytearray, memoryview) or a binary file object, read from where it
              stands and left open; up to 1 GiB of what cannot be wound back is copied to a temporary file;
            - `(array, rate)`: NumPy array or torch tensor, (samples,), (samples, channels) or
              (channels, samples) - the smaller axis is the channels - of int8, uint8, int16, int32 (full
              scale) or floats in [-1, 1].
        sample_rate: samples per second wanted.
        track: the sound track, counted from 1; None for the best that can be decoded and is not silent.
        start, end: the part wanted, in seconds from the beginning; None for the beginning and the end.

    Returns:
        float32 (samples,), mono as `decoding.downmix` describes it, clipped to [-1, 1]: samples
        round(start * sample_rate) up to, not including, round(end * sample_rate) of the whole. What comes
        before the damage is returned of a recording that is cut short.

    Raises:
        AudioError: missing, unreadable, empty, no recording, without sound, no such track, or the start is
            not before the end or lies beyond the recording's.
    """
    stream = AudioStream(source, sample_rate, None, track, start, end)
    blocks = list(stream)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def stream_audio(
    source: Any,
    sample_rate: int = SAMPLE_RATE,
    block_seconds: float = 30.0,
    *,
    track: int | None = None,
    start: float | None = None,
    end: float | None = None,
) -> AudioStream:
    """Decode a recording of any length in bounded memory; `load_audio` is the concatenation of this.

    Args:
        source, sample_rate, track, start, end: as in `load_audio`.
        block_seconds: length of a block in seconds.

    Returns:
        An iterator over float32 (block_seconds * sample_rate,) in [-1, 1]; the last block may be shorter,
        none is empty. Its `info` is complete at the end. AudioErrors as of `load_audio` are raised when the
        first block is asked for; a start beyond the end is found out after the last.
    """
    return AudioStream(source, sample_rate, block_seconds, track, start, end)


class AudioStream:
    """An iterator over the blocks of a recording, see `stream_audio`.

    Attributes:
        info: what is known of the recording so far.
    """

    def __init__(
        self,
        source: Any,
        sample_rate: int = SAMPLE_RATE,
        block_seconds: float | None = 30.0,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ):
        self.info = AudioInfo()
        self._name = source_name(source)
        self._blocks = self._run(source, sample_rate, block_seconds, track, start, end)

    def __iter__(self) -> AudioStream:
        return self

    def __next__(self) -> np.ndarray:
        return next(self._blocks)

    def close(self) -> None:
        """Close the file before the end."""
        self._blocks.close()

    def _run(self, source, sample_rate, block_seconds, track, start, end) -> Iterator[np.ndarray]:
        rate = checked_rate(sample_rate, "the sample rate wanted")
        size = None if block_seconds is None else round(block_seconds * rate)
        if size is not None and size < 1:
            raise AudioError(f"blocks of {block_seconds} s hold no sample; ask for longer blocks.")
        begin, finish = _span(start, end, self._name)
        first = round(begin * rate)
        last = None if finish is None else round(finish * rate)
        if last is not None and last <= first:
            raise AudioError(f"{self._name}: from {begin:g} to {finish:g} s is no sample; ask for more.")
        with closing(self._waveform(source, rate, track, begin, finish)) as whole:
            part = self._measured(self._cut(whole, rate, first, last), rate)
            yield from part if size is None else _blocks(part, size)

    def _waveform(self, source, rate, track, start, end) -> Iterator[np.ndarray]:
        """Blocks of float32 (n,), mono at `rate`, about a second each."""
        if isinstance(source, (tuple, list)):
            if track not in (None, 1):
                raise AudioError(f"{self._name}: has one sound track, no track {track}; ask for 1.")
            yield from _at_rate(mono(array_pieces(source, self._name), self.info), rate)
            return
        try:
            with opened(source, self._name) as file:
                pieces = file_pieces(file, self._name, self.info, track, start, end)
                empty = True
                for block in _at_rate(mono(pieces, self.info), rate):
                    empty = False
                    yield block
                if empty:
                    raise no_sound(file, self._name)
        except VoiceToFaceError:
            raise
        except MemoryError as error:
            raise AudioError(
                f"{self._name}: needs more memory than there is, or is damaged; export it anew."
            ) from error
        except Exception as error:  # what PyAV or a file object raises, of which there is no list
            raise AudioError(
                f"{self._name}: could not be decoded ({first_line(error)}); export it anew."
            ) from error

    def _cut(self, blocks: Iterator[np.ndarray], rate: int, first: int, last: int | None):
        """Samples `first` to `last` of some blocks, finite and clipped; stops reading at the last."""
        position = 0
        for block in blocks:
            part = block[max(0, first - position) : None if last is None else last - position]
            position += len(block)
            if len(part):
                yield _checked(part, self._name)
            if last is not None and position >= last:
                return
        if position <= first:
            raise AudioError(
                f"{self._name}: the start, {first / rate:g} s, lies beyond its end at {position / rate:.2f} "
                "s; give an earlier one."
            )

    def _measured(self, blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        samples, energy = 0, 0.0
        for block in blocks:
            samples += len(block)
            energy += float(block @ block)
            self.info.seconds = samples / rate
            self.info.level = 10 * math.log10(energy / samples) if energy > 0 else None
            yield block


def _span(start: float | None, end: float | None, name: str) -> tuple[float, float | None]:
    for what, value in (("start", start), ("end", end)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise AudioError(f"{name}: {what} is {value!r}; give seconds from the beginning, 0 or more.")
    if end is not None and end <= (start or 0):
        raise AudioError(f"{name}: the start, {start or 0:g} s, is not before the end, {end:g} s.")
    return float(start or 0), None if end is None else float(end)


def _checked(block: np.ndarray, name: str) -> np.ndarray:
    low, high = block.min(), block.max()  # both NaN if a sample is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise AudioError(f"{name}: holds samples that are not numbers (NaN or infinite); export it anew.")
    return block if low >= -1 and high <= 1 else block.clip(-1, 1)


def _blocks(parts: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Join and cut blocks to `size` samples each."""
    waiting: list[np.ndarray] = []
    held = 0
    for part in parts:
        waiting.append(part)
        held += len(part)
        if held < size:
            continue
        whole = np.concatenate(waiting)
        full = held - held % size
        for start in range(0, full, size):
            yield whole[start : start + size]
        waiting, held = [whole[full:].copy()], held - full
    if held:
        yield np.concatenate(waiting)


def _at_rate(pieces: Iterator[tuple[np.ndarray, int]], rate: int) -> Iterator[np.ndarray]:
    """Change the rate of (float32 (n,), its rate) pieces. A change of rate half-way starts a new filter."""
    for rate_in, group in itertools.groupby(pieces, key=lambda piece: piece[1]):
        if rate_in == rate:
            yield from (mono for mono, _ in group)
            continue
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        for samples, _ in group:
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = rate_in
            yield from (out.to_ndarray()[0] for out in resampler.resample(frame) if out.samples)
        yield from (out.to_ndarray()[0] for out in resampler.resample(None) if out.samples)
