"""AVSpeech as `v2f-gan fetch avspeech` leaves it: clips, and clips.csv with the place of each one's speaker.

Facts (looking-to-listen.github.io/avspeech): a clip is 3 to 10 s of a YouTube video with one speaker to be
seen and heard; the list has the video's id, start and end in seconds, and the centre of the speaker's face at
the start, x and y from 0 to 1 from the top left. It names nobody and no gender. License of the list: CC BY
4.0.
"""

from collections.abc import Iterator
from pathlib import Path

from voice2face_gan.data.layouts.base import Layout, Option, RawRecord
from voice2face_gan.data.layouts.reading.tables import number, read_table, titles_of
from voice2face_gan.errors import DataError

TABLE = "clips.csv"
TITLES = ("file", "youtube_id", "start", "end", "x", "y")
_COLUMNS = {title: (title,) for title in TITLES}


class AVSpeech(Layout):
    """A video is one identity, as most show one speaker; with `identity=clip` every clip is one, and the
    clips of a video still stay on one side of a split."""

    name = "avspeech"
    description = (
        "what 'v2f-gan fetch avspeech' writes: clips/*/ID_START-END.mp4 and clips.csv (file, "
        "youtube_id, start, end, x, y)"
    )
    sources = ("FOLDER",)
    options = {"identity": Option("video", "Unit of an identity.", ("video", "clip"))}

    def recognises(self, folder: Path) -> bool:
        return {"file", "youtubeid", "x", "y"} <= titles_of(folder / TABLE)

    def _records(self, sources: list[Path], identity: str) -> Iterator[RawRecord]:
        table = sources[0] / TABLE
        rows = list(read_table(table, _COLUMNS))
        if not rows:
            raise DataError(f"{table}: names no clip; fetch some with 'v2f-gan fetch avspeech' first.")
        rows.sort(key=lambda row: (row["youtube_id"], row["file"]))
        return self._rows(sources[0], table, rows, identity == "clip")

    def _rows(self, folder: Path, table: Path, rows: list[dict], by_clip: bool) -> Iterator[RawRecord]:
        for row in rows:
            video, line = row["youtube_id"], row["line"]
            path = folder / row["file"]
            x, y = (number(row[axis], table, line, axis) for axis in "xy")
            yield RawRecord(
                source=path.stem,
                identity=f"yt_{path.stem if by_clip else video}",
                voice=str(path),
                face=str(path),
                group=video,
                face_at=None if x is None or y is None else (x, y),
            )
