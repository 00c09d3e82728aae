"""Clips from the arguments of `generate` and `embed`: files, folders and standard input.

A file that is an argument is a clip: it succeeds or fails. In a folder the files with the ending of a
recording are clips, and of all others those that open as a recording with sound: notes and images beside the
clips are skipped and counted, a broken .wav fails.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from voice2face_gan.cli._output_paths import STANDARD_INPUT, tree_paths
from voice2face_gan.cli._streams import standard_input
from voice2face_gan.errors import AudioError, VoiceToFaceError

RECORDINGS = frozenset().union(
    (".wav", ".wave", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc", ".flac"),
    (".alac", ".ape", ".wv", ".tta", ".mp3", ".mp2", ".mpga", ".m4a", ".m4b", ".m4r", ".aac", ".ogg", ".oga"),
    (".opus", ".spx", ".weba", ".mka", ".wma", ".ac3", ".eac3", ".dts", ".ra", ".rm", ".amr", ".awb", ".3ga"),
    (".gsm", ".qcp", ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".wmv", ".asf", ".flv", ".f4v", ".mpg"),
    (".mpeg", ".mts", ".m2ts", ".vob", ".ogv", ".3gp", ".3g2", ".mxf"),
)
"""Endings of recordings; a broken file with one of them fails."""

IMAGES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
    + (".avif", ".heic", ".heif")
)
"""Endings of images."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|www\.\S|(m\.)?youtube\.com/|youtu\.be/", re.IGNORECASE)


class ClipsCommand(click.Command):
    """Command that accepts a clip whose name begins with "-", as video ids do.

    Such an argument is a clip where a file of that name lies in the current folder; otherwise it is an
    option.
    "-" alone is standard input."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for option in self.params for name in option.opts} | {STANDARD_INPUT}
        args = [f"./{a}" if a.startswith("-") and a not in own and Path(a).is_file() else a for a in args]
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class Clip:
    """A file that may be a recording (or, for `embed --faces`, an image).

    Attributes:
        name: name in messages and results: the path, or "standard input".
        argument: the argument that names it, or its folder.
        place: path below the argument's folder without the ending, the name of its result; None for a file.
        sure: True for an argument or a recording's ending: it fails, and is not skipped, if it cannot be
            read.
    """

    name: str
    argument: str
    place: str | None = None
    sure: bool = True

    def source(self) -> Any:
        """The source to open: a path, or a file object of standard input.

        Raises:
            AudioError: it is an address; or standard input is empty or a terminal.
        """
        if self.argument == STANDARD_INPUT:
            return standard_input()
        if self.place is None:
            refuse_address(self.name)
        return self.name


@dataclass
class Arguments:
    """Arguments sorted into files and folders.

    Attributes:
        given: each argument once, in their order; folders inside other given folders are left out.
        folders: the folders among them.
    """

    given: list[str]
    folders: list[str]
    endings: frozenset[str] = RECORDINGS

    @classmethod
    def of(cls, arguments: tuple[str, ...], endings: frozenset[str] = RECORDINGS) -> "Arguments":
        """Sort arguments; a file given twice, in two spellings (a.wav, ./a.wav), is one clip."""
        kept = {a if a == STANDARD_INPUT else os.path.abspath(a): a for a in reversed(arguments)}
        given = list(kept.values())[::-1]
        real = {a: os.path.realpath(a) for a in given if a != STANDARD_INPUT and os.path.isdir(a)}
        outermost: dict[str, str] = {}  # real path -> argument
        for argument, path in sorted(real.items(), key=lambda item: len(item[1])):
            if outermost.keys().isdisjoint((path, *map(str, Path(path).parents))):
                outermost[path] = argument
        folders = set(outermost.values())
        given = [a for a in given if a not in real or a in folders]
        return cls(given, [a for a in given if a in folders], endings)

    @property
    def files(self) -> list[str]:
        folders = set(self.folders)
        return [a for a in self.given if a not in folders]

    def clips(self, output: Path | None, failed: Callable[[str, VoiceToFaceError], None]) -> Iterator[Clip]:
        """The clips, in the arguments' order; in a folder a folder's files, then its subfolders, sorted.

        A folder is read when its turn comes. Each is read once, however many links lead to it. Hidden files
        and folders are left out.

        Args:
            output: folder that results go to; it is not read where it lies inside a given folder.
            failed: called for a folder that cannot be read, and for a given one without files.
        """
        seen: set[tuple[int, int]] = set()
        files = self.files
        named, single = {os.path.abspath(file) for file in files}, set(files)
        for argument in self.given:
            if argument in single:
                yield Clip("standard input" if argument == STANDARD_INPUT else argument, argument)
                continue
            found = False
            for below, names in _tree(argument, output, failed, seen):
                stems = tree_paths(names, self.endings)
                for name in names:
                    found = True
                    path = os.path.join(argument, below, name)
                    if os.path.abspath(path) not in named:
                        sure = os.path.splitext(name)[1].lower() in self.endings
                        yield Clip(path, argument, os.path.join(below, stems[name]), sure)
            if not found:
                kind = "images" if self.endings is IMAGES else "recordings"
                sentence = f"{argument}: there are no files in this folder; give one with {kind}."
                failed(argument, AudioError(sentence))

    def count(self, output: Path | None) -> int:
        """Number of files that `clips` gives; takes the time of listing the folders."""
        return sum(1 for _ in self.clips(output, lambda *_: None))


def _tree(
    root: str, output: Path | None, failed, seen: set[tuple[int, int]]
) -> Iterator[tuple[str, list[str]]]:
    """(path below the root, names of the files in it) of a folder and all below it that is not in `seen`."""
    left_out = None if output is None else os.path.realpath(output)
    folders = [""]
    while folders:
        below = folders.pop()
        path = os.path.join(root, below) if below else root
        if below and os.path.realpath(path) == left_out:
            continue
        try:
            about = os.stat(path)
            if (about.st_dev, about.st_ino) in seen:  # a link back, or a second link
                continue
            seen.add((about.st_dev, about.st_ino))
            files, inner = _listed(path)
        except OSError as error:
            failed(path, AudioError(f"{path}: cannot be read ({error.strerror or error})."))
            continue
        yield below, files
        folders.extend(os.path.join(below, name) for name in reversed(inner))


def _listed(path: str) -> tuple[list[str], list[str]]:
    """Sorted names of the files and of the folders in a folder, without hidden ones, pipes and devices.

    A broken link counts as a file: it fails under its name.
    """
    files, folders = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):
                files.append(entry.name)
    return sorted(files), sorted(folders)


def refuse_address(argument: str) -> None:
    """Refuse an address.

    Raises:
        AudioError: the argument is an address and no file of that name exists.
    """
    if _ADDRESS.match(argument) and not os.path.lexists(argument):
        if argument.lower().startswith("file:"):
            raise AudioError(f"{argument}: is an address; give the path alone, without file://.")
        raise AudioError(
            f"{argument}: is an address, and nothing is fetched from the network; download it first "
            "(curl -O ADDRESS, or yt-dlp -x ADDRESS for videos) and give the file."
        )
