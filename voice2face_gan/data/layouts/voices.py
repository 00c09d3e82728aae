"""Voices without faces, named by a labels.csv: to train a voice encoder on."""

from collections.abc import Iterator
from pathlib import Path

from voice2face_gan.data.layouts.base import Layout, Option, RawRecord
from voice2face_gan.data.layouts.reading.tables import number, read_table, titles_of
from voice2face_gan.data.records import read_gender
from voice2face_gan.errors import DataError

_COLUMNS = {
    "file": ("file", "voice", "path"),
    "speaker": ("speaker", "identity"),
    "gender": ("gender", "sex"),
    "age": ("age",),
    "corpus": ("corpus", "dataset"),
}


class Voices(Layout):
    name = "voices"
    description = (
        "labels.csv with the columns file, speaker (and gender, age, corpus if known); paths relative to it"
    )
    sources = ("FOLDER",)
    options = {"corpus": Option("", "Only this corpus.")}

    def recognises(self, folder: Path) -> bool:
        titles = titles_of(folder / "labels.csv")
        return {"file", "speaker"} <= titles and "face" not in titles

    def _records(self, sources: list[Path], corpus: str) -> Iterator[RawRecord]:
        table = sources[0] / "labels.csv"
        rows = list(read_table(table, _COLUMNS, optional=("gender", "age", "corpus")))
        kept = [row for row in rows if not corpus or row["corpus"] == corpus]
        if not kept:
            known = ", ".join(sorted({row["corpus"] for row in rows} - {""})) or "none is named"
            raise DataError(
                f"{table}: holds no voice" + (f" of the corpus '{corpus}' ({known})." if corpus else ".")
            )
        kept.sort(key=lambda row: (row["speaker"], row["file"]))
        return self._rows(sources[0], table, kept)

    def _rows(self, folder: Path, table: Path, rows: list[dict]) -> Iterator[RawRecord]:
        for row in rows:
            if not row["file"] or not row["speaker"]:
                raise DataError(f"{table}: line {row['line']} lacks a file or a speaker.")
            yield RawRecord(
                source=row["file"],
                identity=row["speaker"],
                voice=str(folder / row["file"]),
                gender=read_gender(row["gender"]),
                age=number(row["age"], table, row["line"], "the age"),
            )
