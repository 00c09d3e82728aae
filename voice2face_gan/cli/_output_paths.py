"""Paths of the images of clips.

    -o face.png     one clip            face.png; with variants face-1.png, face-2.png, ...
    -o FOLDER       one clip or many    FOLDER/<stem>.png; with variants FOLDER/<stem>-1.png, ...
    (no -o)                             as with the current folder
    -o -            one clip            standard output

Clips with the same stem get their parent folder's name in front. If that is not enough (a.wav and a.mp3 in
one folder), the clip's ending is kept, then further parents are added, in the end a number. Names are
compared without case, since some file systems ignore it.

A folder of clips keeps its subfolders: rec/x/a.wav of `generate rec -o faces` goes to faces/x/a.png. Of
several arguments each folder goes to a folder of its own: `generate rec more a.wav -o faces` writes to
faces/rec, faces/more and faces/a.png. Inside, a.wav and a.mp3 in one folder keep their endings (a.wav.png,
a.mp3.png).
"""

import itertools
import os
from collections import Counter
from pathlib import Path

from voice2face_gan.errors import OutputError

STANDARD_INPUT = "-"
"""The argument that means standard input; its stem is "stdin"."""

STANDARD_OUTPUT = Path("/dev/stdout")
"""The file of `-o -`."""

_OTHER_PICTURES = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


def image_names(clips: list[str], output: str | None, variants: int) -> dict[str, list[Path]]:
    """Clip -> its files, one a variant. `clips` must not hold a clip twice.

    Raises:
        OutputError: -o names one file for several clips, or an image format other than PNG.
    """
    if output == "-":
        if len(clips) > 1 or variants > 1:
            raise OutputError(
                "-o - writes one image to standard output, and several are asked for; "
                "give one clip, or add --grid for one image of all."
            )
        return {clips[0]: [STANDARD_OUTPUT]}
    folder, name = _split(output)
    if name is not None:
        if len(clips) > 1:
            raise OutputError(
                f"-o {output} is one image, but {len(clips)} clips are given; give a folder, or add --grid."
            )
        return {clips[0]: variant_paths(folder / name, variants)}
    stems = _stems(clips)
    return {clip: variant_paths(folder / f"{stems[clip]}.png", variants) for clip in clips}


def together_names(output: str | None, stem: str, variants: int) -> list[Path]:
    """The files of one face from several clips: -o, or STEM.png in the folder that -o names."""
    if output == "-":
        return image_names([stem], output, variants)[stem]
    folder, name = _split(output)
    return variant_paths(folder / (name or f"{stem}.png"), variants)


def output_folder(output: str | None) -> Path:
    """The folder for the images of a folder of clips.

    Raises:
        OutputError: -o names one file, or standard output.
    """
    folder, name = (None, output) if output == "-" else _split(output)
    if name is not None:
        raise OutputError(
            f"-o {output} is one image, but a folder of clips is given; give a folder, or add --grid."
        )
    return folder


def tree_paths(names: list[str], recordings: frozenset[str]) -> dict[str, str]:
    """File names of one folder -> the stems of their images.

    Args:
        names: of the files in it.
        recordings: endings of recordings, in lower case. Other files keep their whole name, so that notes
            beside a clip (a.wav, a.txt) do not change what the clip's image is called.
    """
    short = {n: Path(n).stem if Path(n).suffix.lower() in recordings else n for n in names}
    return _distinct(names, dict.fromkeys(names, ()), short, {n: n for n in names})


def folder_names(folders: list[str]) -> dict[str, str]:
    """Folders given as arguments -> names of their folders in the output.

    Where two names would be equal, their parents' names are put in front."""
    paths = {folder: Path(os.path.abspath(folder)) for folder in folders}
    names = {folder: path.name or "root" for folder, path in paths.items()}
    return _distinct(folders, {f: path.parent.parts[1:] for f, path in paths.items()}, names, names)


def variant_paths(path: Path, variants: int) -> list[Path]:
    """face.png -> itself, or face-1.png, face-2.png, ..."""
    if variants == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{k}.png") for k in range(1, variants + 1)]


def new_path(output: str, force: bool, mark: str | None) -> Path:
    """The folder or file that a command is about to write.

    Args:
        output: -o.
        force: it may replace what is there, if that is of the same kind (a folder may be empty).
        mark: a file that folders of its kind hold; None for a file.
    Raises:
        OutputError: something is there that is to be kept.
    """
    path = Path(output).expanduser()
    if not os.path.lexists(path):
        return path
    if not force:
        raise OutputError(f"{path} exists and is kept; add --force to replace it.")
    if mark is None and path.is_dir():
        raise OutputError(f"{path} is a folder, which --force does not replace with a file.")
    if mark is not None and (not path.is_dir() or (any(path.iterdir()) and not (path / mark).is_file())):
        raise OutputError(f"{path} holds no {mark}, so --force does not replace it; give another name.")
    return path


def grid_name(output: str | None) -> Path:
    """The file of `--grid`: -o, or grid.png in the folder -o names."""
    if output == "-":
        return STANDARD_OUTPUT
    folder, name = _split(output)
    return folder / (name or "grid.png")


def _split(output: str | None) -> tuple[Path, str | None]:
    """-o as (folder, file name or None)."""
    path = Path(output or ".").expanduser()
    if path.is_dir():
        return path, None
    if path.suffix.lower() in _OTHER_PICTURES:
        raise OutputError(
            f"-o {output}: images are written as PNG; give a name that ends in .png or a folder."
        )
    if path.suffix.lower() == ".png":
        return path.parent, path.name
    if path.exists():
        raise OutputError(f"-o {output} is a file that exists; give a folder or a name that ends in .png.")
    return path, None


def _stems(clips: list[str]) -> dict[str, str]:
    """Clip -> its stem, longer where two would be equal."""
    paths = {clip: Path("stdin" if clip == STANDARD_INPUT else clip) for clip in clips}
    parents = {
        clip: () if clip == STANDARD_INPUT else Path(os.path.abspath(clip)).parent.parts[1:]  # without root
        for clip in clips
    }
    short, full = ({c: getattr(p, part) for c, p in paths.items()} for part in ("stem", "name"))
    return _distinct(clips, parents, short, full)


def _distinct(
    keys: list[str], parents: dict[str, tuple[str, ...]], short: dict[str, str], full: dict[str, str]
) -> dict[str, str]:
    """Key -> its short name, longer where two would be equal. The names do not depend on the order."""
    level = dict.fromkeys(keys, 0)

    def name(key: str) -> str:
        """short, parent-short, parent-full, grandparent-parent-full, ..."""
        above = parents[key]
        depth = max(1, level[key] - 1) if level[key] else 0
        return "-".join([*above[max(0, len(above) - depth) :], (full if level[key] > 1 else short)[key]])

    while True:
        names = {key: name(key) for key in keys}
        counts = Counter(found.casefold() for found in names.values())
        longer = [
            k for k in keys if counts[names[k].casefold()] > 1 and level[k] < max(2, len(parents[k]) + 1)
        ]
        if not longer:
            break
        for key in longer:
            level[key] += 1
    taken = set(counts)
    for key in sorted(keys):  # a.wav and A.wav in one folder: nothing but a number is left
        if counts[names[key].casefold()] > 1:
            counts[names[key].casefold()] -= 1
            number = next(n for n in itertools.count(2) if f"{names[key]}-{n}".casefold() not in taken)
            names[key] = f"{names[key]}-{number}"
            taken.add(names[key].casefold())
    return names
