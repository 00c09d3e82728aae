"""The report's plots, through matplotlib (extra `report`): losses, bars by gender, retrieval, duration.

Each is a drawing (SVG) for the page and an image (PNG) for its Markdown twin, with a description. A plot is
made where its figures exist.
"""

import io
import math
import re
import warnings

import numpy as np

from voice2face_gan.data.records import GENDERS
from voice2face_gan.evaluation.report.gather import ReportImage, RunReport
from voice2face_gan.evaluation.report.tables import cell, stand_in
from voice2face_gan.results import Figure

COLOURS = ("#0b6e99", "#c4572e", "#4d7c0f", "#7e3f98", "#a16207", "#475569")
_NOT_LOSSES = ("stage", "iteration", "per_second")
_RANK = re.compile(r"R@(\d+)")
_SECONDS = re.compile(r"@(\d+(?:\.\d+)?)s\b")
_CURVES = ("retrieval", "duration")  # metrics that are drawn as curves
_STYLE = {
    "font.family": "DejaVu Sans",  # inside matplotlib: the same letters everywhere
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.constrained_layout.h_pad": 0.1,
    "grid.color": "#e2e2e2",
    "svg.hashsalt": "voice2face-gan",
}


def available() -> bool:
    """True where matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def all_plots(reports: list[RunReport]) -> list[ReportImage]:
    """Every plot for which there are figures."""
    import matplotlib

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a run's name in letters that the font lacks
        makers = (gender_bars, retrieval_curve, duration_curves)
        found = [p for make in makers for p in make(reports)]
        return found + [p for i, r in enumerate(reports, start=1) for p in losses(r, i)]


def losses(report: RunReport, number: int = 1) -> list[ReportImage]:
    """One drawing a stage of training, one panel a loss: faint as logged, bold its running mean."""
    images = []
    for stage in dict.fromkeys(str(line.get("stage", "")) for line in report.log):
        lines = [line for line in report.log if str(line.get("stage", "")) == stage]
        names = [k for k in dict.fromkeys(k for line in lines for k in line) if k not in _NOT_LOSSES]
        curves = {name: _curve(lines, name) for name in names}
        curves = {name: curve for name, curve in curves.items() if len(curve[0])}
        if not curves:
            continue
        columns = min(len(curves), 3)
        rows = -(-len(curves) // columns)
        figure = _figure(2.9 * columns, 1.9 * rows + 0.4)
        for place, (name, (x, y)) in enumerate(curves.items(), start=1):
            axes = figure.add_subplot(rows, columns, place)
            axes.plot(x, y, color=COLOURS[0], alpha=0.3, linewidth=0.8)
            axes.plot(x, _running_mean(y), color=COLOURS[0], linewidth=1.6)
            axes.set_title(_words(name), fontsize=9)
            axes.margins(x=0.02)
            if place > len(curves) - columns:
                axes.set_xlabel("iteration")
        ends = "; ".join(f"{_words(n)} {y[0]:.3g} to {y[-1]:.3g}" for n, (_, y) in curves.items())
        last = max(x[-1] for x, _ in curves.values())
        caption = f"Training of {report.label}, {stage} stage, {last:,.0f} iterations."
        name = f"losses-{number}-{len(images) + 1}"
        images.append(_image(figure, name, caption, f"First to last: {ends}."))
    return images


def gender_bars(reports: list[RunReport]) -> list[ReportImage]:
    """One panel a figure that is given for each gender: bars with 95 % intervals, chance as a dashed line."""
    panels: dict[tuple[str, str], None] = {}
    for r in reports:
        for metric, figures in r.metrics.items():
            if metric in _CURVES or stand_in(metric, figures):
                continue
            bases = [k.removesuffix(f", {g}") for k in figures for g in GENDERS if k.endswith(f", {g}")]
            panels |= dict.fromkeys((metric, base) for base in bases)
    if not panels:
        return []
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = _figure(3.0 * columns, 2.3 * rows + 0.4)
    texts = []
    parts = ("", *(f", {g}" for g in GENDERS))
    width = 0.8 / len(reports)
    for place, (metric, base) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for i, r in enumerate(reports):
            found = [r.metrics.get(metric, {}).get(base + part) for part in parts]
            known = [(k, f) for k, f in enumerate(found) if f is not None and math.isfinite(f.value)]
            if not known:
                continue
            at = [k + (i - (len(reports) - 1) / 2) * width for k, _ in known]
            axes.bar(at, [f.value for _, f in known], width * 0.92, color=_colour(i), label=_short(r.label))
            axes.errorbar(
                at, [f.value for _, f in known], _errors([f for _, f in known]),
                fmt="none", ecolor="#222222", elinewidth=1, capsize=2,
            )  # fmt: skip
            values = ", ".join(f"{_part(parts[k])} {cell(f)['value']}" for k, f in known)
            texts.append(f"{_title(metric, base)}, {r.label}: {values}")
            chances = {f.chance for _, f in known if f.chance is not None}
            for chance in chances:
                axes.axhline(chance, color="#555555", linestyle="--", linewidth=1)
        axes.set_xticks(range(len(parts)), [_part(p) for p in parts])
        axes.set_title(_title(metric, base), fontsize=9)
        axes.grid(axis="x", visible=False)
    _legend(figure, reports)
    caption = "By gender, with 95 % intervals; dashed: chance."
    return [_image(figure, "by-gender", caption, f"{'; '.join(texts)}.")]


def retrieval_curve(reports: list[RunReport]) -> list[ReportImage]:
    """R@K against K for each distance or gallery in the runs' figures, and chance."""
    return _curves(reports, _RANK, "K", "found among K, %", "retrieval", "Retrieval")


def duration_curves(reports: list[RunReport]) -> list[ReportImage]:
    """Figures against seconds of speech."""
    return _curves(reports, _SECONDS, "seconds of speech", "", "duration", "Length of speech")


def _curves(
    reports: list[RunReport], pattern: re.Pattern, x_label: str, y_label: str, metric: str, title: str
) -> list[ReportImage]:
    """One panel for each kind of figure in which `pattern` finds a number; a line a run."""
    panels: dict[str, dict[int, list[tuple[float, Figure]]]] = {}
    for i, r in enumerate(reports):
        for name, figure in r.metrics.get(metric, {}).items():
            found = pattern.search(name)
            plain = not any(name.endswith(f", {g}") for g in GENDERS)
            if found and plain and math.isfinite(figure.value):
                rest = (name[: found.start()] + name[found.end() :]).strip(" ,:")
                panels.setdefault(rest, {}).setdefault(i, []).append((float(found[1]), figure))
    panels = {k: v for k, v in panels.items() if any(len(points) > 1 for points in v.values())}
    if not panels:
        return []
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = _figure(3.3 * columns, 2.6 * rows + 0.4)
    texts = []
    for place, (rest, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        for i, points in lines.items():
            points.sort(key=lambda point: point[0])
            x, figures = [p[0] for p in points], [p[1] for p in points]
            y = [f.value for f in figures]
            axes.errorbar(x, y, _errors(figures), color=_colour(i), marker="o", markersize=4, capsize=2)
            if all(f.chance is not None for f in figures):
                axes.plot(x, [f.chance for f in figures], color=_colour(i), linestyle="--", linewidth=1)
            values = ", ".join(f"{a:g}: {cell(f)['value']} ({cell(f)['chance']})" for a, f in points)
            texts.append(f"{rest or title}, {reports[i].label}: {values}".replace(" ()", ""))
        axes.set_title(rest or title, fontsize=9)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if all((f.value if f.low is None else f.low) >= 0 for points in lines.values() for _, f in points):
            axes.set_ylim(bottom=0)
    _legend(figure, reports)
    caption = f"{title}, with 95 % intervals; dashed: chance."
    return [_image(figure, metric, caption, f"{'; '.join(texts)}.")]


def _figure(width: float, height: float):
    from matplotlib.figure import Figure as Drawing

    return Drawing(figsize=(width, height), layout="constrained")


def _image(figure, name: str, caption: str, values: str) -> ReportImage:
    """The drawing in both forms. Neither holds a date, so that equal figures give equal bytes.

    Args:
        caption: description for all readers.
        values: the figures, for readers who cannot see the drawing; follows the caption.
    """
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=144)
    return ReportImage(name, png.getvalue(), f"{caption} {values}", svg.getvalue(), caption)


def _legend(figure, reports: list[RunReport]) -> None:
    if len(reports) > 1:
        from matplotlib.patches import Patch

        handles = [Patch(color=_colour(i), label=_short(r.label)) for i, r in enumerate(reports)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3), frameon=False)


def _errors(figures: list[Figure]) -> np.ndarray:
    """float (2, N): distances from each value to the ends of its interval; 0 without an interval."""
    low = [f.value - (f.value if f.low is None else f.low) for f in figures]
    high = [(f.value if f.high is None else f.high) - f.value for f in figures]
    return np.maximum([low, high], 0)


def _curve(lines: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Iterations and values at which a loss was logged as a finite number."""
    points = [
        (line["iteration"], line[name])
        for line in lines
        if _is_number(line.get("iteration")) and _is_number(line.get(name)) and math.isfinite(line[name])
    ]
    x, y = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return x, y


def _is_number(x) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def _running_mean(y: np.ndarray) -> np.ndarray:
    """Centred mean over about a twentieth of the curve, narrower at its ends."""
    half = max(len(y) // 40, 1)
    total = np.concatenate([[0], np.cumsum(y)])
    at = np.arange(len(y))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(y))
    return (total[high] - total[low]) / (high - low)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _title(metric: str, base: str) -> str:
    return base if base == metric else f"{metric}: {base}"


def _part(suffix: str) -> str:
    return suffix.removeprefix(", ") or "all"


def _short(label: str) -> str:
    """A label short enough for a legend, without mathematics of matplotlib or letters that it cannot draw."""
    label = label.encode("utf-8", "replace").decode()
    return (label if len(label) <= 32 else label[:31] + "…").replace("$", r"\$")
