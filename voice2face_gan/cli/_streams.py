"""Standard input as a recording (`v2f-gan generate -`), and standard output for bytes (`-o -`)."""

import shutil
import sys
import tempfile
from typing import BinaryIO

from voice2face_gan.errors import AudioError

NAME = "standard input"
_IN_MEMORY = 64 * 2**20  # bytes that are kept in memory; more goes to a temporary file


class StandardInput:
    """A binary file that can be wound back, with a name for messages."""

    name = NAME

    def __init__(self, file):
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()


def standard_input() -> StandardInput:
    """All of standard input, read to its end.

    Raises:
        AudioError: it is a terminal, or empty.
    """
    stream = getattr(sys.stdin, "buffer", None)  # None where the shell has closed it
    if stream is not None and stream.isatty():
        raise AudioError(
            f"{NAME}: is a terminal; pipe a recording in (v2f-gan generate - < clip.wav), or name a file."
        )
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
    if stream is not None:
        shutil.copyfileobj(stream, file, 2**20)
    if not file.tell():
        raise AudioError(f"{NAME}: is empty (0 bytes); pipe a recording in (v2f-gan generate - < clip.wav).")
    file.seek(0)
    return StandardInput(file)


def standard_output() -> BinaryIO:
    """Standard output for bytes."""
    return sys.stdout.buffer
