"""Plain data: `Generation` of one clip, `Figure` of one metric, and the reader of a run's evaluation.jsonl.

Importing it loads nothing else of this package.
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
    """The faces of one clip, and what was found in it.

    Attributes:
        name: the clip's name in messages.
        seconds: length of the recording.
        speech_seconds: length of the speech found in it.
        female: probability of the gender label "female"; None without a gender probe.
        faces: one PIL image a variant, RGB, with text metadata for PNG in `.info`.
        warning: a sentence about the clip, or "".
        speech: probability of speech, rather than of noise, machines, music or animals.
        child: probability that the voice is a child's.
        several: probability that several speakers take turns. These three are None without that probe.
        audio: sound track and channels that were decoded, and their level; None where nothing was decoded.
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

    def to_dict(self) -> dict:
        """Measurements of the recording, ready for JSON: all but the name and the images.

        Probabilities have four decimals, seconds three, the level one. `audio_tracks` and `audio_track` are
        there where the recording has several tracks, `audio_note` where the decoder left one.
        """
        level = self.speech_level_db
        return {
            "seconds": round(self.seconds, 3),
            "speech_seconds": round(self.speech_seconds, 3),
            "speech_level_db": None if level is None else round(level, 1),
            "female_probability": _rounded(self.female),
            "speech_probability": _rounded(self.speech),
            "child_probability": _rounded(self.child),
            "several_voices_probability": _rounded(self.several),
            **({} if self.audio is None else audio_to_dict(self.audio)),
            "warning": self.warning,
        }


def audio_to_dict(audio: AudioInfo) -> dict:
    """The JSON entries of a decoded recording: its tracks if it has several, and the note if there is one."""
    entry = {"audio_tracks": audio.tracks, "audio_track": audio.track} if audio.tracks > 1 else {}
    return entry | ({"audio_note": audio.note} if audio.note else {})


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 4)


@dataclass
class Figure:
    """One number.

    Attributes:
        value: the number.
        unit: of value, low and high; "" where it has none.
        low, high: 95 % interval, resampling identities; None where none is given.
        n: number of things that it was computed on.
        counted: kind of these things, such as "clips".
        chance: the value of guessing; None where that means nothing.
        protocol: one sentence: the things compared, and the network.
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
        """The fields, ready for JSON: a number that is not finite becomes None."""
        return {k: _plain(v) for k, v in asdict(self).items()}


def _plain(value):
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


Results = dict[str, dict[str, Figure]]
"""Metric -> figure's name -> figure."""


def read_records(run: Path | None) -> list[dict]:
    """The records of a run, oldest first; lines that are cut off or foreign are left out."""
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
    """The figures of a record; entries that are no figures are left out."""
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
