"""VoxCeleb2 audio or videos, alone or with the faces of VGGFace2. See `voxceleb` for the facts."""

from pathlib import Path

from voice2face_gan.data.layouts import media
from voice2face_gan.data.layouts.base import CROP, OFFICIAL
from voice2face_gan.data.layouts.people import UNMATCHED, PeopleLayout, Plan, Tree, join_people
from voice2face_gan.data.layouts.vggface import face_trees
from voice2face_gan.data.layouts.voxceleb import (
    ID2,
    find_metadata,
    looks_like,
    read_metadata,
    video_of,
    voice_trees,
)
from voice2face_gan.errors import DataError


class VoxCeleb2(PeopleLayout):
    """Videos of VoxCeleb2 (mp4) are 224 x 224 crops around the face, with sound: both voice and face."""

    name = "voxceleb2"
    description = (
        "VoxCeleb2: id00012/VIDEO/00001.m4a, .wav or .mp4 (below aac/, dev/, ... or not), "
        "vox2_meta.csv; FACES: VGGFace2, n000001/"
    )
    sources = ("AUDIO", "METADATA?", "FACES?")
    face_state = CROP
    split_rule = OFFICIAL
    options = {"unmatched": UNMATCHED}

    def recognises(self, folder: Path) -> bool:
        return looks_like(folder, ID2)

    def _plan(self, sources: list[Path], unmatched: bool = False) -> Plan:
        root, *others = sources
        names = ("vox2_meta.csv", "full_vox2_meta.csv")
        known = read_metadata(find_metadata(others, names, [root, root.parent]))
        voices = voice_trees(root, ID2)
        if not voices:
            raise DataError(
                f"{root}: holds no folders of VoxCeleb2 (id00012, ...); give the folder above them."
            )
        faces: dict[str, list[Tree]] = {}
        for face_root in (path for path in others if path.is_dir()):
            faces |= face_trees(face_root, known)
        return join_people(known, voices, faces)

    def _group(self, tree: Tree, file: str) -> str:
        return "" if tree.endings == media.PICTURE else video_of(file)
