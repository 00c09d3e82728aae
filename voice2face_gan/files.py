"""Writing files and folders whole or not at all, at any interruption."""

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def temporary_beside(path: Path) -> Path:
    """A hidden name in the same folder (so that a rename is atomic), private to this process."""
    return _beside(path, "tmp")


def _beside(path: Path, ending: str) -> Path:
    name = os.fsencode(path.name)
    if len(name) > 200:  # file systems allow 255 bytes, and the longer temporary name must fit
        name = hashlib.sha256(name).hexdigest().encode()
    return path.with_name(f".{os.fsdecode(name)}.{os.getpid()}.{ending}")


def replace_folder(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; an existing folder is removed only after the rename has succeeded."""
    old = _beside(folder, "old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Context with an empty folder to fill, which replaces `folder` once the block has ended without an
    error.

    After an error nothing of it stays."""
    temporary = temporary_beside(folder)
    shutil.rmtree(temporary, ignore_errors=True)  # of a process with this number that was killed
    temporary.mkdir(parents=True)
    try:
        yield temporary
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def lock(file: IO) -> None:
    """Keeps an open file to this process until it is closed, however the process ends; nothing on Windows.

    Raises:
        BlockingIOError: another process has it.
        OSError: it lies on a drive without locks.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it to `path`."""
    temporary = temporary_beside(path)
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
