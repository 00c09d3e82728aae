"""Media files that lie in the rows of parquet files: how a record names one, and how it is read.

A record names a cell by a string, as it names a file by its path:

    /data/train/rows-0.parquet#row=12&column=audio

So records can be listed, given to other processes and found again by a run that goes on, like those of files.
A cell holds the bytes of a whole media file, or a struct with a field `bytes`, as Hugging Face's datasets
write it.

Memory: one page of one column is the least that the format lets a reader decode. The rows before the one
wanted are passed over page by page, and nothing else of the file is read. Records come in the order of the
rows, so a process keeps its last readers open and goes on where it stands.
"""

from __future__ import annotations

import io
import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

from voice2face_gan.errors import DataError, first_line

MAX_BYTES = 2**30
"""Longest media file that is taken out of a cell."""

_CELL = re.compile(r"(?P<file>.*\.parquet)#row=(?P<row>\d+)&column=(?P<column>.*)", re.DOTALL | re.IGNORECASE)
_OPEN_READERS = 2  # readers kept open: the columns of sound and of images
_BUFFER_BYTES = 2**20  # bytes read from the file at a time; without it a whole column of a row group is


class CellError(DataError):
    """A cell cannot be read, or holds no media file."""


class CellFile(io.BytesIO):
    """The content of a cell as a binary file; `name` is its origin."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name


def cell_path(file: str | os.PathLike, row: int, column: str) -> str:
    """The name of a cell, to stand where a record has the path of a file. Rows are counted from 0."""
    return f"{os.fspath(file)}#row={row}&column={column}"


def is_cell(path: str) -> bool:
    """True if a record's path names a cell, not a file."""
    return "#row=" in path and _CELL.fullmatch(path) is not None


def file_of(path: str) -> str:
    """The file on disk that a record's path is about: the parquet file of a cell, else the path itself."""
    return _CELL.fullmatch(path)["file"] if is_cell(path) else path


def media_name(path: str) -> str:
    """A record's path in a message: "clip.wav", or "rows-0.parquet, row 12, audio"."""
    found = _CELL.fullmatch(path) if is_cell(path) else None
    if found is None:
        return Path(path).name
    return f"{Path(found['file']).name}, row {found['row']}, {found['column']}"


def open_media(path: str) -> str | CellFile:
    """Input of decoders for a record's path: the path itself, or the content of the cell that it names.

    Raises:
        CellError: the cell cannot be read, is empty, holds no bytes, or more than MAX_BYTES.
        DataError: the extra `parquet` is not installed.
    """
    found = _CELL.fullmatch(path) if is_cell(path) else None
    if found is None:
        return path
    name = media_name(path)
    content = _content(_read(found["file"], int(found["row"]), found["column"], name), name)
    if not content:
        raise CellError(f"{name}: is empty; the row is left out.")
    if len(content) > MAX_BYTES:
        raise CellError(f"{name}: is longer than {MAX_BYTES >> 20} MiB; cut it into clips.")
    return CellFile(content, name)


def parquet() -> Any:
    """The module pyarrow.parquet.

    Raises:
        DataError: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DataError("Parquet files need pyarrow: pip install 'voice2face-gan[parquet]'.") from error
    return pyarrow.parquet


def _content(value: Any, name: str) -> bytes:
    """The bytes of a cell's value.

    Raises:
        CellError: there are none.
    """
    outside = ""
    if isinstance(value, dict) and "bytes" in value:
        outside, value = value.get("path") or "", value["bytes"]
    if value is None:
        more = f" (it only names the file {outside})" if outside else ""
        raise CellError(f"{name}: holds no bytes{more}; the row is left out.")
    if not isinstance(value, bytes):
        raise CellError(f"{name}: holds {type(value).__name__}, not the bytes of a media file.")
    return value


_readers: OrderedDict[tuple, _Reader] = OrderedDict()  # of this process, the one used last at the end


def _read(file: str, row: int, column: str, name: str) -> Any:
    """A cell's value.

    Raises:
        CellError: the file is gone, has no such row or column, or is damaged there.
    """
    module = parquet()
    key = None
    try:
        status = os.stat(file)
        key = (file, column, status.st_size, status.st_mtime_ns)
        if key not in _readers:
            _readers[key] = _Reader(module, file, column)
            while len(_readers) > _OPEN_READERS:
                _readers.popitem(last=False)
        _readers.move_to_end(key)
        return _readers[key].value(row)
    except FileNotFoundError as error:
        raise CellError(f"{name}: there is no such file; check the path.") from error
    except Exception as error:  # pyarrow raises its own errors, OSError, and more of a damaged file
        _readers.pop(key, None)
        raise CellError(f"{name}: cannot be read, the file is damaged ({first_line(error)}).") from error


class _Reader:
    """Values of one column of a parquet file, cheapest in rising order."""

    def __init__(self, module: Any, file: str, column: str):
        self.file = module.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        self.column = column
        self.batches, self.next, self.end = iter(()), 0, 0  # rows next to end - 1 are still to come

    def value(self, row: int) -> Any:
        if not self.next <= row < self.end:
            self._go_to_group(row)
        for batch in self.batches:
            self.next += batch.num_rows
            if self.next > row:
                return batch.column(0)[row - self.next + batch.num_rows].as_py()
        raise IndexError(f"it has no row {row}")

    def _go_to_group(self, row: int) -> None:
        """Stand before the first row of the row group that holds a row."""
        about, first = self.file.metadata, 0
        for group in range(about.num_row_groups):
            end = first + about.row_group(group).num_rows
            if row < end:
                self.next, self.end = first, end
                self.batches = self.file.iter_batches(1, [group], [self.column], use_threads=False)
                return
            first = end
        raise IndexError(f"it has no row {row}")
