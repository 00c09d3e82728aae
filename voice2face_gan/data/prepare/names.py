"""Names of identities: equal and nearly equal spellings.

VoxCeleb writes "A.J._Buckley", VGGFace a folder "AJ_Buckley", a list "A. J. Buckley": one identity. What
differs between sets are case, accents (composed or not), and what stands between the letters.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

# Letters that Unicode does not take apart into a base letter and an accent.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h"}
)


def normalise_name(name: str) -> str:
    """A name without case, accents, spaces, underscores, hyphens, apostrophes and dots.

    Equal results mean one name. Letters of every script are kept: "Ёлка" and "李冰冰" stay themselves (less
    accents). A name without letters or digits is returned stripped.
    """
    return "".join(_words(name)) or name.strip()


def first_letter(name: str) -> str:
    """The first letter of a name as A-Z, or "" if it starts with another sign: "E" of "Éva_Green"."""
    letter = normalise_name(name)[:1].upper()
    return letter if "A" <= letter <= "Z" else ""


def near_names(left: Iterable[str], right: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs that one letter added, removed or changed makes equal, or that have the same words in other
    order.

    Two names are one letter apart if and only if taking one letter (or none) from each can make them equal in
    the same place; names of fewer than five letters are too often near by chance and are not compared.
    """
    shapes = defaultdict(list)
    for name in left:
        for shape in _shapes(name):
            shapes[shape].append(name)
    return sorted(
        {(name, other) for other in right for shape in _shapes(other) for name in shapes.get(shape, ())}
    )


def _words(name: str) -> list[str]:
    flat = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    flat = "".join(c for c in flat if not unicodedata.combining(c)).translate(_LETTERS)
    return re.findall(r"[^\W_]+", flat)


def _shapes(name: str) -> set[tuple[str, int]]:
    """Keys that near names share: the letters with one left out, and where; the words, sorted (place -2)."""
    words = _words(name)
    key = "".join(words)
    if len(key) < 5:
        return set()
    changed = {(key[:i] + key[i + 1 :], i) for i in range(len(key))}
    # One letter more or less: the longer name with letter i left out is the shorter one itself.
    added = {(key, i) for i in range(len(key) + 1)}
    return changed | added | {("".join(sorted(words)), -2)}
