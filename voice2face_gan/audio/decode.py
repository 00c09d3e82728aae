"""Any recording -> one waveform: float32 (samples,), mono, 16 kHz, in [-1, 1].

Files are decoded by FFmpeg through PyAV, so whatever FFmpeg reads is read here: WAV of any width, MP3, AAC
in M4A, FLAC, Ogg, and the sound of an MP4 or WebM. Channels are averaged, then the rate is changed.

FFmpeg never gets a path, only an open file. So no name can be taken for an option, a URL or a protocol, and
an uploaded playlist cannot make it open other files or addresses.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import av
import numpy as np

from ..errors import AudioError

SAMPLE_RATE = 16_000
"""Samples per second of every waveform in this package."""

MAX_CHANNELS = 32
MAX_RATE = 1_000_000
# Floats that go far beyond 1 are integers in disguise; a lossy codec overshoots by far less than this.
MAX_FLOAT = 8.0

# A playlist may name no other file or address, whatever protocol it asks for.
_NO_PROTOCOL = {"protocol_whitelist": "none"}
# A WAV header says all there is to know. Without a small probe size FFmpeg would read 5 MB ahead to learn
# more (4 ms); larger packets than its default mean fewer Python steps (0.8 ms of a 10 s clip).
_WAV_OPTIONS = {"probesize": "2048", "max_size": "8192"}


def load_audio(source: Any, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Decode a whole recording.

    Args:
        source: one of
            - a path (str or os.PathLike);
            - the bytes of a file (bytes, bytearray, memoryview) or a binary file object, read from where it
              stands and left open;
            - `(array, rate)`: NumPy array or torch tensor, (samples,), (samples, channels) or
              (channels, samples) - the smaller axis is the channels - of int8, uint8, int16, int32 (full
              scale) or floats in [-1, 1].
        sample_rate: samples per second wanted.

    Returns:
        float32 (samples,), mono (the mean of all channels), clipped to [-1, 1]. What comes before the damage
        is returned of a recording that is cut short.

    Raises:
        AudioError: missing, unreadable, empty, no recording, or without sound.
    """
    blocks = list(_waveform(source, _checked_rate(sample_rate, "the sample rate wanted")))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def stream_audio(
    source: Any, sample_rate: int = SAMPLE_RATE, block_seconds: float = 30.0
) -> Iterator[np.ndarray]:
    """Decode a recording of any length in bounded memory; `load_audio` is the concatenation of this.

    Args:
        source: as in `load_audio`.
        sample_rate: samples per second wanted.
        block_seconds: length of a block in seconds.

    Yields:
        float32 (block_seconds * sample_rate,) in [-1, 1]; the last block may be shorter, none is empty.

    Raises:
        AudioError: as `load_audio`, when the first block is asked for.
    """
    rate = _checked_rate(sample_rate, "the sample rate wanted")
    size = round(block_seconds * rate)
    if size < 1:
        raise AudioError(f"blocks of {block_seconds} s hold no sample; ask for longer blocks.")
    parts: list[np.ndarray] = []
    held = 0
    for part in _waveform(source, rate):
        parts.append(part)
        held += len(part)
        if held < size:
            continue
        whole = np.concatenate(parts)
        full = held - held % size
        for start in range(0, full, size):
            yield whole[start : start + size]
        parts, held = [whole[full:].copy()], held - full
    if held:
        yield np.concatenate(parts)


def source_name(source: Any) -> str:
    """The name of a source in messages: "clip.wav", "the bytes given", "the array given"."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "the bytes given"
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        return os.path.basename(path.rstrip("/" + os.sep)) or path or "the empty path given"
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return (os.path.basename(name) if isinstance(name, str) else "") or "the file given"
    return "the array given"


def _waveform(source: Any, rate: int) -> Iterator[np.ndarray]:
    """Blocks of float32 (n,), mono at `rate`, clipped and finite, at least one; about a second each."""
    name = source_name(source)
    pieces = _array_pieces(source, name) if isinstance(source, (tuple, list)) else _file_pieces(source, name)
    empty = True
    for block in _at_rate(pieces, rate):
        low, high = block.min(), block.max()  # both NaN if a sample is
        if not (np.isfinite(low) and np.isfinite(high)):
            raise AudioError(f"{name}: holds samples that are not numbers (NaN or infinite); export it anew.")
        empty = False
        yield block if low >= -1 and high <= 1 else block.clip(-1, 1)
    if empty:
        raise AudioError(f"{name}: no sound could be decoded, it is empty or damaged; give another file.")


def _at_rate(pieces: Iterator[tuple[np.ndarray, int]], rate: int) -> Iterator[np.ndarray]:
    """Change the rate of (float32 (n,), its rate) pieces. A change of rate half-way starts a new filter."""
    for rate_in, group in itertools.groupby(pieces, key=lambda piece: piece[1]):
        if rate_in == rate:
            yield from (mono for mono, _ in group)
            continue
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        for mono, _ in group:
            frame = av.AudioFrame.from_ndarray(mono[None], format="fltp", layout="mono")
            frame.sample_rate = rate_in
            yield from (out.to_ndarray()[0] for out in resampler.resample(frame) if out.samples)
        yield from (out.to_ndarray()[0] for out in resampler.resample(None) if out.samples)


def _mono(samples: np.ndarray) -> np.ndarray:
    """(channels, n) of any supported type -> their mean, a new float32 (n,), full scale = 1."""
    if samples.dtype == np.uint8:  # unsigned means an offset of half the range, in WAV and everywhere else
        samples = samples.astype(np.int16) - 128
        scale = 1 / 128
    elif samples.dtype.kind == "i":
        scale = 1 / -float(np.iinfo(samples.dtype).min)
    else:
        scale = 1.0
    weights = np.full(len(samples), scale / len(samples), dtype=np.float32)
    samples = samples.astype(np.float32)
    return weights @ samples if len(samples) > 1 else np.multiply(samples[0], weights[0], out=samples[0])


def _file_pieces(source: Any, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Decode a path, bytes or file object to (float32 (n,), rate), about a second each."""
    file, ours = _opened(source, name)
    try:
        options, container_format = dict(_NO_PROTOCOL), None
        if file.seekable():
            start = file.tell()
            head = file.read(12)
            file.seek(start)
            if not head:
                raise AudioError(f"{name}: is empty (0 bytes); give a recording.")
            if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:] == b"WAVE":
                options, container_format = options | _WAV_OPTIONS, "wav"
        try:
            container = av.open(file, format=container_format, options=options)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise AudioError(
                f"{name}: is not a recording that can be read, or is damaged; "
                "give a WAV, MP3, M4A, FLAC, Ogg, MP4 or WebM file."
            ) from error
        with container:
            yield from _container_pieces(container, name)
    finally:
        if ours:
            file.close()


def _opened(source: Any, name: str) -> tuple[BinaryIO, bool]:
    """The source as a binary file, and whether closing it is up to us."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source), True
    if isinstance(source, (str, os.PathLike)):
        if os.path.isdir(source):
            raise AudioError(f"{name}: is a folder; give one recording.")
        try:
            return open(source, "rb"), True
        except FileNotFoundError as error:
            raise AudioError(f"{name}: there is no such file; check the path.") from error
        except PermissionError as error:
            raise AudioError(f"{name}: may not be read; check the file's permissions.") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
            reason = getattr(error, "strerror", None) or error
            raise AudioError(f"{name}: cannot be opened ({reason}); check the path.") from error
    if not hasattr(source, "read"):
        what = type(source).__name__
        raise AudioError(f"{what} is no recording; give a path, bytes, a binary file or (array, rate).")
    if isinstance(source, io.TextIOBase):
        raise AudioError(f'{name}: is open as text; open it with mode "rb".')
    return source, False


def _container_pieces(container: av.container.InputContainer, name: str) -> Iterator[tuple[np.ndarray, int]]:
    stream = container.streams.best("audio")
    if stream is None:
        what = "holds pictures but no sound" if container.streams.video else "holds no sound"
        raise AudioError(f"{name}: {what}; give a recording of a voice.")
    if stream.codec_context is None:
        raise AudioError(f"{name}: its sound is in a format that cannot be decoded; convert it to WAV first.")
    for other in container.streams:
        if other is not stream:
            other.discard = av.stream.Discard.all  # the pictures of a film are not even read
    kind = (0, "", 0)
    arrays: list[np.ndarray] = []
    held = 0
    for frame in _frames(container, stream):
        channels = frame.layout.nb_channels
        new_kind = (frame.sample_rate, frame.format.name, channels)
        if arrays and (new_kind != kind or held >= frame.sample_rate):
            yield _joined(arrays, *kind)
            arrays, held = [], 0
        kind = new_kind
        arrays.append(frame.to_ndarray())
        held += frame.samples
    if arrays:
        yield _joined(arrays, *kind)


def _joined(arrays: list[np.ndarray], rate: int, layout: str, channels: int) -> tuple[np.ndarray, int]:
    samples = np.concatenate(arrays, axis=1)
    if not layout.endswith("p"):  # packed: (1, n * channels), the channels side by side
        samples = samples.reshape(-1, channels).T
    return _mono(samples), rate


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """Decoded frames. Damaged packets are left out; damage to the container ends the recording."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError):
            packet = None
        try:
            # The codec holds back a few frames until it is told that no more will come (decode(None)).
            frames = stream.codec_context.decode(packet)
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, ValueError):
            frames = []
        yield from (frame for frame in frames if frame.samples and frame.sample_rate)
        if packet is None:
            return


def _array_pieces(source: tuple[Any, Any], name: str) -> Iterator[tuple[np.ndarray, int]]:
    """`(array, rate)` -> (float32 (n,), rate), about a second each, so that a long array is not doubled."""
    if len(source) != 2 or np.ndim(source[1]) != 0:
        raise AudioError(f"{name}: give a pair (array, rate), for instance (samples, {SAMPLE_RATE}).")
    rate = _checked_rate(source[1], "the rate of the array given")
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
        piece = array[:, start : start + rate]
        peak = np.abs(piece).max() if piece.dtype.kind == "f" else 0
        if MAX_FLOAT < peak < np.inf:
            raise AudioError(
                f"{name}: reaches {peak:.6g}, and floats must lie in [-1, 1]; "
                "give integers as they are, or divide by their full scale."
            )
        yield _mono(piece), rate


def _checked_rate(rate: Any, what: str) -> int:
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if whole != rate or not 1 <= whole <= MAX_RATE:
        raise AudioError(f"{what} is {rate!r}; give whole samples per second, such as {SAMPLE_RATE}.")
    return whole
