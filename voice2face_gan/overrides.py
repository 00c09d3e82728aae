"""Settings given as text: `--set KEY=VALUE` of recipes and of preparation, and their types."""

import difflib
import math
import tomllib
from collections.abc import Iterable

LARGEST = 2**31
"""What whole numbers must stay below."""

_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple: "a list",
    dict: "a table",
}


def split_override(text: str) -> tuple[str, object]:
    """A key and its value, of "key=value".

    The value is read as TOML. A bare word is text: data.split=all.

    Raises:
        ValueError: there is no equals sign, or no key before it.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not all(key.split(".")):
        raise ValueError(text)
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a sentence about an unknown word: the known one it may stand for, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean '{prefix}{near[0]}'?" if near else f"known are {', '.join(known)}."


def typed(value, default, any_length: bool = False):
    """`value` in the type of a key's default; whole numbers pass as floats, lists as tuples.

    Args:
        value: as TOML or JSON gives it.
        default: of the key. A tuple that is empty is one of floats.
        any_length: a tuple may be longer or shorter than the default.
    Raises:
        ValueError: "must be ..., not VALUE": it is of another type, not finite, too large, or a list of
            another length.
    """
    wanted = type(default)
    if type(value) is int and abs(value) >= LARGEST:
        raise ValueError(f"must be below {LARGEST}")
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is float and type(value) is float and not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {value}")
    if wanted is tuple and isinstance(value, (list, tuple)):
        if len(value) != len(default) and not any_length:
            raise ValueError(f"must be {len(default)} numbers, not {list(value)}")
        return tuple(typed(item, default[0] if default else 0.0) for item in value)
    if type(value) is not wanted:
        raise ValueError(f"must be {_KINDS[wanted]}, not {value!r}")
    return value
