"""Reading of tables of any origin: tabs or commas, stray spaces, BOMs, CRLF, columns in any order."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from voice2face_gan.errors import DataError

_DELIMITERS = ("\t", ",", ";")


def column_key(title: str) -> str:
    """A column's title without case, spaces and signs: "voxceleb1id" of " VoxCeleb1 ID "."""
    return re.sub(r"[^a-z0-9]", "", title.lower())


def read_table(
    path: Path, columns: dict[str, tuple[str, ...]], optional: tuple[str, ...] = ()
) -> Iterator[dict]:
    """Rows of a table with a header, as dicts of stripped strings.

    Args:
        path: the file.
        columns: key wanted -> titles it may have in the file, compared by `column_key`.
        optional: keys that may be missing; their value is "" then.
    Yields:
        {key: cell} for every key of `columns`, with the line number of the row as "line".
    Raises:
        DataError: at the first `next`: no such file, not UTF-8 or UTF-16 text, a column is missing, empty;
            later: a row is cut short.
    """
    lines = io.StringIO(read_text(path), newline="")
    header, delimiter = _header(path, lines, columns)
    places = {}
    for key, titles in columns.items():
        found = [i for i, title in enumerate(header) if title in {column_key(t) for t in titles}]
        if not found and key not in optional:
            expected = ", ".join(names[0] for k, names in columns.items() if k not in optional)
            raise DataError(f"{path}: has no column '{titles[0]}'; a header with {expected} is expected.")
        places[key] = found[0] if found else None
    needed = [place for key, place in places.items() if place is not None and key not in optional]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) <= max(needed, default=0):
                raise DataError(
                    f"{path}: line {reader.line_num + 1} has {len(cells)} cells where {len(header)} are "
                    "expected; repair it or get the file anew."
                )
            row = {k: cells[i].strip() if i is not None and i < len(cells) else "" for k, i in places.items()}
            yield row | {"line": reader.line_num + 1}
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num + 1} is not part of a table ({error}).") from error


def titles_of(path: Path) -> set[str]:
    """The column keys of a table's first line, for a cheap look; empty if it cannot be read as a table."""
    try:
        with path.open("rb") as file:
            first = _decode(file.read(4096)).split("\n")[0]
    except (OSError, UnicodeDecodeError):
        return set()
    return {column_key(title) for title in re.split(r"[\t,;]", first)} - {""}


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        DataError: it cannot be opened, or is not UTF-8 (or UTF-16 with its mark).
    """
    try:
        return _decode(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text; save it as CSV in UTF-8.") from error


def number(text: str, path: Path, line: int, what: str) -> float | None:
    """A cell as a number, None if it is blank.

    Raises:
        DataError: it holds something else.
    """
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(f"{path}: line {line}: {what} is '{text}', a number is expected.") from None


def _decode(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16")
    else:
        text = content.decode("utf-8-sig")
    if "\0" in text:
        raise UnicodeDecodeError("utf-8", b"", 0, 1, "holds a NUL character")
    return text


def _header(path: Path, lines: io.StringIO, columns: dict[str, tuple[str, ...]]) -> tuple[list[str], str]:
    """The column keys of the first line, read with the delimiter that shows most of the columns wanted."""
    first = lines.readline()
    if not first.strip():
        expected = ", ".join(names[0] for names in columns.values())
        raise DataError(f"{path}: is empty; a header with {expected} is expected.")
    wanted = {column_key(title) for titles in columns.values() for title in titles}

    def split(delimiter: str) -> list[str]:
        cells = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True))
        return [column_key(cell) for cell in cells]

    best = max(_DELIMITERS, key=lambda d: sum(title in wanted for title in split(d)))
    return split(best), best
