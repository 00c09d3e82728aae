"""Files made by code: any codec in any container, several tracks, tags, pipes. Uses PyAV and NumPy alone."""

import io
import os
import struct
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 16_000
AAC = ("aac", "fltp", 44_100)


def at_rate(sound: np.ndarray, rate: int) -> np.ndarray:
    """(channels, n) at 16 kHz -> the same at another rate, float32."""
    if rate == RATE:
        return np.asarray(sound, np.float32)
    channels = []
    for channel in np.asarray(sound, np.float32):
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(channel[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        frames = [*resampler.resample(frame), *resampler.resample(None)]
        channels.append(np.concatenate([out.to_ndarray()[0] for out in frames]))
    return np.stack(channels)


def encode(
    path,
    codec,
    sound,
    rate,
    format="s16",
    layout="mono",
    container=None,
    video=None,
    options=None,
    bit_rate=None,
    **container_options,
):
    """Write (channels, n) in [-1, 1] with PyAV; `video` names a codec for some images beside it."""
    with av.open(path, "w", format=container, options=container_options) as out:
        if video:
            images = out.add_stream(video, rate=10, width=64, height=64, pix_fmt="yuv420p")
        stream = out.add_stream(codec, rate=rate, layout=layout, format=format, options=options or {})
        if bit_rate:
            stream.codec_context.bit_rate = bit_rate
        if video:
            for i in range(round(10 * sound.shape[1] / rate)):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * (i % 10), np.uint8), "rgb24")
                out.mux(images.encode(frame.reformat(format="yuv420p")))
            out.mux(images.encode(None))
        for part in _frames(stream, sound, rate, format, layout):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return path


def _frames(stream, sound, rate, format, layout, first=0):
    """(channels, n) as frames that an encoder takes, their time beginning at sample `first`."""
    flat = np.ascontiguousarray(sound.T, dtype=np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(flat, format="flt", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
    size = stream.codec_context.frame_size or None
    resampler = av.AudioResampler(format=format, layout=layout, rate=rate, frame_size=size)
    for piece in (frame, None):
        yield from resampler.resample(piece)


def encoded(codec, sound, rate, format="s16", layout="mono", container="wav", **more) -> bytes:
    """`encode` of (channels, n) at 16 kHz, as bytes."""
    file = io.BytesIO()
    file.name = ""
    encode(file, codec, at_rate(sound, rate), rate, format, layout, container, **more)
    return file.getvalue()


def tracks(
    sounds, container="mp4", late: float = 0.0, video=False, layouts=None, **container_options
) -> bytes:
    """Several AAC tracks at 44.1 kHz, of (channels, n) at 16 kHz each, beginning `late` seconds after the
    images, if there are any."""
    file, (codec, format, rate) = io.BytesIO(), AAC
    packets = []
    with av.open(file, "w", format=container, options=container_options) as out:
        if video:
            image = out.add_stream("mpeg2video", rate=10, width=64, height=64, pix_fmt="yuv420p")
        layouts = layouts or ["mono" if len(sound) == 1 else "stereo" for sound in sounds]
        streams = [out.add_stream(codec, rate=rate, layout=layout, format=format) for layout in layouts]
        if video:
            seconds = late + max(sound.shape[1] for sound in sounds) / RATE
            for i in range(round(10 * seconds)):
                noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format="yuv420p")
                packets += image.encode(frame)
            packets += image.encode(None)
        for stream, sound, layout in zip(streams, sounds, layouts, strict=True):
            for part in _frames(stream, at_rate(sound, rate), rate, format, layout, round(late * rate)):
                packets += stream.encode(part)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return file.getvalue()


def as_apac(film: bytes, number: int = 0) -> bytes:
    """One AAC track of an MP4 named as Apple's spatial audio, for which FFmpeg has no decoder."""
    position = -1
    for _ in range(number + 1):
        position = film.index(b"mp4a", film.index(b"stsd", position + 1))
    head, rest = film[:position], film[position:]
    return head + rest.replace(b"mp4a", b"apac", 1).replace(b"esds", b"dapa", 1)


def id3(size: int, foot: bool = False) -> bytes:
    """An ID3v2.4 tag with a cover of `size` bytes of noise."""
    cover = b"\0image/jpeg\0\x03\0" + np.random.default_rng(0).bytes(size).replace(b"\xff", b"\xfe")
    body = b"APIC" + _synchsafe(len(cover)) + b"\0\0" + cover
    flags = b"\x10" if foot else b"\0"
    head = b"\x04\0" + flags + _synchsafe(len(body))
    return b"ID3" + head + body + (b"3DI" + head if foot else b"")


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def wav_head(size: int, rate=RATE, channels=1, riff: int | None = None) -> bytes:
    """The 44 bytes of a 16-bit WAV that claims `size` bytes of sound."""
    head = b"RIFF" + struct.pack("<I", size + 36 & 0xFFFFFFFF if riff is None else riff) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    return head + b"data" + struct.pack("<I", size)


def pcm(sound: np.ndarray) -> bytes:
    """(channels, n) as 16-bit samples, the channels side by side."""
    return (np.clip(sound, -1, 1).T * 32767).astype("<i2").tobytes()


def wav(sound: np.ndarray, rate: int = RATE) -> bytes:
    data = pcm(sound)
    return wav_head(len(data), rate, len(sound)) + data


class Pipe(io.RawIOBase):
    """Bytes that come once: a file object that cannot be wound back, a little at a time."""

    def __init__(self, data: bytes):
        self._rest = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._rest.readinto(memoryview(buffer)[:5000])


def fifo(path: Path, data: bytes) -> Path:
    """A named pipe into which a thread writes the data."""
    os.mkfifo(path)

    def write():
        try:
            with open(path, "wb") as sink:
                sink.write(data)
        except BrokenPipeError:
            pass

    threading.Thread(target=write, daemon=True).start()
    return path


def similarity(found: np.ndarray, wanted: np.ndarray, max_delay: int = 800) -> float:
    """Best correlation coefficient of two waveforms over delays up to `max_delay` samples."""
    n = len(found) + len(wanted)
    size = 1 << (n - 1).bit_length()
    cross = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(wanted, size)), size)
    best = np.concatenate([cross[: max_delay + 1], cross[-max_delay:]]).max()
    return best / np.sqrt((found.astype(float) ** 2).sum() * (wanted**2).sum())
