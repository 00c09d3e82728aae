"""Paths of files installed with the package: default weights, sample clips (assets), recipes; and the cache.

`assets/` and `experiments/` stay at the top of the repository and are installed as
`voice2face_gan/assets` and `voice2face_gan/recipes`. A wheel or a strict editable install has them inside
the package, an ordinary editable install or a bare checkout beside it: they are searched in that order.
"""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PLACES = {
    "assets": (_PACKAGE / "assets", _PACKAGE.parent / "assets"),
    "recipes": (_PACKAGE / "recipes", _PACKAGE.parent / "experiments"),
}


def resource(kind: str, name: str) -> Path:
    """Path of an installed file or folder, whether or not it exists.

    Args:
        kind: "assets" or "recipes".
        name: its path below that folder, with forward slashes.
    """
    candidates = [place / name for place in _PLACES[kind]]
    return next((path for path in candidates if path.exists()), candidates[-1])


def resources(kind: str, pattern: str) -> list[Path]:
    """All installed files of a kind that match a glob pattern, sorted by name."""
    for place in _PLACES[kind]:
        found = sorted(place.glob(pattern))
        if found:
            return found
    return []


def cache_folder() -> Path:
    """Folder of files that can be made again: $V2F_CACHE, or voice2face_gan in $XDG_CACHE_HOME or
    ~/.cache."""
    if os.environ.get("V2F_CACHE"):
        return Path(os.environ["V2F_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "voice2face_gan"
