"""Layouts of folders of identities: their folders, and the records in them, joined by name."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from voice2face_gan.data.layouts.base import JoinReport, Layout, Option, RawRecord
from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.prepare.names import near_names, normalise_name

UNMATCHED = Option(False, "Keep identities that have only voices or only faces.")


@dataclass(frozen=True)
class Tree:
    """Files of one kind in one folder that belong to one identity.

    Attributes:
        folder: where they are, at any depth.
        root: the data set's folder, that the names of records are relative to.
        endings: which files.
        kind: "voice", "face" or "both" (videos with sound).
    """

    folder: Path
    root: Path
    endings: frozenset[str]
    kind: str

    def files(self) -> Iterator[str]:
        return media.files(self.folder, self.endings)


@dataclass(frozen=True)
class Identity:
    """An identity, its labels, and where its files are."""

    identity: str
    gender: str = ""
    nationality: str = ""
    ethnicity: str = ""
    age: float | None = None
    split: str = ""
    trees: tuple[Tree, ...] = ()

    def kinds(self) -> set[str]:
        """ "voice", "face": of what there is at least one file."""
        found = {tree.kind for tree in self.trees if next(tree.files(), None) is not None}
        return {"voice", "face"} if "both" in found else found


@dataclass
class Plan:
    """A layout before it lists files: identities with folders, and the report of the join."""

    identities: list[Identity] = field(default_factory=list)
    report: JoinReport = field(default_factory=JoinReport)


class IdentityLayout(Layout):
    """A layout whose sources are folders of identities. Subclasses make the plan."""

    def _plan(self, sources: list[Path], **options) -> Plan:
        raise NotImplementedError

    def _group(self, tree: Tree, file: str) -> str:
        """The video a file was cut from, or "". The default: none is known."""
        return ""

    def _records(self, sources: list[Path], **options) -> Iterator[RawRecord]:
        """A set of voices and faces is made for pairs: who lacks one of them is left out unless asked for."""
        identities = sorted(self._plan(sources, **options).identities, key=lambda person: person.identity)
        kinds = [person.kinds() for person in identities]
        everything = set().union(*kinds)
        least = 1 if options.get("unmatched") else max(len(everything), 1)
        return self._stream([p for p, k in zip(identities, kinds, strict=True) if len(k) >= least])

    def _stream(self, identities: list[Identity]) -> Iterator[RawRecord]:
        for person in identities:
            for tree in person.trees:
                for file in tree.files():
                    yield RawRecord(
                        source=media.relative(file, tree.root),
                        identity=person.identity,
                        voice=None if tree.kind == "face" else file,
                        face=None if tree.kind == "voice" else file,
                        gender=person.gender,
                        age=person.age,
                        ethnicity=person.ethnicity,
                        nationality=person.nationality,
                        split=person.split,
                        group=self._group(tree, file),
                    )

    def _report(self, sources: list[Path], **options) -> JoinReport:
        plan = self._plan(sources, **options)
        lists: dict[str, list[str]] = defaultdict(list)
        for person in plan.identities:
            kinds = person.kinds()
            where = "both" if len(kinds) == 2 else f"{next(iter(kinds))}_only" if kinds else "no_files"
            lists[where].append(person.identity)
            if kinds and not person.gender:
                lists["unknown_gender"].append(person.identity)
        lists["no_files"] += plan.report.no_files
        return replace(plan.report, **{name: sorted(names) for name, names in lists.items()})


def join_identities(
    known: dict[str, Identity],
    voices: dict[str, list[Tree]],
    faces: dict[str, list[Tree]],
    same: Callable[[str], str] = normalise_name,
) -> Plan:
    """Join the identities of the metadata, folders of voices and folders of faces.

    Args:
        known: key in the metadata -> the identity. A key is a possible name of folders, an id or a name;
            several keys may lead to one identity.
        voices, faces: folder name -> its trees.
        same: folder names and keys are compared by this.
    Returns:
        All identities that have a folder; folders that the metadata do not name are identities of their own,
        named as the folder.
    """
    by_key = {same(key): person for key, person in known.items()}
    trees: dict[str, list[Tree]] = defaultdict(list)
    identities: dict[str, Identity] = {}
    strangers: dict[str, Identity] = {}  # not in the metadata: their voices and faces still belong together
    report = JoinReport()
    seen: set[str] = set()  # identities with a folder of faces
    for folders in (voices, faces):
        for name in sorted(folders):
            person = by_key.get(same(name))
            if person is None:
                person = strangers.setdefault(same(name), Identity(name))
            elif name != person.identity and name not in known:
                report.respelt.append((person.identity, name))
            identities[person.identity] = person
            trees[person.identity] += folders[name]
            if folders is faces:
                seen.add(person.identity)
    everyone = {person.identity for person in known.values()}
    report.no_files = sorted(everyone - identities.keys())
    if known:
        report.not_in_metadata = sorted(person.identity for person in strangers.values())
    report.respelt.sort()
    if faces and voices:
        faceless = (everyone & identities.keys()) - seen
        report.near_misses = near_names(faceless, [name for name in faces if same(name) not in by_key])
    return Plan([replace(identities[i], trees=tuple(trees[i])) for i in sorted(identities)], report)


def trees_by_name(
    folders: Iterable[Path], root: Path, endings: frozenset[str], kind: str
) -> dict[str, list[Tree]]:
    """Folder name -> its trees; folders of one name (under dev/ and test/) are one identity's."""
    found: dict[str, list[Tree]] = defaultdict(list)
    for folder in folders:
        found[folder.name].append(Tree(folder, root, endings, kind))
    return dict(found)
