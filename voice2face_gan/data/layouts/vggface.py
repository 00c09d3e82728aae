"""VGGFace and VGGFace2: folders of images, a folder an identity, alone or for the voices of VoxCeleb.

Facts: VGGFace (Parkhi 2015) is 2,622 lists of addresses, named after the identity ("Aamir_Khan"); fetched
images lie in a folder a name. VGGFace2 (Cao 2018) has train/ and test/ with folders n000001 and so on,
loosely cropped to the face, and identity_meta.csv: "Class_ID, Name, Sample_Num, Flag, Gender", names in
quotes.
"""

from pathlib import Path

from voice2face_gan.data.layouts.base import CROP, OFFICIAL
from voice2face_gan.data.layouts.identities import (
    Identity,
    IdentityLayout,
    Plan,
    Tree,
    join_identities,
    trees_by_name,
)
from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.layouts.reading.tables import read_table
from voice2face_gan.data.layouts.voxceleb.common import VGGFACE2_ID, read_metadata
from voice2face_gan.data.prepare.names import normalise_name
from voice2face_gan.data.records import read_gender
from voice2face_gan.errors import DataError

_COLUMNS = {"id": ("Class_ID",), "gender": ("Gender",)}
_SETS = {"train": "train", "test": "test"}


def face_trees(root: Path, known: dict[str, Identity]) -> dict[str, list[Tree]]:
    """Folders of faces below a root: the level on which names or VGGFace2 ids of the metadata stand.

    Raises:
        DataError: no folder is called as anyone in the metadata.
    """
    keys = {normalise_name(key) for key in known}
    folders = media.find_level(root, lambda name: normalise_name(name) in keys)
    if not folders:
        some = next(iter(known.values())).identity
        raise DataError(
            f"{root}: no folder is named after an identity of the metadata (such as '{some}'); "
            "give the folder above the folders of faces."
        )
    return trees_by_name(folders, root, media.IMAGE, "face")


class VGGFace(IdentityLayout):
    """Faces without voices; gender is unknown unless a metadata file with names and genders is given."""

    name = "vggface"
    description = (
        "VGGFace: Aamir_Khan/*.jpg, a folder a name; METADATA with names and genders "
        "(vox1_meta.csv) if at hand"
    )
    sources = ("FACES", "METADATA?")

    def recognises(self, folder: Path) -> bool:
        """Several folders, each with images right in it: the least special of all layouts."""
        below = media.subfolders(folder)[:3]
        return len(below) > 1 and all(media.has_files(sub, media.IMAGE, depth=0) for sub in below)

    def _plan(self, sources: list[Path]) -> Plan:
        root, *others = sources
        known = read_metadata(others[0]) if others else {}
        faces = face_trees(root, known) if known else _folders_of_images(root)
        return join_identities(known, {}, faces)


class VGGFace2(IdentityLayout):
    name = "vggface2"
    description = "VGGFace2: n000001/0001_01.jpg (below train/ and test/ or not), identity_meta.csv"
    sources = ("FACES", "METADATA?")
    face_state = CROP
    split_rule = OFFICIAL

    def recognises(self, folder: Path) -> bool:
        return any(
            VGGFACE2_ID.match(sub.name)
            for parent in (folder, folder / "train", folder / "test")
            for sub in media.subfolders(parent)
        )

    def _plan(self, sources: list[Path]) -> Plan:
        root, *others = sources
        given = others or [
            p for p in (root / "identity_meta.csv", root / "meta" / "identity_meta.csv") if p.exists()
        ]
        genders = _genders(given[0]) if given else {}
        folders = [
            folder
            for folder in media.find_level(root, lambda name: bool(VGGFACE2_ID.match(name)))
            if VGGFACE2_ID.match(folder.name)
        ]
        if not folders:
            raise DataError(
                f"{root}: holds no folders of VGGFace2 (n000001, ...); give the folder above them."
            )
        known = {
            f.name: Identity(f.name, gender=genders.get(f.name, ""), split=_SETS.get(f.parent.name, ""))
            for f in folders
        }
        plan = join_identities(known, {}, trees_by_name(folders, root, media.IMAGE, "face"))
        plan.report.not_in_metadata = sorted(known.keys() - genders.keys()) if genders else []
        return plan


def _genders(path: Path) -> dict[str, str]:
    """identity_meta.csv: VGGFace2 id -> gender."""
    return {row["id"]: read_gender(row["gender"]) for row in read_table(path, _COLUMNS)}


def _folders_of_images(root: Path) -> dict[str, list[Tree]]:
    folders = [folder for folder in media.subfolders(root) if media.has_files(folder, media.IMAGE)]
    if not folders:
        raise DataError(f"{root}: holds no folders with images; a folder a name is expected.")
    return trees_by_name(folders, root, media.IMAGE, "face")
