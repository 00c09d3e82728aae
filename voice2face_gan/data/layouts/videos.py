"""A folder of talking-head clips: sound and images of one identity each."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from voice2face_gan.data.layouts.base import Layout, Option, RawRecord
from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.layouts.reading.clips import video_of_clip
from voice2face_gan.data.layouts.reading.labels import Labels
from voice2face_gan.errors import DataError


class Videos(Layout):
    """Videos whose names give the identity.

    "stem": each file is an identity; "folder": each folder is one; "auto": a folder where there are folders,
    the file itself at the top. An optional labels.csv has genders and other labels.
    """

    name = "videos"
    description = (
        "clips (mp4, webm, mov, mkv) of one talking person each, in folders a person or not; "
        "labels.csv (identity or file, gender, ...) if at hand"
    )
    sources = ("FOLDER",)
    options = {"identity": Option("auto", "What names the person.", ("auto", "stem", "folder"))}

    def recognises(self, folder: Path) -> bool:
        level = [folder, *media.subfolders(folder)[:3]]
        return any(media.has_files(place, media.VIDEO, depth=0) for place in level)

    def _records(self, sources: list[Path], identity: str) -> Iterator[RawRecord]:
        root = sources[0]
        if not media.has_files(root, media.VIDEO):
            raise DataError(f"{root}: holds no video ({', '.join(sorted(media.VIDEO))}).")
        return self._stream(root, identity, Labels.below(root))

    def _stream(self, root: Path, identity: str, labels: Labels) -> Iterator[RawRecord]:
        for path in media.files(root, media.VIDEO):
            name = media.relative(path, root)
            stem = os.path.splitext(name)[0]
            folder, _, last = stem.rpartition("/")
            by_stem = identity == "stem" or (identity == "auto" and not folder)
            record = RawRecord(
                source=name,
                identity=stem if by_stem else folder or root.name,
                voice=path,
                face=path,
                group=video_of_clip(last),
            )
            yield replace(record, **labels.of(record.identity, name, name.rpartition("/")[2], last))
