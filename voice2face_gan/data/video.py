"""Images of a video, evenly spaced, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
from PIL import Image

from voice2face_gan.data.parquet_cells import CellFile, is_cell
from voice2face_gan.errors import ImageError
from voice2face_gan.faces.image_io import MAX_PIXELS

VIDEO = frozenset((".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".3gp", ".ogv", ".flv"))
"""Endings of files whose images are frames."""


def is_video(path: str) -> bool:
    """True if a record's `face` is a video, by its ending; every cell of a parquet file is one."""
    return is_cell(path) or Path(path).suffix.lower() in VIDEO


def video_frames(source: str | CellFile, count: int) -> Iterator[Image.Image]:
    """`count` images from the middles of as many equal parts of a video; fewer if it has fewer.

    As in `audio.decode`, FFmpeg gets an open file, never a name, so that a playlist cannot make it open
    others.

    Args:
        source: a path, or the content of a cell, which is closed.
        count: of images.
    Yields:
        RGB images, upright.
    Raises:
        ImageError: missing, unreadable or without images.
    """
    name = source.name if isinstance(source, CellFile) else Path(source).name
    try:
        # Closed below, with what is made of it.
        file = source if isinstance(source, CellFile) else open(source, "rb")  # noqa: SIM115
    except OSError as error:
        raise ImageError(f"{name}: cannot be opened ({error.strerror}); check the path.") from error
    found = 0
    with file:
        try:
            with av.open(file, options={"protocol_whitelist": "none"}) as container:
                for image in _images(container, name, count):
                    found += 1
                    yield image
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if not found:
                raise ImageError(
                    f"{name}: is not a video that can be read, or is damaged; get the file again."
                ) from error
    if not found:
        raise ImageError(f"{name}: no image could be decoded, it is damaged; get the file again.")


def _images(container: av.container.InputContainer, name: str, count: int) -> Iterator[Image.Image]:
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        raise ImageError(f"{name}: holds no images; give a video.")
    if stream.width * stream.height > MAX_PIXELS:
        raise ImageError(f"{name}: is {stream.width} x {stream.height} pixels large; make it smaller.")
    stream.thread_count = 1  # the processes of a preparation keep all cores busy
    first, last = _span(container, stream)
    wanted = [first + (last - first) * (2 * i + 1) // (2 * count) for i in range(count)]
    shown = None
    for place in wanted:
        container.seek(place, stream=stream)  # to the key frame before it
        frame = None
        for frame in container.decode(stream):
            if frame.pts is None or frame.pts >= place:
                break
        if frame is not None and (frame.pts is None or frame.pts != shown):
            shown = frame.pts
            image = frame.to_image()
            yield image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _span(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[int, int]:
    """First and last time stamp, in the stream's unit. Recordings of a browser do not give their length:
    then the packets are counted, undecoded."""
    start = stream.start_time or 0
    if stream.duration:
        return start, start + stream.duration
    if container.duration:
        return start, start + int(container.duration / 1e6 / float(stream.time_base))
    stamps = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
    return (min(stamps), max(stamps)) if stamps else (0, 0)
