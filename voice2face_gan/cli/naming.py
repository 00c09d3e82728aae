"""Which file a clip's picture goes to.

    -o face.png     one clip            face.png; with variants face-1.png, face-2.png, ...
    -o FOLDER       one clip or many    FOLDER/<stem>.png; with variants FOLDER/<stem>-1.png, ...
    (no -o)                             as with the current folder

Clips with the same stem get their parent folder's name in front; if that is not enough (a.wav and a.mp3 in
one folder), the clip's ending is kept, then further parents are added, in the end a number. Names are
compared without case, since some file systems do not tell it apart.
"""

import itertools
import os
from collections import Counter
from pathlib import Path

from voice2face_gan.errors import OutputError

_OTHER_PICTURES = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


def picture_names(clips: list[str], output: str | None, variants: int) -> dict[str, list[Path]]:
    """Clip -> its files, one a variant. `clips` must not hold a clip twice.

    Raises:
        OutputError: -o names one file for several clips, or a picture format other than PNG.
    """
    folder, name = _split(output)
    if name is not None:
        if len(clips) > 1:
            raise OutputError(
                f"-o {output} is one picture, but {len(clips)} clips are given; give a folder, or add --grid."
            )
        return {clips[0]: _variants(folder / name, variants)}
    stems = _distinct(clips)
    return {clip: _variants(folder / f"{stems[clip]}.png", variants) for clip in clips}


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
    folder, name = _split(output)
    return folder / (name or "grid.png")


def _split(output: str | None) -> tuple[Path, str | None]:
    """-o as (folder, file name or None)."""
    path = Path(output or ".").expanduser()
    if path.is_dir():
        return path, None
    if path.suffix.lower() in _OTHER_PICTURES:
        raise OutputError(
            f"-o {output}: pictures are written as PNG; give a name that ends in .png or a folder."
        )
    if path.suffix.lower() == ".png":
        return path.parent, path.name
    if path.exists():
        raise OutputError(f"-o {output} is a file that exists; give a folder or a name that ends in .png.")
    return path, None


def _variants(path: Path, variants: int) -> list[Path]:
    if variants == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{k}.png") for k in range(1, variants + 1)]


def _distinct(clips: list[str]) -> dict[str, str]:
    """Clip -> its stem, longer where two would be equal. What two are called does not depend on the order."""
    parents = {clip: Path(os.path.abspath(clip)).parent.parts[1:] for clip in clips}  # without the root
    level = dict.fromkeys(clips, 0)
    while True:
        names = {clip: _name(clip, parents[clip], level[clip]) for clip in clips}
        counts = Counter(name.casefold() for name in names.values())
        longer = [
            c for c in clips if counts[names[c].casefold()] > 1 and level[c] < max(2, len(parents[c]) + 1)
        ]
        if not longer:
            break
        for clip in longer:
            level[clip] += 1
    taken = set(counts)
    for clip in sorted(clips):  # a.wav and A.wav in one folder: nothing but a number is left
        if counts[names[clip].casefold()] > 1:
            counts[names[clip].casefold()] -= 1
            number = next(n for n in itertools.count(2) if f"{names[clip]}-{n}".casefold() not in taken)
            names[clip] = f"{names[clip]}-{number}"
            taken.add(names[clip].casefold())
    return names


def _name(clip: str, parents: tuple[str, ...], level: int) -> str:
    """stem, parent-stem, parent-stem.ending, grandparent-parent-stem.ending, ..."""
    path = Path(clip)
    depth = max(1, level - 1) if level else 0
    return "-".join([*parents[len(parents) - depth :], path.name if level > 1 else path.stem])
