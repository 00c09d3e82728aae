"""The table of figures, one column a run, published figures below our own, and the protocols."""

import math
import re
from dataclasses import dataclass, field

from voice2face_gan.data.records import GENDERS
from voice2face_gan.evaluation.report.gather import RunReport
from voice2face_gan.evaluation.report.published import Published, published_for
from voice2face_gan.results import Figure

_THROUGH = ("fid", "kid", "prdc")  # metrics through a feature, which is Inception's or a stand-in
_STAND_IN = re.compile(
    r"(?:fid|kid|precision|recall|density|coverage)_(\w+)"
)  # names of a stand-in's figures


@dataclass
class Row:
    """A figure: its name, and a cell for each run, None where the run has none."""

    figure: str
    cells: list[dict | None]


@dataclass
class Group:
    """A metric: our rows, published figures, and reasons why some runs have none."""

    metric: str
    note: str = ""
    rows: list[Row] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # runs, reason


def metric_groups(reports: list[RunReport], published: bool = True) -> list[Group]:
    """The table, in the order in which the metrics were requested.

    Figures of stand-in features make a group of their own, marked so, without published figures.
    """
    groups = []
    for metric in dict.fromkeys(name for r in reports for name in [*r.metrics, *r.skipped]):
        features = dict.fromkeys(stand_in(metric, r.metrics[metric]) for r in reports if metric in r.metrics)
        reasons: dict[str, list[str]] = {}
        for r in reports:
            if metric in r.skipped:
                reasons.setdefault(r.skipped[metric], []).append(r.label)
        own = Group(
            metric,
            rows=_rows(reports, metric, ""),
            published=published_for(metric) if published else [],
            skipped=[(", ".join(runs), reason) for reason, runs in reasons.items()],
        )
        if any(features) and not own.rows:
            through = ", ".join(feature for feature in features if feature)
            own.skipped.append(("", f"A stand-in takes the place of Inception ({through}), see below."))
        if own.rows or own.skipped or own.published:
            groups.append(own)
        groups += [
            Group(metric, _stand_in_note(metric, feature), _rows(reports, metric, feature))
            for feature in features
            if feature
        ]
    return groups


def stand_in(metric: str, figures: dict[str, Figure]) -> str:
    """The stand-in feature that a metric's figures went through; "" for Inception, or no feature.

    All figures of a metric go through one feature; those that name none, such as `floor`, too.
    """
    if metric not in _THROUGH:
        return ""
    return next((found[1] for name in figures if (found := _STAND_IN.match(name))), "")


def _stand_in_note(metric: str, feature: str) -> str:
    what = metric.upper() if metric != "prdc" else "figures"
    return f"stand-in feature {feature}: not comparable with published {what}"


def _rows(reports: list[RunReport], metric: str, feature: str) -> list[Row]:
    """The rows of the runs whose figures of a metric went through one feature."""
    found = [r.metrics.get(metric, {}) for r in reports]
    found = [figures if stand_in(metric, figures) == feature else {} for figures in found]
    names = dict.fromkeys(_base(name) for figures in found for name in figures)
    return [Row(name, [_cell_with_parts(figures, name) for figures in found]) for name in names]


def _base(name: str) -> str:
    """A figure's name without ", female" or ", male"."""
    return next((name.removesuffix(f", {g}") for g in GENDERS if name.endswith(f", {g}")), name)


def _cell_with_parts(figures: dict[str, Figure], name: str) -> dict | None:
    """A figure's cell; the same figure of either gender is in its "parts"."""
    parts = [(g, cell(figures.get(f"{name}, {g}"))) for g in GENDERS]
    parts = [{"gender": g, **part} for g, part in parts if part]
    whole = cell(figures.get(name))
    if whole is None and parts:
        whole = {"value": "–", "interval": "", "n": "", "chance": ""}
    return whole and {**whole, "parts": parts}


def cell(figure: Figure | None) -> dict | None:
    """value, interval and counted as text; chance too where it means something."""
    if figure is None:
        return None
    digits = _digits(figure)
    unit = f" {figure.unit}" if figure.unit else ""
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f"{number(figure.low, digits)} to {number(figure.high, digits)}"
    return {
        "value": number(figure.value, digits) + unit,
        "interval": interval,
        "n": f"{figure.n:,} {figure.counted}",
        "chance": "" if figure.chance is None else f"chance {figure.chance:.3g}{unit}",
    }


def _digits(figure: Figure) -> int:
    if figure.unit == "%" or abs(figure.value) >= 100:
        return 1
    return 2 if abs(figure.value) >= 10 else 3


def number(value: float, digits: int) -> str:
    """Text of a number; a dash where there is none."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "–"


def protocols(reports: list[RunReport]) -> list[dict]:
    """Protocols of all figures: metric, figures, runs ("" for all), sentence.

    A figure of one gender is named only where its sentence differs from that of all, as in a count.
    """
    found: dict[tuple[str, str], dict] = {}
    for r in reports:
        for metric, figures in r.metrics.items():
            for name, figure in figures.items():
                entry = found.setdefault((metric, figure.protocol), {"figures": [], "runs": []})
                whole = figures.get(_base(name))
                shown = _base(name) if whole is not None and whole.protocol == figure.protocol else name
                entry["figures"] += [shown] if shown not in entry["figures"] else []
                entry["runs"] += [r.label] if r.label not in entry["runs"] else []
    return [
        {
            "metric": metric,
            "figures": "; ".join(entry["figures"]),
            "runs": "" if len(entry["runs"]) == len(reports) else ", ".join(entry["runs"]),
            "sentence": _sentence(text),
        }
        for (metric, text), entry in sorted(found.items(), key=lambda pair: _first(reports, pair[0][0]))
    ]


def _first(reports: list[RunReport], metric: str) -> int:
    """The index of a metric among those of all runs, so that runs with different ones are not mixed."""
    return list(dict.fromkeys(name for r in reports for name in r.metrics)).index(metric)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
