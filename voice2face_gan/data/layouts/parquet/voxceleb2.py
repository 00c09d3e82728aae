"""VoxCeleb2's voices as parquet files. See `parquet` and `voxceleb` for the facts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from voice2face_gan.data.layouts.base import RawRecord
from voice2face_gan.data.layouts.identities import Identity
from voice2face_gan.data.layouts.parquet.common import ParquetLayout, Table, cell, rows, sides
from voice2face_gan.data.layouts.voxceleb.common import read_metadata

_METADATA = ("vox2_meta.csv", "full_vox2_meta.csv")
_PARTS = ("video_id", "part_id")


class VoxCeleb2Parquet(ParquetLayout):
    """Voices alone: the images of these files show lips. Genders are those of vox2_meta.csv, which lies
    beside the files or is given. Sides are those of the files' names (dev, test), or of the metadata where no
    file's name gives one."""

    name = "voxceleb2-parquet"
    description = (
        "VoxCeleb2's voices, from the hub: *.parquet with the columns spk_id, audio (video_id, part_id); "
        "vox2_meta.csv for the genders if at hand"
    )
    sources = ("FOLDER", "METADATA?")
    media_columns = ("audio",)
    name_columns = ("spk_id",)

    def notes(self, sources: Sequence[str | Path], **options) -> list[str]:
        if _metadata(self._check_sources(sources)):
            return []
        return [f"There is no {_METADATA[0]} beside the files, so nobody's gender is known; put it there."]

    def _records(self, sources: list[Path]) -> Iterator[RawRecord]:
        known = _metadata(sources)
        identities = read_metadata(known) if known else {}
        return self._stream(self._tables(sources[0]), identities)

    def _stream(self, tables: list[Table], identities: dict[str, Identity]) -> Iterator[RawRecord]:
        side_of = sides(tables)
        nameless = not any(table.side for table in tables)  # then the metadata give the sides
        for table in tables:
            parts = tuple(title for title in _PARTS if title in table.columns)
            for number, row in enumerate(rows(table, ("spk_id", *parts))):
                name = row["spk_id"] or f"{table.name}/{number:06d}"  # else an identity of its own
                person = identities.get(name, Identity(name))
                clip = [row[part] for part in parts if row[part]]
                yield RawRecord(
                    source="/".join((name, *clip) if len(clip) == 2 else (name, table.name, f"{number:06d}")),
                    identity=person.identity,
                    voice=cell(table, number, "audio"),
                    gender=person.gender,
                    nationality=person.nationality,
                    split=person.split if nameless else side_of[table.name],
                    group=row.get("video_id", ""),
                )


def _metadata(sources: list[Path]) -> Path | None:
    """The metadata given, or lying beside the files."""
    root, *others = sources
    near = [folder / name for folder in (root, root.parent) for name in _METADATA]
    return next((path for path in (*others, *near) if path.is_file()), None)
