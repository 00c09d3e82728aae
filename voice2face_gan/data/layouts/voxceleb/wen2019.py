"""The processed release of Wen et al. 2019: log-mels of VoxCeleb1 and frontal faces of VGGFace.

Facts (cmu-mlsp/reconstructing_faces_from_voices, README and config.py): data/fbank/ holds a folder an id with
.npy files of (frames, 64), data/VGG_ALL_FRONTAL/ a folder a name with aligned .jpg images,
data/vox1_meta.csv the metadata. A voice and a face belong to one identity if the metadata give the id that
name.
149,354 log-mels and 139,572 faces of 1,225 identities.
"""

from pathlib import Path

from voice2face_gan.data.layouts.base import ALIGNED, WEN
from voice2face_gan.data.layouts.identities import UNMATCHED, IdentityLayout, Plan, Tree, join_identities
from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.layouts.vggface import face_trees
from voice2face_gan.data.layouts.voxceleb.common import (
    ID1,
    find_metadata,
    read_metadata,
    video_of,
    voice_trees,
)
from voice2face_gan.errors import DataError

VOICES, FACES = "fbank", "VGG_ALL_FRONTAL"


class Wen2019(IdentityLayout):
    """Its log-mels were made with the feature settings of the 2019 recipe, and cannot be made anew."""

    name = "wen2019"
    description = (
        "Wen's processed release: fbank/id10003/**.npy log-mels, VGG_ALL_FRONTAL/Aamir_Khan/*.jpg, "
        "vox1_meta.csv (in it or in its data/)"
    )
    sources = ("FOLDER", "METADATA?")
    face_state = ALIGNED
    voices_are_mels = True
    split_rule = WEN
    options = {"unmatched": UNMATCHED}

    def recognises(self, folder: Path) -> bool:
        return _inner(folder) is not None

    def _plan(self, sources: list[Path], unmatched: bool = False) -> Plan:
        folder, *others = sources
        root = _inner(folder)
        if root is None:
            raise DataError(f"{folder}: has no {VOICES}/ and {FACES}/, as Wen's processed release has.")
        known = read_metadata(find_metadata(others, ("vox1_meta.csv",), [root, folder]))
        voices = voice_trees(root / VOICES, ID1, media.MEL)
        if not voices:
            raise DataError(f"{root / VOICES}: holds no id folders (id10001, ...) with .npy log-mels.")
        return join_identities(known, voices, face_trees(root / FACES, known))

    def _group(self, tree: Tree, file: str) -> str:
        return video_of(file) if tree.kind == "voice" else ""


def _inner(folder: Path) -> Path | None:
    """The folder that holds both, itself or its data/."""
    for root in (folder, folder / "data"):
        if (root / VOICES).is_dir() and (root / FACES).is_dir():
            return root
    return None
