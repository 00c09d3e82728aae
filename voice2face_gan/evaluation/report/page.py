"""The HTML page and its Markdown twin from the same content, through Jinja2."""

import base64
import re
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from voice2face_gan.evaluation.readers.base import describe
from voice2face_gan.evaluation.report import cards, plots, tables
from voice2face_gan.evaluation.report.gather import ReportImage, RunReport
from voice2face_gan.evaluation.report.published import NO_PROTOCOL
from voice2face_gan.publish.texts import ETHICS
from voice2face_gan.version import __version__

NO_PLOTS = "The plots are left out: they need matplotlib (pip install 'voice2face-gan[report]')."
MIN_READER_ACCURACY = 90.0  # percent of real faces read right; with fewer a warning is due


@dataclass
class Page:
    """A report in memory.

    Attributes:
        html, markdown: UTF-8.
        images: the Markdown's, file name -> PNG.
        real_people: True where real photographs are on it.
        notes: sentences on parts that were left out, for the user.
    """

    html: bytes
    markdown: bytes
    images: dict[str, bytes]
    real_people: bool
    notes: list[str]


def build(
    reports: list[RunReport],
    command: str,
    folder: str = "report_files",
    published: bool = True,
    when: float | None = None,
) -> Page:
    """Make the page.

    Args:
        reports: the runs, as `gather_runs` gives them.
        command: command that makes this page again, shown on it.
        folder: folder of the Markdown's images, beside it.
        published: show published figures.
        when: seconds since 1970; None for now.
    """
    reports = [_named(r, i) for i, r in enumerate(reports, start=1)]
    drawn = plots.all_plots(reports) if plots.available() else []
    content = {
        "version": __version__,
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when)),
        "command": command,
        "ethics": ETHICS,
        "warning": cards.REAL_PEOPLE if any(r.data.real_people for r in reports) else "",
        "runs": reports,
        "judges": _readers(reports),
        "notes": _notes(reports),
        "groups": tables.metric_groups(reports, published),
        "elsewhere": NO_PROTOCOL if published else (),
        "protocols": tables.protocols(reports),
        "plots": drawn,
        "no_plots": "" if plots.available() else NO_PLOTS,
        "data": [cards.data_card(c) for c in {id(r.data): r.data for r in reports}.values()],
        "models": [cards.model_card(r) for r in reports],
    }
    images = [p for r in reports for p in [*r.people, *([r.closest] if r.closest else [])]] + drawn
    return Page(
        html=_render("page.html.j2", content, folder),
        markdown=_render("page.md.j2", content, folder),
        images={f"{p.name}.png": p.png for p in images},
        real_people=bool(content["warning"]),
        notes=[content["no_plots"]] if content["no_plots"] else [],
    )


def _named(report: RunReport, number: int) -> RunReport:
    """The run with its number in its images' names, so that no two images have one name."""
    named = [replace(p, name=f"run-{number}-{p.name}") for p in report.people]
    closest = report.closest and replace(report.closest, name=f"run-{number}-{report.closest.name}")
    return replace(report, people=named, closest=closest)


def _notes(reports: list[RunReport]) -> list[str]:
    """Notes of the metrics, each once, with their runs where these are not all."""
    runs_by_note: dict[str, list[str]] = {}
    for r in reports:
        for note in r.notes:
            runs_by_note.setdefault(note, []).append(r.label)
    return [n if len(runs) == len(reports) else f"{', '.join(runs)}: {n}" for n, runs in runs_by_note.items()]


def _readers(reports: list[RunReport]) -> list[str]:
    """The face readers, and warnings where one misreads the data: each sentence once."""
    found = []
    for r in reports:
        found.append(describe(SimpleNamespace(name=r.reader["name"], about=r.reader)))
        ceiling = r.metrics.get("gender", {}).get("real")
        if ceiling is not None and ceiling.value < MIN_READER_ACCURACY:
            found.append(
                f"Warning: the face reader reads the gender of the real faces of {r.data.name} right in only "
                f"{ceiling.value:.1f} %, so its figures mean little on these data."
            )
    return list(dict.fromkeys(found))


def _render(template: str, content: dict, folder: str) -> bytes:
    is_html = template.endswith(".html.j2")
    environment = Environment(
        loader=PackageLoader("voice2face_gan.evaluation.report", "."),
        autoescape=is_html,
        finalize=None if is_html else _for_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "data_uri": data_uri,
        "file": lambda p: Markup(quote(f"{folder}/{p.name}.png")),
        "fenced": fenced,
        "batched": lambda items, n: [items[i : i + n] for i in range(0, len(items), n)],
    }
    text = environment.get_template(template).render(content)
    # A file name that is no text (a lone surrogate) cannot be encoded in UTF-8.
    return text.encode("utf-8", "replace")


def data_uri(image: ReportImage) -> Markup:
    """An image as a data URI, of the drawing where there is one; its ids and addresses stay inside it."""
    kind, content = ("svg+xml", image.svg) if image.svg else ("png", image.png)
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


def escape_markdown(text: str) -> str:
    """Text as Markdown, for table cells too: one line, in which nothing is markup or HTML."""
    text = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text)


def fenced(text: str, language: str = "") -> Markup:
    """A block of code whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{text}\n{fence}")


def _for_markdown(value):
    return value if isinstance(value, Markup) else escape_markdown(str(value))
