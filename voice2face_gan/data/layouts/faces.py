"""Faces without voices, labelled by a labels.csv, each an identity of its own: UTKFace and similar sets."""

import os
from collections.abc import Iterator
from pathlib import Path

from voice2face_gan.data.layouts.base import CROP, Layout, RawRecord
from voice2face_gan.data.layouts.reading.tables import number, read_table, titles_of
from voice2face_gan.data.records import read_gender
from voice2face_gan.errors import DataError

_COLUMNS = {
    "file": ("file", "face", "picture", "image", "path"),
    "identity": ("identity", "person"),
    "gender": ("gender", "sex"),
    "age": ("age",),
    "ethnicity": ("ethnicity", "race"),
}


class Faces(Layout):
    """An image's identity, where the table names none, is its path with the folder's name before it,
    so that "00001" of two sets are not taken for one identity."""

    name = "faces"
    description = (
        "labels.csv with the column file (and gender, age, ethnicity, identity if known); paths "
        "relative to it; no identity: each image its own"
    )
    sources = ("FOLDER",)
    face_state = CROP

    def recognises(self, folder: Path) -> bool:
        titles = titles_of(folder / "labels.csv")
        return "file" in titles and not titles & {"speaker", "voice"}

    def _records(self, sources: list[Path]) -> Iterator[RawRecord]:
        table = sources[0] / "labels.csv"
        rows = list(read_table(table, _COLUMNS, optional=("identity", "gender", "age", "ethnicity")))
        if not rows:
            raise DataError(f"{table}: names no image.")
        rows.sort(key=lambda row: (row["identity"], row["file"]))
        return self._rows(sources[0], table, rows)

    def _rows(self, folder: Path, table: Path, rows: list[dict]) -> Iterator[RawRecord]:
        for row in rows:
            if not row["file"]:
                raise DataError(f"{table}: line {row['line']} names no file.")
            yield RawRecord(
                source=row["file"],
                identity=row["identity"] or f"{folder.name}/{os.path.splitext(row['file'])[0]}",
                face=str(folder / row["file"]),
                gender=read_gender(row["gender"]),
                age=number(row["age"], table, row["line"], "the age"),
                ethnicity=row["ethnicity"],
            )
