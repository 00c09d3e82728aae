"""The figures by which runs are compared, as evaluation.jsonl keeps them: their short names, and which way
is better. Reads what is written there and computes nothing."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """Where a record of evaluation.jsonl keeps a figure: record["metrics"][metric][figure]["value"]."""

    metric: str
    figure: str
    higher: bool  # is better


MEASURES = {
    "fid": Measure("fid", "fid", False),
    "fid_trunk": Measure("fid", "fid_trunk", False),
    "fid_dlib": Measure("fid", "fid_dlib", False),
    "kid": Measure("kid", "kid", False),
    "gender": Measure("gender", "generated", True),
    "matching_U": Measure("matching", "U", True),
    "matching_G": Measure("matching", "G", True),
    "matching_G_from_e": Measure("matching", "G from e", True),
    "recovery": Measure("recovery", "determined", True),
    "recovery_from_e": Measure("recovery", "determined from e", True),
    "l1": Measure("l1", "l1", False),
    "cosine": Measure("cosine", "cosine", True),
    "eer": Measure("equal_error_rate", "clean", False),
    "eer_noisy": Measure("equal_error_rate", "noisy", False),
}


def figures_of(record: dict) -> dict[str, float]:
    """The figures of a record that have a short name and are finite; what is no figure is passed over."""
    found = {}
    for name, measure in MEASURES.items():
        try:
            value = float(record["metrics"][measure.metric][measure.figure]["value"])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            found[name] = value
    return found


def is_better(name: str, new: float, old: float) -> bool:
    return new > old if MEASURES[name].higher else new < old
