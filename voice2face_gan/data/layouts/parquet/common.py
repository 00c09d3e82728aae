"""Data sets as parquet files on the Hugging Face hub keep them: a row a clip, its media files as bytes.

Facts, from the sets' own pages: `ProgramComputer/avspeech-visual-audio` has train/train-rows-*.parquet and
test/*.parquet of 128 rows (60 to 80 MB) each, with the columns `video` (a stream of images without sound) and
`audio` (its sound). `nguyenvulebinh/av-vox2` holds VoxCeleb2: spk_id, video_id, part_id, lip_video, audio,
en_dataset, text, text_lang; its images show lips alone, so they are no faces.

A layout reads the footers of the files and columns of names; the media are read by `data.parquet_cells`,
row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from voice2face_gan.data.layouts.base import Layout
from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.parquet_cells import cell_path, parquet
from voice2face_gan.errors import DataError, first_line

_PARQUET = frozenset((".parquet",))
_SIDES = {"train": "train", "dev": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
_ROWS_AT_ONCE = 4096  # of names
_PROBED_FILES = 5  # files of which one must open for a folder to be recognised
_LISTED_FILES = 3  # damaged, in a message


@dataclass(frozen=True)
class Table:
    """A parquet file of a set.

    Attributes:
        path: of the file.
        name: its path below the set's folder, without the ending.
        rows: how many it has.
        columns: titles.
        side: "train", "val" or "test" where folder or file are called so, else "".
    """

    path: str
    name: str
    rows: int
    columns: tuple[str, ...]
    side: str


class ParquetLayout(Layout):
    """A layout of parquet files; subclasses make records of rows.

    Records come in the order of files and rows, so that a file is read once from its beginning to its end;
    those of an identity are in a row as far as the files have them so.

    Attributes:
        media_columns: titles of the columns that hold media files.
        name_columns: titles of the columns of names that must be there too.
    """

    media_columns: ClassVar[tuple[str, ...]]
    name_columns: ClassVar[tuple[str, ...]] = ()

    def recognises(self, folder: Path) -> bool:
        """As `Layout.recognises`.

        Raises:
            DataError: parquet files are there, and either pyarrow is missing or none of the first can be
                read.
        """
        broken = []
        for path, _ in zip(media.files(folder, _PARQUET, depth=1), range(_PROBED_FILES), strict=False):
            try:
                schema = _open(path).schema_arrow
            except _DamagedError as error:
                broken.append(f"{path}: {error}")
                continue
            return {*self.media_columns, *self.name_columns} <= set(schema.names)
        if broken:
            raise DataError(broken[0])
        return False

    def _tables(self, root: Path) -> list[Table]:
        """All files, after a look at their footers.

        Raises:
            DataError: there are none, some are damaged, or a column is missing or holds no media files.
        """
        tables, broken = [], []
        for path in media.files(root, _PARQUET):
            try:
                file = _open(path)
            except _DamagedError as error:
                broken.append(f"{media.relative(path, root)} {error}")
                continue
            schema = file.schema_arrow
            for title in (*self.media_columns, *self.name_columns):
                if title not in schema.names:
                    raise DataError(
                        f"{path}: has no column '{title}' (it has {', '.join(schema.names) or 'none'}); the "
                        f"layout {self.name} reads {', '.join((*self.name_columns, *self.media_columns))}."
                    )
            for title in self.media_columns:
                if not _holds_bytes(schema.field(title).type):
                    raise DataError(
                        f"{path}: the column '{title}' holds {schema.field(title).type}, not the bytes of "
                        "media files; take the data set as it was published."
                    )
            name = media.relative(path, root)[: -len(".parquet")]
            tables.append(Table(path, name, file.metadata.num_rows, tuple(schema.names), _side(name)))
        if broken:
            more = ", ..." if len(broken) > _LISTED_FILES else ""
            raise DataError(
                f"{root}: {len(broken)} of {len(broken) + len(tables)} parquet files cannot be read: "
                f"{', '.join(broken[:_LISTED_FILES])}{more}; get them again, or move them away."
            )
        if not tables:
            raise DataError(f"{root}: holds no parquet file; give the folder above train/ and test/.")
        return tables


def rows(table: Table, titles: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a table, of columns of names alone: title -> text, "" where there is none.

    Raises:
        DataError: a column cannot be read.
    """
    if not titles:
        yield from ({} for _ in range(table.rows))
        return
    try:
        file = parquet().ParquetFile(table.path)
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(titles), use_threads=False):
            yield from ({t: _text(v) for t, v in row.items()} for row in batch.to_pylist())
    except Exception as error:
        raise DataError(
            f"{table.path}: the columns {', '.join(titles)} cannot be read ({first_line(error)}); get the "
            "file again, or move it away."
        ) from error


def cell(table: Table, row: int, title: str) -> str:
    """The path of a record that names a cell."""
    return cell_path(table.path, row, title)


def sides(tables: list[Table]) -> dict[str, str]:
    """Table name -> side, if files of training and of testing are both there; else no table has one: a part
    of a set, such as its first files, is split like a set without sides."""
    both = {"train", "test"} <= {table.side for table in tables}
    return {table.name: table.side if both else "" for table in tables}


class _DamagedError(Exception):
    """A sentence's part: what is wrong with a file."""


def _open(path: str) -> Any:
    """A parquet file, its footer read.

    Raises:
        _DamagedError: it is none, or its footer is missing.
        DataError: pyarrow is not installed.
    """
    module = parquet()
    try:
        return module.ParquetFile(path, pre_buffer=False)
    except Exception as error:
        try:
            with open(path, "rb") as file:
                head = file.read(64)
        except OSError as unreadable:
            raise _DamagedError(f"cannot be opened ({unreadable.strerror})") from error
        if head.startswith(b"version https://git-lfs"):
            raise _DamagedError("is a pointer of Git LFS, not the file (git lfs pull gets it)") from error
        if head[:4] != b"PAR1":
            raise _DamagedError("is no parquet file") from error
        raise _DamagedError("is damaged or cut short") from error


def _holds_bytes(kind: Any) -> bool:
    """True if a column's Arrow type is bytes, or a struct that has them."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    views = getattr(types, "is_binary_view", lambda kind: False)
    return types.is_binary(kind) or types.is_large_binary(kind) or views(kind)


def _side(name: str) -> str:
    """The side in a file's name or one of its folders: "test" of "test/rows-0"."""
    words = [word for part in reversed(name.split("/")) for word in re.split(r"[-_. ]", part.lower())]
    return next((_SIDES[word] for word in words if word in _SIDES), "")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    return "" if value is None else str(value).strip()
