"""AVSpeech as parquet files with the media in them. See `parquet` for the facts, `avspeech` for the set."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from voice2face_gan.data.layouts.base import Option, RawRecord
from voice2face_gan.data.layouts.parquet.common import ParquetLayout, Table, cell, rows, sides
from voice2face_gan.data.layouts.reading.clips import video_of_clip

_IDS = ("youtube_id", "video_id", "id", "key", "__key__")  # the first that a file has
_YOUTUBE = re.compile(r"[A-Za-z0-9_-]{11}$")


class AVSpeechParquet(ParquetLayout):
    """A video is one identity, as in `AVSpeech`, where a column names it. The published files have no such
    column: then every row is an identity of its own, called after its file and row. Two clips of one video
    then count as two identities."""

    name = "avspeech-parquet"
    description = (
        "AVSpeech with its media, from the hub: train/*.parquet, test/*.parquet with the columns video "
        "(images) and audio (sound), as bytes; youtube_id, video_id, id or key if at hand"
    )
    sources = ("FOLDER",)
    options = {"identity": Option("video", "Unit of an identity, where videos are named.", ("video", "clip"))}
    media_columns = ("video", "audio")

    def notes(self, sources: Sequence[str | Path], **options) -> list[str]:
        tables = self._tables(self._check_sources(sources)[0])
        unnamed = [table for table in tables if not _id_column(table)]
        if not unnamed:
            return []
        return [
            f"{len(unnamed)} of {len(tables)} parquet files have no column of ids ({', '.join(_IDS)}), so "
            "each row is taken for an identity of its own, named after its file and row."
        ]

    def _records(self, sources: list[Path], identity: str) -> Iterator[RawRecord]:
        tables = self._tables(sources[0])
        return self._stream(tables, identity == "clip")

    def _stream(self, tables: list[Table], by_clip: bool) -> Iterator[RawRecord]:
        side_of = sides(tables)
        for table in tables:
            title = _id_column(table)
            for number, row in enumerate(rows(table, (title,) if title else ())):
                source = f"{table.name}/{number:06d}"
                video = _video(table, row.get(title, ""))
                who = f"yt_{video}" if _YOUTUBE.match(video) else video
                yield RawRecord(
                    source=source,
                    identity=source if by_clip or not who else who,
                    voice=cell(table, number, "audio"),
                    face=cell(table, number, "video"),
                    split=side_of[table.name],
                    group=video,
                )


def _video(table: Table, name: str) -> str:
    """The video that a row's id names. A plain number is one of this file alone: others begin anew."""
    video = video_of_clip(name) or name
    return f"{table.name}/{video}" if video.isdigit() and not _YOUTUBE.match(video) else video


def _id_column(table: Table) -> str:
    return next((title for title in _IDS if title in table.columns), "")
