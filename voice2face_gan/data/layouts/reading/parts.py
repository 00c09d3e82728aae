"""Archives cut into parts, as VoxCeleb is published, that are not joined and unpacked yet.

VoxCeleb's mirrors hold vox1_dev_wav_partaa to partad, vox2_dev_aac_partaa to partah, vox2_dev_mp4_partaa to
partai. Each row of parts is one zip file, to be put together before it is unpacked.
"""

import os
import re
import shlex
from pathlib import Path

from voice2face_gan.data.layouts.reading import media
from voice2face_gan.errors import DataError

_PART = re.compile(r"(.+)_part[a-z]{2}$")
_PLACES = 16  # folders below that are looked into: a mirror has two, a set of faces thousands
_MEDIA = media.AUDIO | media.VIDEO | media.IMAGE | media.MEL | {".parquet"}


def refuse_parts(folder: Path) -> None:
    """Refuse a folder that has parts of archives, at the top or one level below, and no media at all.

    Raises:
        DataError: it does; the sentence gives the commands that join and unpack them.
    """
    if not folder.is_dir():
        return
    found = {}
    for place in (folder, *media.subfolders(folder)[:_PLACES]):
        names = _stems(place)
        if names:
            found[place] = names
    if not found or media.has_files(folder, _MEDIA):
        return
    commands = []
    for place, stems in found.items():
        prefix = "" if place == folder else f"{place.name}/"
        commands += [_command(place, prefix, stem) for stem in stems]
    raise DataError(
        f"{folder}: holds parts of archives, which must be joined and unpacked first; in that folder run: "
        f"{' && '.join(commands)}"
    )


def _stems(folder: Path) -> list[str]:
    """Names of the archives of which a folder holds parts, in order."""
    try:
        with os.scandir(folder) as entries:
            matches = [(_PART.match(entry.name), entry) for entry in entries]
            return sorted({match.group(1) for match, entry in matches if match and entry.is_file()})
    except OSError:
        return []


def _command(place: Path, prefix: str, stem: str) -> str:
    where = shlex.quote(f"{prefix}{stem}")
    unpack = f"unzip {where}.zip" + (f" -d {shlex.quote(prefix)}" if prefix else "")
    joined = (place / f"{stem}.zip").exists()
    return unpack if joined else f"cat {where}_part* > {where}.zip && {unpack}"
