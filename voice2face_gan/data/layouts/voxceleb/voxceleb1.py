"""VoxCeleb1 audio, alone or with the faces of VGGFace. See `voxceleb` for the facts."""

from pathlib import Path

from voice2face_gan.data.layouts.base import WEN
from voice2face_gan.data.layouts.identities import UNMATCHED, IdentityLayout, Plan, Tree, join_identities
from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.layouts.vggface import face_trees
from voice2face_gan.data.layouts.voxceleb.common import (
    ID1,
    SPLIT,
    find_metadata,
    looks_like,
    read_metadata,
    video_of,
    voice_trees,
)
from voice2face_gan.errors import DataError


class VoxCeleb1(IdentityLayout):
    name = "voxceleb1"
    description = (
        "VoxCeleb1: id10001/VIDEO/00001.wav (below wav/, dev/, ... or not), vox1_meta.csv; FACES: "
        "VGGFace, a folder a name"
    )
    sources = ("AUDIO", "METADATA?", "FACES?")
    split_rule = WEN
    options = {"unmatched": UNMATCHED, "split": SPLIT}
    title, ids, metadata = "VoxCeleb1 (id10001, ...)", ID1, ("vox1_meta.csv",)

    def recognises(self, folder: Path) -> bool:
        return looks_like(folder, self.ids)

    def _plan(self, sources: list[Path], unmatched: bool = False, split: str = "usual") -> Plan:
        root, *others = sources
        known = read_metadata(find_metadata(others, self.metadata, [root, root.parent]), split)
        voices = voice_trees(root, self.ids)
        if not voices:
            raise DataError(f"{root}: holds no folders of {self.title}; give the folder above them.")
        faces: dict[str, list[Tree]] = {}
        for face_root in (path for path in others if path.is_dir()):
            faces |= face_trees(face_root, known)
        return join_identities(known, voices, faces)

    def _group(self, tree: Tree, file: str) -> str:
        return "" if tree.endings == media.IMAGE else video_of(file)
