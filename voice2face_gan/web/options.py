"""Form fields of a request -> options of a call of the pipeline."""

import math
from dataclasses import dataclass, field

from voice2face_gan.web.limits import Limits
from voice2face_gan.web.refusal import Refusal

MAX_SEED = 2**53 - 1  # JavaScript counts no further
MAX_SIDE = 1024
MAX_TRACK, MAX_SECONDS = 1000, 10**6
GENDERS = ("auto", "female", "male")
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


@dataclass
class Fields:
    """What a form asked for.

    Attributes:
        checkpoint: id, None for the first.
        details: envelope, speech and log-mel are wanted too.
        steps: images of a morph.
        part: track, start and end that were given.
        options: options of `generate` that were given.
    """

    checkpoint: str | None = None
    details: bool = False
    steps: int = 7
    part: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)


def read_fields(given: dict[str, str], allowed: tuple[str, ...], limits: Limits) -> Fields:
    """The fields of a form; an empty one counts as not given.

    Args:
        given: name -> text.
        allowed: names that the route takes.
        limits: of variants and steps.
    Raises:
        Refusal: 400 for an unknown field, or a value out of its range.
    """
    ranges = {
        "variants": lambda t: _integer(t, 1, limits.variants),
        "seed": lambda t: _integer(t, 0, MAX_SEED),
        "size": lambda t: _integer(t, 8, MAX_SIDE),
        "steps": lambda t: _integer(t, 2, limits.morph_steps),
        "track": lambda t: _integer(t, 1, MAX_TRACK),
        "strength": lambda t: _number(t, 0, 10),
        "noise_scale": lambda t: _number(t, 0, 10),
        "start": lambda t: _number(t, 0, MAX_SECONDS),
        "end": lambda t: _number(t, 0, MAX_SECONDS),
        "gender": lambda t: _one_of(t, GENDERS),
        "details": lambda t: _one_of(t.lower(), TRUE + FALSE) in TRUE,
        "checkpoint": lambda t: t,
    }
    found = Fields()
    for name, text in given.items():
        if name not in allowed:
            names = ", ".join(allowed)
            raise Refusal(400, f"There is no field '{name[:40]}' here; known are audio, {names}.")
        if not text.strip():
            continue
        try:
            value = ranges[name](text.strip())
        except ValueError as error:
            raise Refusal(400, f"{name} is '{text[:40]}'; give {error}.") from None
        if name in ("track", "start", "end"):
            found.part[name] = value
        elif name in ("checkpoint", "details", "steps"):
            setattr(found, name, value)
        else:
            found.options[name] = value
    return found


def _integer(text: str, low: int, high: int) -> int:
    try:
        value = int(_plain(text))
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise ValueError(f"a whole number from {low} to {high}")
    return value


def _number(text: str, low: float, high: float) -> float:
    try:
        value = float(_plain(text))
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ValueError(f"a number from {low} to {high}")
    return value


def _plain(text: str) -> str:
    """A number's text, without the spellings of Python alone."""
    if "_" in text or not text.isascii():
        raise ValueError
    return text


def _one_of(text: str, known: tuple[str, ...]) -> str:
    if text not in known:
        raise ValueError("one of " + ", ".join(x for x in known if x))
    return text
