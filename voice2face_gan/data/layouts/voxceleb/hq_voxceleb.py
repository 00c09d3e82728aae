"""HQ-VoxCeleb (SF2F, Bai et al. 2022): selected faces of VoxCeleb's identities, a folder a name.

Facts (BAI-Yeqi/HQ-VoxCeleb and SF2F_PyTorch): vox1/ and vox2/ each hold masked_faces/ (the background masked)
and origin_faces/ with a folder a name, and their metadata: vox1/vox1_meta.csv and vox2/full_vox2_meta.csv
(with a column "Name"). The voices are VoxCeleb's own: raw_wav/vox1/{dev,test}/id10001/VIDEO/00001.wav and
raw_wav/vox2/{dev,test}/id00012/VIDEO/00001.m4a. SF2F's mel_spectrograms/ are pickles, which are never opened.
"""

from dataclasses import replace
from pathlib import Path

from voice2face_gan.data.layouts.base import CROP, SEEDED, Option
from voice2face_gan.data.layouts.identities import (
    UNMATCHED,
    Identity,
    IdentityLayout,
    Plan,
    Tree,
    join_identities,
    trees_by_name,
)
from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.layouts.voxceleb.common import (
    ID1,
    ID2,
    SPLIT,
    find_metadata,
    read_metadata,
    video_of,
    voice_trees,
)
from voice2face_gan.errors import DataError

_PARTS = {"vox1": (ID1, ("vox1_meta.csv",)), "vox2": (ID2, ("full_vox2_meta.csv", "vox2_meta.csv"))}
_FACES = ("masked_faces", "origin_faces")


class HQVoxCeleb(IdentityLayout):
    name = "hq-voxceleb"
    description = (
        "HQ-VoxCeleb: vox1/, vox2/ with masked_faces/NAME/*, origin_faces/NAME/* and their "
        "metadata; AUDIO: VoxCeleb (or raw_wav/)"
    )
    sources = ("FOLDER", "AUDIO?")
    face_state = CROP
    split_rule = SEEDED
    options = {
        "faces": Option("masked", "masked: background removed; origin: as they were.", ("masked", "origin")),
        "unmatched": UNMATCHED,
        "split": SPLIT,
    }

    def recognises(self, folder: Path) -> bool:
        return any((folder / part / faces).is_dir() for part in _PARTS for faces in _FACES)

    def _plan(self, sources: list[Path], faces: str, unmatched: bool, split: str = "usual") -> Plan:
        root, *others = sources
        known: dict[str, Identity] = {}
        voices: dict[str, list[Tree]] = {}
        images: dict[str, list[Tree]] = {}
        for part, (ids, metadata) in _PARTS.items():
            folder = root / part / f"{faces}_faces"
            if not folder.is_dir():
                continue
            table = find_metadata([], metadata, [root / part, root, root.parent])
            known |= read_metadata(table, split)
            for name, trees in trees_by_name(media.subfolders(folder), root, media.IMAGE, "face").items():
                images.setdefault(name, []).extend(trees)
            for audio in (*others, root / "raw_wav", root / part):
                for name, trees in (voice_trees(audio, ids) if audio.is_dir() else {}).items():
                    # Of VoxCeleb2's videos the sound is wanted alone: the faces are the chosen ones.
                    voices.setdefault(name, [replace(t, kind="voice") for t in trees if t.kind != "face"])
        if not images:
            raise DataError(f"{root}: has no vox1/{faces}_faces or vox2/{faces}_faces, as HQ-VoxCeleb has.")
        if not voices:
            raise DataError(
                f"{root}: no voices (id10001/VIDEO/00001.wav) in raw_wav/; HQ-VoxCeleb holds faces alone, "
                "give the folder of VoxCeleb's audio after it."
            )
        return join_identities(known, voices, images)

    def _group(self, tree: Tree, file: str) -> str:
        return video_of(file) if tree.kind == "voice" else ""
