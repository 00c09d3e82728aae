"""Pairs of a voice and a face, named by a labels.csv."""

import os
from collections.abc import Iterator
from pathlib import Path

from voice2face_gan.data.layouts.base import CROP, Layout, Option, RawRecord
from voice2face_gan.data.layouts.reading.clips import video_of_clip
from voice2face_gan.data.layouts.reading.tables import number, read_table, titles_of
from voice2face_gan.data.records import SPLITS, read_gender
from voice2face_gan.errors import DataError

_COLUMNS = {
    "voice": ("voice",),
    "identity": ("identity", "speaker", "person"),
    "gender": ("gender", "sex"),
    "nationality": ("nationality",),
    "ethnicity": ("ethnicity",),
    "age": ("age",),
    "split": ("split",),
    "clip": ("clip",),
    "video": ("video", "group"),
}
_SPLIT_WORDS = {"dev": "train", "validation": "val", "valid": "val", "eval": "test"} | {s: s for s in SPLITS}


class Paired(Layout):
    """A column may be missing but those of voice, face and identity, and a cell blank, one of voice and face
    included. Which column names the face is an option: a set may hold several images of each clip."""

    name = "paired"
    description = (
        "labels.csv with the columns voice, face, identity (and gender, nationality, ethnicity, "
        "age, split, video if known); paths relative to it"
    )
    sources = ("FOLDER",)
    face_state = CROP
    options = {"face": Option("face", "The column that names the image (such as face_normalised).")}

    def recognises(self, folder: Path) -> bool:
        return {"voice", "face", "identity"} <= titles_of(folder / "labels.csv")

    def _records(self, sources: list[Path], face: str) -> Iterator[RawRecord]:
        table = sources[0] / "labels.csv"
        columns = _COLUMNS | {"face": (face,)}
        optional = tuple(key for key in columns if key not in ("voice", "face", "identity"))
        rows = sorted(
            read_table(table, columns, optional), key=lambda row: (row["identity"], row["voice"], row["face"])
        )
        return self._rows(sources[0], table, rows)

    def _rows(self, folder: Path, table: Path, rows: list[dict]) -> Iterator[RawRecord]:
        for row in rows:
            if not row["identity"] or not (row["voice"] or row["face"]):
                raise DataError(f"{table}: line {row['line']} lacks an identity, or both voice and face.")
            source = row["clip"] or os.path.splitext(row["voice"] or row["face"])[0]
            split = row["split"].lower()
            if split and split not in _SPLIT_WORDS:
                raise DataError(
                    f"{table}: line {row['line']}: the split is train, val or test, not '{split}'."
                )
            yield RawRecord(
                source=source,
                identity=row["identity"],
                voice=str(folder / row["voice"]) if row["voice"] else None,
                face=str(folder / row["face"]) if row["face"] else None,
                gender=read_gender(row["gender"]),
                age=number(row["age"], table, row["line"], "the age"),
                ethnicity=row["ethnicity"],
                nationality=row["nationality"],
                split=_SPLIT_WORDS.get(split, ""),
                group=row["video"] or video_of_clip(source.rsplit("/", 1)[-1]),
            )
