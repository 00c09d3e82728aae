"""Which file a clip's picture goes to.

    -o face.png     one clip            face.png; with variants face-1.png, face-2.png, ...
    -o FOLDER       one clip or many    FOLDER/<stem>.png; with variants FOLDER/<stem>-1.png, ...
    (no -o)                             as with the current folder

Clips with the same stem get their parent folder's name in front; if that is not enough (a.wav and a.mp3 in
one folder), the clip's ending is kept, then further parents are added. Names are compared without case,
since some file systems do not tell it apart.
"""

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
    names = {clip: Path(clip).stem for clip in clips}
    parents = {clip: Path(clip).absolute().parent.parts for clip in clips}
    deepest = max((len(p) for p in parents.values()), default=0)
    for attempt in range(deepest + 1):
        counts = Counter(name.casefold() for name in names.values())
        clashing = [clip for clip in clips if counts[names[clip].casefold()] > 1]
        if not clashing:
            break
        for clip in clashing:
            if attempt == 0:
                names[clip] = _prefixed(names[clip], parents[clip], 1)
            elif attempt == 1:
                names[clip] = _prefixed(Path(clip).name, parents[clip], 1)
            else:
                names[clip] = _prefixed(names[clip], parents[clip], attempt)
    return names


def _prefixed(name: str, parents: tuple[str, ...], depth: int) -> str:
    """The name of the parent folder `depth` levels up in front, where there is one that has a name."""
    if depth >= len(parents):  # parts[0] is the root, which has no name
        return name
    return f"{parents[-depth]}-{name}"
