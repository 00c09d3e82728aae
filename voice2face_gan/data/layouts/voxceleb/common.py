"""Parts that VoxCeleb1, VoxCeleb2, Wen's release and HQ-VoxCeleb share: id folders, video folders, metadata.

Facts (www.robots.ox.ac.uk/~vgg/data/voxceleb and its mirrors): audio lies in ID/VIDEO/NNNNN.wav or .m4a,
below `wav/`, `aac/`, `dev/aac/` and so on, depending on the archive; ids are id10001 to id11251 in VoxCeleb1
and id00012 to id09272 in VoxCeleb2; a VIDEO is a YouTube id of eleven signs. `vox1_meta.csv` is separated by
tabs: "VoxCeleb1 ID", "VGGFace1 ID" (the name), "Gender" (m, f), "Nationality", "Set" (dev, test).
`vox2_meta.csv` is separated by commas with a space before each: "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set ".
SF2F's `full_vox2_meta.csv` has a column "Name" more.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

from voice2face_gan.data.layouts.base import SF2F, Option
from voice2face_gan.data.layouts.identities import Identity, Tree, trees_by_name
from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.layouts.reading.tables import read_table
from voice2face_gan.data.records import read_gender
from voice2face_gan.errors import DataError

ID1 = re.compile(r"id1\d{4}$")
ID2 = re.compile(r"id0\d{4}$")
VGGFACE2_ID = re.compile(r"n\d{6}$")
_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}$")
_FLAT = re.compile(r"(?:id\d{5}_)?([A-Za-z0-9_-]{11})[_-]\d{5,7}\.\w+$")

_COLUMNS = {
    "id": ("VoxCeleb1 ID", "VoxCeleb2 ID", "VoxCeleb ID"),
    "gender": ("Gender",),
    "name": ("VGGFace1 ID", "Name"),
    "vggface2": ("VGGFace2 ID",),
    "nationality": ("Nationality",),
    "set": ("Set",),
}
SPLIT = Option(
    "usual",
    "sf2f: the sides of SF2F, by row i of the metadata counted from 0: i % 10 is 8 test, 9 val, else train.",
    ("usual", SF2F),
    later=True,
)
"""The option `split` of layouts with VoxCeleb's metadata."""

_SETS = {"dev": "train", "train": "train", "val": "val", "test": "test"}


def read_metadata(path: Path, split: str = "usual") -> dict[str, Identity]:
    """vox1_meta.csv or a vox2 one: folder name (the id, the name, the VGGFace2 id) -> the identity.

    The identity is the name where there is one, as VGGFace writes it, and the VoxCeleb id elsewhere;
    `split` is the official one ("dev" is "train"), or with `split="sf2f"` that of SF2F
    (BAI-Yeqi/SF2F_PyTorch, scripts/create_split_json.py): rows are counted from 0 in each file, whoever has
    faces or not.

    Raises:
        DataError: malformed, or an id twice with different labels.
    """
    identities: dict[str, Identity] = {}
    rows = read_table(path, _COLUMNS, optional=("name", "vggface2", "nationality", "set"))
    for number, row in enumerate(rows):
        if not row["id"]:
            raise DataError(f"{path}: line {row['line']} has no VoxCeleb id; get the file anew.")
        person = Identity(
            identity=row["name"] or row["id"],
            gender=read_gender(row["gender"]),
            nationality=row["nationality"],
            split=_SETS.get(row["set"].lower(), ""),
        )
        before = identities.get(row["id"])
        if split == SF2F:
            person = replace(person, split=before.split if before else sf2f_side(number))
        if before not in (None, person):
            raise DataError(f"{path}: line {row['line']} names {row['id']} again, with other labels.")
        for key in (row["id"], row["name"], row["vggface2"]):
            if key:
                identities[key] = person
    if not identities:
        raise DataError(f"{path}: names no identity; a line an identity is expected.")
    return identities


def sf2f_side(row: int) -> str:
    """The side of a row of the metadata, counted from 0: eight of ten train, the ninth tests, the tenth
    validates."""
    return {8: "test", 9: "val"}.get(row % 10, "train")


def find_metadata(given: list[Path], names: tuple[str, ...], near: list[Path]) -> Path:
    """The metadata among the sources, or a file of one of the usual names near the data.

    Raises:
        DataError: there is none.
    """
    for path in given:
        if path.is_file():
            return path
    for folder in near:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise DataError(f"{near[0]}: {names[0]} is missing; put it there, or give its path after the folder.")


def voice_trees(root: Path, ids: re.Pattern, endings: frozenset[str] = media.AUDIO) -> dict[str, list[Tree]]:
    """The id folders below a root, with or without levels above them: id -> trees of voices.

    VoxCeleb2 comes as videos too (dev/mp4/). They are voices and faces; where the audio is at hand as well
    (dev/aac/ beside it), faces alone.
    """
    folders = [f for f in media.find_level(root, lambda name: bool(ids.match(name))) if ids.match(f.name)]
    beside: dict[Path, list[Path]] = {}
    for folder in folders:
        beside.setdefault(folder.parent, []).append(folder)
    films = {place for place, some in beside.items() if endings == media.AUDIO and _are_films(some)}
    found = trees_by_name([f for f in folders if f.parent not in films], root, endings, "voice")
    with_voices = set(found)
    for folder in (f for f in folders if f.parent in films):
        kind = "face" if folder.name in with_voices else "both"
        found.setdefault(folder.name, []).append(Tree(folder, root, media.VIDEO, kind))
    return found


def _are_films(folders: list[Path]) -> bool:
    """True if id folders hold videos, by the first file found in the first few of them."""
    for folder in folders[:5]:
        file = next(media.files(folder, media.AUDIO | media.VIDEO), None)
        if file is not None:
            return media.suffix(file) in media.VIDEO
    return False


def video_of(file: str) -> str:
    """The video that ID/VIDEO/NNNNN.wav was cut from; also of Wen's flat ID/VIDEO_NNNNN.npy, else ""."""
    folder, name = os.path.split(file)
    parent = os.path.basename(folder)
    if _VIDEO.match(parent):
        return parent
    found = _FLAT.match(name)
    return found.group(1) if found else ""


def looks_like(folder: Path, ids: re.Pattern) -> bool:
    """True if id folders lie in a folder, or below its wav/, aac/, mp4/, dev/ or test/."""
    level = [folder]
    for _ in range(3):
        below = [sub for parent in level for sub in media.subfolders(parent)]
        if any(ids.match(sub.name) for sub in below):
            return True
        level = [sub for sub in below if sub.name.lower() in ("wav", "aac", "mp4", "dev", "test", "train")]
    return False
