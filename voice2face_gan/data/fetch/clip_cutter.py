"""Cutting a stretch of time out of a film, with PyAV: an MP4 file that starts and ends to the sample."""

import contextlib
import errno
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from voice2face_gan.data.fetch.errors import FetchError

_CODECS = ("libx264", "mpeg4")  # the first that this build of FFmpeg has
_TICKS_PER_SECOND = 90_000  # of the images' times
_MIN_COVERAGE = 0.9  # share of the stretch that must be there, in sound and in images
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of writing that every further clip would meet too."""

_NO_PROTOCOL = {"protocol_whitelist": "none"}  # a playlist may name no other file or address


def cut_clip(files: list[Any], start: float, end: float, target: Path) -> None:
    """Write the stretch as H.264 and AAC, mono; the target has its name only when it is whole.

    Args:
        files: one film, or one of images and one of sound: paths or seekable binary files.
        start, end: seconds.
        target: an .mp4 file; its folder is made.
    Raises:
        FetchError: no sound, no images, damaged, or the film ends too early.
        OSError: the target cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        sound, rate = _sound(files, start, end)
        with av.open(str(temporary), "w", format="mp4") as out:
            # Both streams must be there before the first packet; the images' comes with the first of them.
            track = out.add_stream("aac", rate=rate, layout="mono", format="fltp")
            track.bit_rate, track.options = 96_000, {"aac_coder": "fast"}  # half the time of the default
            _write_images(out, files, start, end)
            _write_sound(out, track, sound)
        os.replace(temporary, target)
    except av.error.FFmpegError as error:
        if error.errno in DISK:
            raise OSError(error.errno, os.strerror(error.errno)) from error
        raise FetchError(f"damaged: {error.strerror}", final=True) from error
    finally:
        temporary.unlink(missing_ok=True)


def _frames(files: list[Any], kind: str, start: float, end: float) -> Iterator[tuple[float, Any]]:
    """(seconds since the film's beginning, frame) from a little before `start` until `end`.

    Raises:
        FetchError: no file holds this kind ("audio", "video").
    """
    for file in files:
        with contextlib.ExitStack() as opened:
            if not hasattr(file, "read"):
                file = opened.enter_context(open(file, "rb"))
            file.seek(0)
            film = opened.enter_context(av.open(file, options=_NO_PROTOCOL))
            stream = film.streams.best(kind)
            if stream is None or stream.codec_context is None:
                continue
            for other in film.streams:
                if other is not stream:
                    other.discard = av.stream.Discard.all
            begin = (film.start_time or 0) / av.time_base
            if start > 1:
                # Half a second early: an audio codec needs a few packets before its first good sample.
                film.seek(round((begin + start - 0.5) * av.time_base))
            for frame in film.decode(stream):
                if frame.time is None:
                    continue
                seconds = frame.time - begin
                if seconds >= end:
                    return
                yield seconds, frame
            return
    raise FetchError("has no sound" if kind == "audio" else "has no images", final=True)


def _sound(files: list[Any], start: float, end: float) -> tuple[np.ndarray, int]:
    """The stretch's sound: float32 (samples,), mono, at its own rate; gaps are silent.

    Raises:
        FetchError: less than 90 % of it is there.
    """
    track = np.zeros(0, np.float32)
    filled, rate = 0, 0
    resampler = None
    for seconds, frame in _frames(files, "audio", start, end):
        if resampler is None:
            rate = frame.sample_rate
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
            track = np.zeros(round((end - start) * rate), np.float32)
        place = round((seconds - start) * rate)
        for part in resampler.resample(frame):
            samples = part.to_ndarray()[0]
            kept = samples[max(-place, 0) : max(len(track) - place, 0)]
            if len(kept):
                track[max(place, 0) : max(place, 0) + len(kept)] = kept
                filled += len(kept)
            place += len(samples)
    _check_covered(filled / max(len(track), 1), end - start, "sound")
    return track, rate


def _write_images(out: Any, files: list[Any], start: float, end: float) -> None:
    """Encode the images whose time is in the stretch.

    Raises:
        FetchError: they do not reach through 90 % of it.
    """
    stream = None
    times: list[float] = []
    for seconds, frame in _frames(files, "video", start, end):
        if seconds < start - 1e-3:
            continue
        if stream is None:
            stream = out.add_stream(next(c for c in _CODECS if c in av.codecs_available), rate=25)
            stream.width, stream.height = frame.width // 2 * 2, frame.height // 2 * 2
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, _TICKS_PER_SECOND)
            stream.codec_context.thread_count = 1  # workers are threads already
            if stream.codec_context.name == "libx264":
                stream.options = {"preset": "veryfast", "crf": "20"}
        times.append(seconds)
        image = frame.reformat(stream.width, stream.height, "yuv420p")
        image.pts = max(round((seconds - start) * _TICKS_PER_SECOND), 0)
        image.time_base = Fraction(1, _TICKS_PER_SECOND)
        image.pict_type = av.video.frame.PictureType.NONE  # the encoder decides which are key frames
        out.mux(stream.encode(image))
    # n images at equal distances show n distances, not n - 1.
    shown = (times[-1] - times[0]) * len(times) / (len(times) - 1) if len(times) > 1 else 0.0
    _check_covered(shown / (end - start), end - start, "images")
    out.mux(stream.encode(None))


def _write_sound(out: Any, stream: Any, sound: np.ndarray) -> None:
    rate = stream.codec_context.sample_rate
    size = stream.codec_context.frame_size or 1024
    for place in range(0, len(sound), size):
        frame = av.AudioFrame.from_ndarray(sound[None, place : place + size], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _check_covered(share: float, seconds: float, what: str) -> None:
    if share < _MIN_COVERAGE:
        raise FetchError(
            f"holds {what} for {share * seconds:.1f} of {seconds:.1f} s: it is cut short", final=True
        )
