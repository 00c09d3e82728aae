"""Opening a recording: any path, bytes or file object -> a file that winds back, has no name, and begins with
the sound's own format.

FFmpeg looks at the name of a file as well as at its content, and takes a letter named `a.gsm` for a phone
call. So it gets a `RecordingFile`, which has none. An ID3v2 tag with a large cover is longer than what FFmpeg
looks at (1 MiB), so tags are skipped here. What cannot be wound back (a pipe) is copied to a temporary file
first: the index of an M4A is often its last part.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from voice2face_gan.errors import AudioError

PIPE_LIMIT = 2**30
"""Bytes that are taken from a source that cannot be wound back: 1 GiB, three hours of CD sound in stereo."""

_IN_MEMORY = 16 * 2**20  # bytes of a pipe held in memory before they go to a temporary file
_PADDING = 2**20  # bytes of zeros that may follow an ID3v2 tag


class RecordingFile:
    """The bytes of a recording from a position on, as the binary file that FFmpeg reads.

    It has no name. A position before the start or too large for the file is answered with -1, which FFmpeg
    takes for an error, instead of an exception.

    Args:
        file: binary, winds back.
        start, end: the positions in it between which the recording lies; None for the end of the file.
    """

    def __init__(self, file: BinaryIO, start: int, end: int | None = None):
        self._file, self._start, self._end = file, start, end
        self.seek(0)

    def part(self, start: int, end: int | None) -> RecordingFile:
        """The recording between two positions in this one."""
        last = self._end if end is None else self._start + end
        return RecordingFile(self._file, self._start + start, last)

    def read(self, size: int) -> bytes:
        """At most `size` bytes: more would be written beyond FFmpeg's buffer."""
        if self._end is not None:
            size = max(0, min(size, self._end - self._file.tell()))
        data = self._file.read(size)
        return data if type(data) is bytes and len(data) <= size else bytes(data or b"")[:size]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:
            offset += self._start
            if offset < self._start:
                return -1
        elif whence == os.SEEK_END and self._end is not None:
            offset, whence = offset + self._end, os.SEEK_SET
        try:
            self._file.seek(offset, whence)
            return self._file.tell() - self._start
        except (OSError, ValueError, OverflowError):
            return -1

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def head(self, size: int, at: int = 0) -> bytes:
        """`size` bytes from a position on, or as many as there are. Winds back to the start."""
        self.seek(at)
        parts, missing = [], size
        while missing and (part := self.read(missing)):  # an unbuffered file may give fewer than it has
            parts.append(part)
            missing -= len(part)
        self.seek(0)
        return b"".join(parts)

    def size(self) -> int:
        """Its length in bytes. Winds back to the start."""
        size = self.seek(0, os.SEEK_END)
        self.seek(0)
        return size


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


@contextmanager
def opened(source: Any, name: str) -> Iterator[RecordingFile]:
    """A path, bytes or a binary file object as a `RecordingFile`; what was opened here is closed at the end.

    Raises:
        AudioError: missing, unreadable, empty, or more than `PIPE_LIMIT` through a pipe.
    """
    file, ours = _binary(source, name)
    spool = None
    try:
        if not _winds_back(file):
            file, spool = _spooled(file, name, close=file if ours else None), True
        start = file.tell()
        if not RecordingFile(file, start).head(1):
            raise AudioError(f"{name}: is empty (0 bytes); give a recording.")
        yield RecordingFile(file, _after_tags(file, start, name))
    finally:
        if ours or spool:
            file.close()


def _binary(source: Any, name: str) -> tuple[BinaryIO, bool]:
    """The source as a binary file, and True if closing it is up to us."""
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
    if getattr(source, "closed", False):
        raise AudioError(f"{name}: is closed; open it again.")
    return source, False


def _winds_back(file: Any) -> bool:
    try:
        if hasattr(file, "seekable") and not file.seekable():
            return False
        file.seek(file.tell())
        return True
    except (AttributeError, OSError, ValueError):
        return False


def _spooled(file: Any, name: str, close: BinaryIO | None) -> BinaryIO:
    """All that a pipe gives, in memory or in a temporary file that its end or ours removes."""
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - outlives this function
    try:
        total = 0
        while True:
            data = file.read(2**20)
            if isinstance(data, str) or data is None:
                how = 'as text; open it with mode "rb"' if data is not None else "without waiting for data"
                raise AudioError(f"{name}: is open {how}.")
            if not data:
                break
            total += len(data)
            if total > PIPE_LIMIT:
                raise AudioError(
                    f"{name}: more than {PIPE_LIMIT / 2**30:g} GiB came through the pipe; save it as a file "
                    "and give that."
                )
            spool.write(data)
        spool.seek(0)
        return spool
    except BaseException as error:
        spool.close()
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise AudioError(f"{name}: could not be read to its end ({reason}); try again.") from error
        raise
    finally:
        if close is not None:
            close.close()


def _after_tags(file: BinaryIO, start: int, name: str) -> int:
    """The position after the ID3v2 tags at `start`, several in a row, and zeros after them.

    A tag is ID3, two bytes of version, flags, and its length without this head in four bytes of seven bits;
    flag 0x10 announces a foot of ten bytes (id3.org, ID3v2.4 section 3.1).
    """
    position = start
    while True:
        head = RecordingFile(file, position).head(10)
        if len(head) < 10 or head[:3] != b"ID3" or 0xFF in head[3:5] or max(head[6:10]) > 0x7F:
            break
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        position += 10 + size + (10 if head[5] & 0x10 else 0)
    if position == start:
        return start
    rest = RecordingFile(file, position)
    if not rest.head(1):
        raise AudioError(f"{name}: ends within its ID3 tag, the upload is incomplete; send the file again.")
    if rest.head(1) == b"\0":
        zeros = rest.head(_PADDING)
        stripped = zeros.lstrip(b"\0")
        if stripped:
            position += len(zeros) - len(stripped)
    return position
