"""Own pairs: a folder an identity, with a folder of voices and one of faces."""

from pathlib import Path

from voice2face_gan.data.layouts.identities import UNMATCHED, Identity, IdentityLayout, Plan, Tree
from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.layouts.reading.labels import Labels
from voice2face_gan.data.records import GENDERS
from voice2face_gan.errors import DataError

_VOICES = ("voices", "voice", "audio", "wav", "sound")
_FACES = ("faces", "face", "pictures", "images", "photos")
_VIDEOS = ("videos", "video")


class Folders(IdentityLayout):
    """Gender comes from a labels.csv (identity, gender, ...), or from folders female/ and male/ above the
    identities."""

    name = "folders"
    description = (
        "IDENTITY/voices/*, IDENTITY/faces/* (and videos/*), below female/ and male/ or not; "
        "labels.csv (identity, gender, ...) if at hand"
    )
    sources = ("FOLDER",)
    options = {"unmatched": UNMATCHED}

    def recognises(self, folder: Path) -> bool:
        tops = [folder, *(folder / gender for gender in GENDERS)]
        return any(_trees(sub, folder) for top in tops for sub in media.subfolders(top)[:5])

    def _plan(self, sources: list[Path], unmatched: bool) -> Plan:
        root = sources[0]
        labels = Labels.below(root)
        plan = Plan()
        places = [("", root)] + [
            (g, f) for f in media.subfolders(root) for g in GENDERS if f.name.lower() == g
        ]
        for gender, top in places:
            for folder in media.subfolders(top):
                trees = _trees(folder, root)
                if trees and folder.name.lower() not in GENDERS:
                    known = {"gender": gender} | labels.of(folder.name)
                    plan.identities.append(Identity(folder.name, trees=trees, **known))
        if not plan.identities:
            raise DataError(
                f"{root}: holds no IDENTITY/voices or IDENTITY/faces; see 'v2f-gan prepare --help'."
            )
        _refuse_twins(root, plan.identities)
        return plan


def _trees(folder: Path, root: Path) -> tuple[Tree, ...]:
    """An identity's folders of voices, faces and videos."""
    kinds = ((_VOICES, media.AUDIO, "voice"), (_FACES, media.IMAGE, "face"), (_VIDEOS, media.VIDEO, "both"))
    return tuple(
        Tree(sub, root, endings, kind)
        for names, endings, kind in kinds
        for sub in media.subfolders(folder)
        if sub.name.lower() in names
    )


def _refuse_twins(root: Path, identities: list[Identity]) -> None:
    seen: set[str] = set()
    for person in identities:
        if person.identity in seen:
            raise DataError(
                f"{root}: '{person.identity}' is in two folders; an identity is one person, rename one."
            )
        seen.add(person.identity)
