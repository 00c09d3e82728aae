"""Finding files: by ending, sorted, one folder at a time, whatever the size of the set."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

AUDIO = frozenset((".wav", ".m4a", ".aac", ".mp3", ".flac", ".ogg", ".opus", ".wma", ".aif", ".aiff", ".amr"))
VIDEO = frozenset((".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v"))
IMAGE = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".avif",
        ".heic",
        ".heif",
    )
)
MEL = frozenset((".npy",))
_MAX_DEPTH = 8  # folders within folders: ends a loop of symbolic links, and is more than any set has


def suffix(path: Path | str) -> str:
    """The ending in lower case: ".jpg" of "a/B.JPG"."""
    return os.path.splitext(path)[1].lower()


def is_hidden(name: str) -> bool:
    """Names that no data set means: ".DS_Store", the "._clip.wav" of a Mac's archives, "__MACOSX"."""
    return name.startswith(".") or name == "__MACOSX"


def subfolders(folder: Path) -> list[Path]:
    """Folders right below a folder, sorted by name; [] if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name)]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def files(folder: Path | str, endings: frozenset[str], depth: int = _MAX_DEPTH) -> Iterator[str]:
    """Paths of files with one of the endings below a folder, in sorted order: a folder's files, then its
    folders.

    Strings, as a `Path` costs more than all else in a set of a million files. Of files in one folder that
    differ in nothing but an audio ending (00001.m4a, and the 00001.wav made of it) the .wav is taken, so that
    a clip is not counted twice.
    """
    below: list[str] = []
    names: list[tuple[str, str, str]] = []  # whole, without ending, ending
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, ending = os.path.splitext(entry.name)
                ending = ending.lower()
                if is_hidden(entry.name):
                    continue
                if entry.is_dir():
                    below.append(entry.path)
                elif ending in endings:
                    names.append((entry.path, stem, ending))
    except OSError:
        return
    waves = {stem for _, stem, ending in names if ending == ".wav"}
    for path, stem, ending in sorted(names):
        if ending == ".wav" or ending not in AUDIO or stem not in waves:
            yield path
    if depth > 0:
        for path in sorted(below):
            yield from files(path, endings, depth - 1)


def has_files(folder: Path, endings: frozenset[str], depth: int = _MAX_DEPTH) -> bool:
    return next(files(folder, endings, depth), None) is not None


def find_level(root: Path, wanted: Callable[[str], bool], depth: int = 3) -> list[Path]:
    """Folders called as wanted and those beside them, wherever below `root` they start.

    So `wav/`, `dev/` or `train/` above the folders that matter may be there or not.

    Args:
        root: where to look.
        wanted: returns True for names that are looked for ("id10001", an identity of the metadata).
        depth: levels to look down; `root` itself holds the first.
    Returns:
        Sorted folders; [] if no name is wanted anywhere.
    """
    found: list[Path] = []
    level = [root]
    for _ in range(depth + 1):
        deeper: list[Path] = []
        for parent in level:
            below = subfolders(parent)
            (found if any(wanted(folder.name) for folder in below) else deeper).extend(below)
        level = deeper
    return sorted(found)


def relative(path: str, root: Path) -> str:
    """A file's name in its data set: its path below `root` with forward slashes on every system."""
    return path[len(str(root)) + 1 :].replace(os.sep, "/")
