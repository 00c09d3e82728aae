"""Interface of layouts: from a data set's folders and tables to a stream of records.

A layout reads tables (labels.csv, metadata) and lists files. It never opens a recording or an image. So it is
fast and needs neither PyAV nor Pillow, and a record may name a damaged file, which preparation finds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from voice2face_gan.data.layouts.reading.parts import refuse_parts
from voice2face_gan.data.records import Record
from voice2face_gan.errors import DataError

RAW, CROP, ALIGNED = "raw", "crop", "aligned"
"""Kinds of images: photos or video frames in which a face must be found; crops that a face fills
loosely, to be found and aligned again; faces aligned already, that need resizing alone."""

WEN, OFFICIAL, SEEDED = "wen-letters", "official", "seeded"
"""Default splits of layouts; see `voice2face_gan.data.splits`."""

SF2F = "sf2f"
"""Value of the option `split` of VoxCeleb's layouts: the sides of SF2F, by row number of the metadata."""


@dataclass(frozen=True)
class RawRecord(Record):
    """A record as a layout yields it: `voice` and `face` are absolute paths, or name a cell of a parquet file
    (data/parquet_cells.py).

    A clip with sound and images (a video) is named by both `voice` and `face`, the same path.

    Attributes:
        group: the video a clip was cut from, or "": clips of one group must not be on both sides of a split.
        face_at: centre of the speaker's face in the image as (x, y), each from 0 to 1 from the top left, or
            None: selects one of several faces.
    """

    group: str = ""
    face_at: tuple[float, float] | None = None


@dataclass(frozen=True)
class Option:
    """An option of a layout.

    Attributes:
        default: its value if not given; its type is the option's type.
        help: one line.
        choices: the values allowed, or () for any.
        later: it came when there were stores already, so at its default a store's fingerprint leaves it out.
    """

    default: str | bool
    help: str
    choices: tuple[str, ...] = ()
    later: bool = False

    def is_old_way(self, value: str | bool) -> bool:
        """True if a value is what was done before the option came."""
        return self.later and value == self.default


@dataclass
class JoinReport:
    """Identities of a data set by what they have; all lists are sorted names.

    Attributes:
        both: have voices and faces.
        voice_only, face_only: have one of them. Of a joined set these are left out unless asked for.
        unknown_gender: those among all of the above whose gender is not known.
        not_in_metadata: have files, but the metadata do not name them.
        no_files: the metadata name them, but no file was found.
        respelt: (name, name) of two sets that are one identity though spelt differently (case, accents, ...).
        near_misses: (name, name) without a match that look alike; worth a look, not joined.
    """

    both: list[str] = field(default_factory=list)
    voice_only: list[str] = field(default_factory=list)
    face_only: list[str] = field(default_factory=list)
    unknown_gender: list[str] = field(default_factory=list)
    not_in_metadata: list[str] = field(default_factory=list)
    no_files: list[str] = field(default_factory=list)
    respelt: list[tuple[str, str]] = field(default_factory=list)
    near_misses: list[tuple[str, str]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """The length of every list, by its name."""
        return {name: len(names) for name, names in vars(self).items()}

    def lines(self, show: int = 5) -> list[str]:
        """The report as text: a line for each list that is not empty, with at most `show` names."""
        titles = {
            "both": "identities with voices and faces",
            "voice_only": "with voices alone",
            "face_only": "with faces alone",
            "unknown_gender": "of unknown gender",
            "not_in_metadata": "not in the metadata",
            "no_files": "in the metadata without files",
            "respelt": "joined though spelt differently",
            "near_misses": "not joined, but alike",
        }
        lines = []
        for name, title in titles.items():
            found = getattr(self, name)
            if found:
                shown = ", ".join(n if isinstance(n, str) else " ~ ".join(n) for n in found[:show])
                more = ", ..." if len(found) > show else ""
                lines.append(f"{len(found)} {title}" + ("" if name == "both" else f": {shown}{more}"))
        return lines


class Layout:
    """A data set's layout on disk. Subclasses say what it is in class attributes and yield its records.

    Attributes:
        name: on the command line.
        description: one line, with the tree that is expected.
        sources: what the SRC arguments of `prepare` mean, one entry an argument; optional ones end in "?".
        face_state: "raw", "crop" or "aligned" (above).
        voices_are_mels: voices are log-mels in .npy files instead of recordings.
        split_rule: "wen-letters", "official" or "seeded", the default.
        options: what `records` and `report` take by keyword.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    sources: ClassVar[tuple[str, ...]] = ("folder",)
    face_state: ClassVar[str] = RAW
    voices_are_mels: ClassVar[bool] = False
    split_rule: ClassVar[str] = SEEDED
    options: ClassVar[dict[str, Option]] = {}

    def recognises(self, folder: Path) -> bool:
        """True if a folder looks like this data set, by the top of its tree. Every layout needs one."""
        raise NotImplementedError

    def records(self, sources: Sequence[str | Path], **options) -> Iterator[RawRecord]:
        """The records, sorted and the same every time, all of an identity in a row (of tables of rows, as far
        as the rows are).

        Args:
            sources: the SRC arguments.
            **options: see `options`.
        Raises:
            DataError: a source is missing, metadata are missing or malformed, an option is unknown: at once,
                before the first record.
        """
        folders = self._check_sources(sources)
        return self._records(folders, **self.check_options(options))

    def report(self, sources: Sequence[str | Path], **options) -> JoinReport:
        """Report of the join. Lists folders or reads tables, opens no media.

        Raises:
            DataError: as `records`.
        """
        return self._report(self._check_sources(sources), **self.check_options(options))

    def notes(self, sources: Sequence[str | Path], **options) -> list[str]:
        """Sentences for the user on what the layout had to assume of this set. Cheap: lists no records.

        Raises:
            DataError: as `records`.
        """
        return []

    def rule(self, options: dict) -> str:
        """The split rule if nobody says otherwise, with these options."""
        return OFFICIAL if options.get("split") == SF2F else self.split_rule

    def check_options(self, options: dict) -> dict:
        """All options with their values; words for true and false are read as such.

        Raises:
            DataError: an option does not exist or cannot have this value.
        """
        values = {name: option.default for name, option in self.options.items()}
        for name, value in options.items():
            option = self.options.get(name)
            if option is None:
                known = ", ".join(self.options) or "none"
                raise DataError(f"the layout {self.name} has no option '{name}'; it has: {known}.")
            values[name] = self._option_value(name, option, value)
        return values

    def _option_value(self, name: str, option: Option, value) -> str | bool:
        if isinstance(option.default, bool):
            words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            word = str(value).strip().lower()
            if word not in words:
                raise DataError(f"the option {name} of the layout {self.name} is yes or no, not '{value}'.")
            return words[word]
        if option.choices and value not in option.choices:
            raise DataError(
                f"the option {name} of the layout {self.name} is one of {', '.join(option.choices)}, "
                f"not '{value}'."
            )
        return str(value)

    def _check_sources(self, sources: Sequence[str | Path]) -> list[Path]:
        """The sources as absolute paths that exist, as many as there may be."""
        needed = [s for s in self.sources if not s.endswith("?")]
        usage = " ".join(s.removesuffix("?") if s in needed else f"[{s[:-1]}]" for s in self.sources)
        if not len(needed) <= len(sources) <= len(self.sources):
            raise DataError(f"the layout {self.name} takes {usage}; {len(sources)} given.")
        paths = [Path(source).expanduser().absolute() for source in sources]
        for path in paths:
            if not path.exists():
                raise DataError(
                    f"{path}: there is no such file or folder; the layout {self.name} takes {usage}."
                )
            refuse_parts(path)
        if not paths[0].is_dir():
            raise DataError(f"{paths[0]}: is not a folder; the layout {self.name} takes {usage}.")
        return paths

    def _records(self, sources: list[Path], **options) -> Iterator[RawRecord]:
        """As `records`, with sources and options checked: reads metadata at once, then streams."""
        raise NotImplementedError

    def _report(self, sources: list[Path], **options) -> JoinReport:
        """From the records themselves: for layouts whose records are rows of a table."""
        voices: set[str] = set()
        faces: set[str] = set()
        known: set[str] = set()
        for record in self._records(sources, **options):
            for names, there in ((voices, record.voice), (faces, record.face), (known, record.gender)):
                if there:
                    names.add(record.identity)
        return JoinReport(
            both=sorted(voices & faces),
            voice_only=sorted(voices - faces),
            face_only=sorted(faces - voices),
            unknown_gender=sorted((voices | faces) - known),
        )
