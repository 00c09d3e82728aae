"""Plain data that others hand on: `Generation` of one clip, `Figure` of one metric, and how a run's
evaluation.jsonl is read. Importing it loads nothing else of this package.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

    from voice2face_gan.audio.decoding.info import AudioInfo

FILE = "evaluation.jsonl"


@dataclass
class Generation:
    """What was made of one clip.

    Attributes:
        name: the clip, as messages call it.
        seconds: length of the recording.
        speech_seconds: speech found in it.
        female: probability that the data's gender label would be "female"; None if the model cannot tell.
        faces: one PIL image a variant, RGB, with text metadata for PNG in `.info`.
        warning: a sentence about the clip, or "".
        speech: probability that somebody speaks, rather than noise, machines, music or animals being heard.
        child: probability that the voice is a child's.
        several: probability that more than one person speaks, in turn; these three are None if the model
            cannot tell.
        audio: which sound track and channels were decoded, and how loud they are; None where nothing was
            decoded.
        speech_level_db: mean level of the speech found, dB relative to a mean square of 1; None for digital
            silence.
    """

    name: str
    seconds: float
    speech_seconds: float
    female: float | None
    faces: list[Image.Image]
    warning: str = ""
    speech: float | None = None
    child: float | None = None
    several: float | None = None
    audio: AudioInfo | None = None
    speech_level_db: float | None = None


@dataclass
class Figure:
    """One number.

    Attributes:
        value: the number.
        unit: of value, low and high; "" where it has none.
        low, high: 95 % interval, resampling identities; None where none is given.
        n: how many things it was computed on, and of what kind `counted` says.
        chance: what guessing gives, None where that means nothing.
        protocol: one sentence: what was compared with what, and through which network.
    """

    value: float
    n: int
    counted: str
    protocol: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    chance: float | None = None

    def to_dict(self) -> dict:
        """For JSON: a number that is not finite becomes None."""
        return {k: _plain(v) for k, v in asdict(self).items()}


def _plain(value):
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


Results = dict[str, dict[str, Figure]]
"""Metric -> figure's name -> figure."""


def read_records(run: Path | None) -> list[dict]:
    """The records of a run, oldest first; lines that are none (cut off, foreign) are passed over."""
    return [line for line in read_lines(run, FILE) if isinstance(line.get("metrics"), dict)]


def read_lines(run: Path | None, name: str, tail: int | None = None) -> list[dict]:
    """The JSON objects in a file of lines below a run folder, or in its last `tail` bytes; [] where there is
    none, or no run."""
    if run is None:
        return []
    try:
        with (run / name).open("rb") as file:
            if tail is not None:
                file.seek(max(0, os.fstat(file.fileno()).st_size - tail))
            lines = file.read().splitlines()
    except OSError:
        return []
    return [entry for line in lines if (entry := json_object(line)) is not None]


def json_object(text: bytes) -> dict | None:
    """A JSON object, None where the text is none (cut off, foreign)."""
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def results_of(record: dict) -> Results:
    """The figures of a record; what is no figure is passed over."""
    results: Results = {}
    for name, figures in record["metrics"].items():
        entries = figures.items() if isinstance(figures, dict) else ()
        read = {str(k): figure for k, entry in entries if (figure := _figure(entry)) is not None}
        if read:
            results[name] = read
    return results


def _figure(entry) -> Figure | None:
    known = {f.name for f in fields(Figure)}
    try:
        given = {k: v for k, v in entry.items() if k in known}
        value = float("nan") if given["value"] is None else float(given["value"])
        figure = Figure(**{**given, "value": value, "n": int(given["n"])})
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    texts = (figure.counted, figure.protocol, figure.unit)
    numbers = (figure.low, figure.high, figure.chance)
    fine = all(isinstance(t, str) for t in texts) and all(x is None or _is_number(x) for x in numbers)
    return figure if fine else None


def _is_number(x) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)
