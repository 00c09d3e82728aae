"""The report's page and its Markdown twin, from runs made by hand."""

import io
import json
import re
import shutil
import subprocess
import tomllib
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from voice2face_gan.errors import OutputError
from voice2face_gan.evaluation.registry import Figure
from voice2face_gan.evaluation.report import Places, build, cards, gather, page, plots, tables, write
from voice2face_gan.evaluation.report.published import PUBLISHED

ODD = "<script>alert(1)</script>|*a* `b` [c](d) & $x_1$"
VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    """Drawing takes seconds; who tests plots makes them."""
    monkeypatch.setattr(plots, "available", lambda: False)


@pytest.fixture
def with_plots(no_plots, monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: True)


def png(colour: int = 90) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((64, 268, 3), colour, dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


def figures(k: float = 0.0) -> dict:
    """Some of every kind: percent, by gender, by rank, by length, through a stand-in."""

    def figure(value, protocol, unit="", chance=None):
        return Figure(value + k, 40, "clips", protocol, unit, value + k - 3.1, value + k + 3.3, chance)

    by_gender = {f"generated{g}": figure(71.5 + i, "the judge's view of sex", "%", 50.0)
                 for i, g in enumerate(("", ", female", ", male"))}  # fmt: skip
    return {
        "gender": by_gender | {"real": figure(60.0, "the judge's view of real faces", "%", 50.0)},
        "l1": {"l1": Figure(41.23 + k, 40, "clips", "pixels apart", low=40.0, high=42.0)},
        "retrieval": {f"R@{r} cosine": figure(r * 9.0, f"among {r} of 25", "%", r * 4.0) for r in (1, 2, 5)},
        "duration": {f"gender x @{s}s": figure(50.0 + s, f"after {s} s", "%", 50.0) for s in (1, 2, 4)},
        "fid": {"fid_trunk": Figure(12.5 + k, 40, "pictures", "stage means, a stand-in: not comparable"),
                "floor": Figure(3.25 + k, 20, "pictures", "real against real")},
        "identity": {"top-1": Figure(float("nan"), 4, "clips", "closed set", "%")},
    }  # fmt: skip


@pytest.fixture
def report(store):
    """Function (label, more of RunReport) -> a run's part of the report."""

    def make(label: str = "a run", k: float = 0.0, **more) -> gather.RunReport:
        recipe = {"name": "x", "architecture": "wen2019", "gan": {"iterations": 30, "lr": 2e-5, "flip": True}}
        config = {"architecture": "wen2019", "voice2face_gan": "0.1.0", "gender": "all", "recipe": recipe,
                  "stage": "gan", "iteration": 30, "data": store.summary()}  # fmt: skip
        about = {
            "split": "test",
            "gender": "all",
            "identities": 4,
            "clips": 16,
            "faces": 24,
            "trained_on": False,
        }
        log = [
            {"stage": s, "iteration": i, "per_second": 1.0, "loss_a": 3.0 / i, "b": i}
            for s in ("embedder", "gan")
            for i in (10, 20, 30)
        ]
        given = dict(
            label=label, checkpoint="gan-0000030", config=config, weights="0123456789abcdef", shipped=False,
            trained_on="builtin:20", parameters={"voice embedder": 1234, "generator": 56789},
            data=gather.DataCard("builtin:20", store, False), about=about,
            judge={"name": "judge-x", "trained_on": "drawings", "held_out": {"gender_accuracy": 0.5}},
            metrics=figures(k), skipped={"memory": "memory needs <training> faces"}, fresh=[],
            notes=["a note"],
            people=[gather.Picture(f"person-{i}", png(i), f"Person {i}") for i in (1, 2, 3, 4)],
            closest=gather.Picture("closest", png(200), "Nearest"), log=log,
        )  # fmt: skip
        return gather.RunReport(**{**given, **more})

    return make


class Reader(HTMLParser):
    """Reads a page as a strict reader would: every element is closed, in order."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def read(made) -> tuple[Reader, str]:
    return Reader(made.html.decode()), made.markdown.decode()


def plain(markdown: str) -> str:
    """Markdown's escapes undone."""
    text = re.sub(r"\\([\\`*\[\]|])", r"\1", markdown)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_the_page_asks_for_nothing_from_elsewhere(report, with_plots):
    made = build([report(), report("b", 1.0)], "v2f-gan report a b")
    html, _ = read(made)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in html.tags}
    assert not [a for _, a in html.tags if "href" in a or any(key.startswith("on") for key in a)]
    images = [a for tag, a in html.tags if tag == "img"]
    assert len(images) > 12 and all(a["src"].startswith("data:image/") and a["alt"] for a in images)
    policy = next(a["content"] for tag, a in html.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    styles = re.search(r"<style>(.*?)</style>", made.html.decode(), re.S)[1]
    assert "url(" not in styles and "@import" not in styles and "http" not in "".join(html.text)
    assert ("html", {"lang": "en"}) in html.tags
    ids = [a["id"] for _, a in html.tags if "id" in a]
    named = [a["aria-labelledby"] for _, a in html.tags if "aria-labelledby" in a]
    assert len(ids) == len(set(ids)) and set(named) <= set(ids)


def test_every_figure_has_its_protocol(report):
    html, markdown = read(build([report()], "command"))
    text = "".join(html.text)
    for group in figures().values():
        for figure in group.values():
            sentence = figure.protocol[0].upper() + figure.protocol[1:]
            assert sentence in text and sentence in plain(markdown)
    for said in (
        "a note",
        "judge-x",
        "drawings",
        cards.ETHICS,
        cards.NOT_FOR,
        "memory needs <training> faces",
    ):
        assert said in text and said in plain(markdown)
    assert "reads the gender of the own faces" in text  # its own accuracy is 60 %


def test_both_say_the_same_numbers(report, with_plots):
    html, markdown = read(build([report("one"), report("two", 0.5)], "command"))
    number = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
    in_page, in_twin = (set(number.findall(t)) for t in (" ".join(html.text), plain(markdown)))
    links = set(number.findall(" ".join(re.findall(r"\]\(([^)]*)\)", markdown))))
    assert in_page - in_twin == set() and in_twin - in_page <= links
    for said in ("71.5 %", "68.4 to 74.8", "72.0 %", "chance 50 %", "41.23", "40 clips", "12.50", "1,234"):
        assert said in " ".join(html.text) and said in markdown, said


def test_odd_names_stay_text(report, with_plots):
    odd = report(ODD, data=gather.DataCard(ODD, report().data.store, False))
    made = build([odd, report("surrogate \udcff")], f"v2f-gan report '{ODD}' ```")
    html, markdown = read(made)
    assert "<script" not in made.html.decode() and "<script" not in re.sub(
        r"(?s)`{3,}.*?\n`{3,}", "", markdown
    )
    assert any(ODD in text for text in html.text) and ODD in plain(markdown)
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    for (row, width), (after, next_width) in zip(
        zip(rows, widths, strict=True), list(zip(rows, widths, strict=True))[1:], strict=False
    ):
        if set(after) <= set("|-: "):  # the line under a table's header
            assert width == next_width, row
    assert "````console" in markdown


def test_stand_ins_are_never_beside_published_fids(report):
    both = [report(), report("inception", metrics={"fid": {"fid": Figure(80.5, 9, "pictures", "Inception"),
            "floor": Figure(7.5, 9, "pictures", "real, Inception")}})]  # fmt: skip
    own, stand_in = [g for g in tables.metric_groups(both) if g.metric == "fid"]
    assert "not comparable with published FID" in stand_in.note and not stand_in.published
    assert [row.figure for row in stand_in.rows] == ["fid_trunk", "floor"]
    assert [row.cells[1] for row in stand_in.rows] == [None, None]
    assert [row.figure for row in own.rows] == ["fid", "floor"] and not own.note and not own.skipped
    assert [row.cells[0] for row in own.rows] == [None, None] and own.rows[1].cells[1]["value"] == "7.500"
    assert [p.value for p in own.published] == ["114.45 / 126.37 / 129.30"]
    lone = next(g for g in tables.metric_groups([report()]) if g.metric == "fid")
    assert not lone.rows and lone.published and "stand-in takes the place of Inception" in lone.skipped[0][1]
    html, markdown = read(build(both, "command"))
    for text in ("".join(html.text), markdown):
        assert "stand-in feature trunk: not comparable with published FID" in text


def test_published_numbers_are_marked_and_can_be_left_out(report):
    html, markdown = read(build([report()], "command"))
    shown = [p for p in PUBLISHED if p.metric in report().metrics]
    text = "".join(html.text)
    assert len(shown) == 6 and text.count("other data") == len(shown) + 1
    for entry in shown:
        assert entry.value in text and entry.value in markdown and entry.source in text
    assert "91 percent, no protocol published" in text and "91 percent, no protocol published" in markdown
    for text in (
        x if isinstance(x, str) else "".join(x.text) for x in read(build([report()], "c", published=False))
    ):
        assert "96.45" not in text and "91 percent" not in text and "other data" not in text


def test_real_photographs_are_announced(report, store):
    real = report(data=gather.DataCard("vox.store", store, True))
    for made, announced in ((build([report()], "c"), False), (build([report(), real], "c"), True)):
        html, markdown = read(made)
        assert made.real_people is announced
        assert (cards.REAL_PEOPLE in "".join(html.text)) is announced is (cards.REAL_PEOPLE in markdown)


def test_the_plots_there_are(report):
    found = {p.name: p for p in plots.all_plots([report("$ODD$"), report("b", 2.0)])}
    assert set(found) == {
        "by-gender",
        "retrieval",
        "duration",
        "losses-1-1",
        "losses-1-2",
        "losses-2-1",
        "losses-2-2",
    }
    for picture in found.values():
        with Image.open(io.BytesIO(picture.png)) as image:
            assert image.format == "PNG" and image.width > 300
            assert np.ptp(np.asarray(image.convert("L"))) > 100
        assert ElementTree.fromstring(picture.svg).tag.endswith("svg")
    assert "1: 9.0 % (chance 4 %), 2: 18.0 % (chance 8 %), 5: 45.0 % (chance 20 %)" in found["retrieval"].alt
    assert "1: 51.0 %" in found["duration"].alt and "female 72.5 %" in found["by-gender"].alt
    assert "loss a 0.3 to 0.1" in found["losses-1-1"].alt
    again = plots.all_plots([report("$ODD$"), report("b", 2.0)])
    assert [(p.png, p.svg) for p in again] == [(p.png, p.svg) for p in found.values()]


def test_no_plot_without_figures(report):
    bad = [{"stage": "gan"}, {"stage": "gan", "iteration": 1, "x": None, "y": "text", "z": float("nan")}]
    lone = {"R@1 cosine": Figure(4.0, 1, "clips", "p", "%", chance=4.0)}
    assert (
        plots.all_plots([report(metrics={"retrieval": lone, "l1": {"l1": Figure(1, 1, "c", "p")}}, log=bad)])
        == []
    )


def test_without_matplotlib_the_page_says_how_to_get_plots(report):
    made = build([report()], "command")
    html, markdown = read(made)
    assert made.notes == [page.NO_PLOTS] and page.NO_PLOTS in "".join(html.text)
    assert "voice2face-gan\\[report\\]" in markdown
    assert not [a for tag, a in html.tags if tag == "img" and "svg" in a["src"]]


def test_the_running_mean_is_the_mean():
    y = np.random.default_rng(0).normal(size=200)
    smooth = plots._running_mean(y)
    assert np.isclose(smooth[100], y[95:106].mean()) and np.isclose(smooth[0], y[:6].mean())
    assert np.allclose(plots._running_mean(np.full(7, 3.5)), 3.5)


def test_the_twins_pictures_are_there(report, with_plots):
    made = build([report(), report("b")], "command", folder="my report_files")
    linked = re.findall(r"!\[[^\]]*\]\(my%20report_files/([^)]+)\)", made.markdown.decode())
    assert sorted(linked) == sorted(made.pictures) and len(linked) == len(set(linked)) >= 10
    assert all(Image.open(io.BytesIO(content)).format == "PNG" for content in made.pictures.values())


def test_recipes_are_toml():
    tree = {
        "name": 'a "b"\n\\',
        "none": None,
        "model": {"channels": [1, 2], "x": 1e-05, "on": True, "n": "é"},
    }
    read_back = tomllib.loads(cards.toml(tree))
    assert read_back == {"name": tree["name"], "model": tree["model"]}


def test_a_model_card_of_little(report):
    """A checkpoint of another program, or an old one, lacks what ours has."""
    bare = report(
        config={"architecture": "other"}, trained_on=None, log=[], people=[], closest=None, metrics={}
    )
    html, markdown = read(build([bare], "command"))
    assert "other" in "".join(html.text) and "Trained for" not in markdown and "Licence" in markdown


def test_faces_of_a_person():
    """Real ones end at the gap, generated ones begin there."""
    real = np.full((1, 4, 4, 3), 10, dtype=np.uint8)
    made = np.stack([np.full((4, 4, 3), v, dtype=np.uint8) for v in (20, 30)])
    row = np.asarray(gather._strip(real, made, 2))[0, :, 0].tolist()
    assert row == [255] * 6 + [10] * 4 + [255] * 8 + [20] * 4 + [255] * 2 + [30] * 4


def test_labels_differ():
    from pathlib import Path

    def model(name):
        return SimpleNamespace(name=name)

    places = [Path("/r/a"), Path("/r/b"), Path("/s/b"), Path("/t/b"), Path("/d")]
    models = [model("gan-1"), model("gan-2"), model("gan-3"), model("gan-3"), model("default")]
    assert gather._labels(places, models) == ["a", "b/gan-2", "b/gan-3 (1)", "b/gan-3 (2)", "default"]


def test_places(tmp_path):
    places = Places.of(tmp_path)
    assert places.html == tmp_path / "report.html" and places.pictures == tmp_path / "report_files"
    places = Places.of(tmp_path / "a.b.html")
    assert (places.markdown.name, places.pictures.name) == ("a.b.md", "a.b_files")
    with pytest.raises(OutputError, match=r"ends in \.html"):
        Places.of(tmp_path / "report.pdf")
    for name in ("report.html", "report.md", "report_files"):
        place = tmp_path / name
        place.mkdir() if name.endswith("files") else place.write_text("mine")
        with pytest.raises(OutputError, match="exists and is kept; add --force"):
            Places.of(tmp_path)
        Places.of(tmp_path, force=True)
        place.rmdir() if place.is_dir() else place.unlink()


def test_force_replaces_reports_alone(tmp_path):
    folder = tmp_path / "report_files"
    folder.mkdir()
    (folder / "thesis.doc").write_text("mine")
    with pytest.raises(OutputError, match="more than pictures"):
        Places.of(tmp_path, force=True)
    shutil.rmtree(folder)
    folder.write_text("a file")
    with pytest.raises(OutputError, match="is no folder"):
        Places.of(tmp_path, force=True)
    folder.unlink()
    (tmp_path / "report.md").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        Places.of(tmp_path, force=True)


def test_written_whole_or_not_at_all(report, tmp_path, full_disk):
    made = build([report()], "command")
    with full_disk(len(made.html) - 1), pytest.raises(OutputError, match="cannot be written"):
        write(made, Places.of(tmp_path))
    assert list(tmp_path.iterdir()) == []
    write(made, Places.of(tmp_path))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert {p.name for p in tmp_path.iterdir()} == {"report.html", "report.md", "report_files"}
    assert {p.name for p in (tmp_path / "report_files").iterdir()} == set(made.pictures)
    new = build([report("new")], "command")
    with full_disk(len(new.html) - 1), pytest.raises(OutputError, match="cannot be written"):
        write(new, Places.of(tmp_path, force=True))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    write(build([report("new", people=[])], "command"), Places.of(tmp_path, force=True))
    assert not (tmp_path / "report_files" / "run-1-person-1.png").exists()
    assert "new" in (tmp_path / "report.md").read_text()


CHECK = """<script>addEventListener("load", () => {
const images = [...document.images];
const deep = e => { for (let p = e.parentElement; p; p = p.parentElement)
  if (getComputedStyle(p).overflowX === "auto") return true; return false; };
const wide = [...document.querySelectorAll("body *")].filter(
  e => e.getBoundingClientRect().right > innerWidth + 1 && !deep(e)).map(e => e.tagName);
parent.postMessage(JSON.stringify({images: images.length, broken: images.filter(i => !i.naturalWidth).length,
  width: document.documentElement.scrollWidth, inner: innerWidth, wide}), "*"); });</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_nothing_is_broken_or_sticks_out(report, with_plots, tmp_path, width):
    made = build(
        [report("a-very-long-name-of-a-run" * 6), report("b"), report("c")], "v2f-gan report " + "x" * 300
    )
    text = made.html.decode().replace("script-src", "").replace("</body>", CHECK)
    text = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    (tmp_path / "copy.html").write_text(text, encoding="utf-8")
    # A window is never narrower than 500 pixels; a frame is.
    (tmp_path / "frame.html").write_text(
        "<!DOCTYPE html><title></title><script>onmessage = e => { document.title = e.data; }</script>"
        f'<iframe src="copy.html" width="{width}" height="3000" style="border: 0"></iframe>'
    )
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,3200",
         "--virtual-time-budget=5000", "--dump-dom", f"file://{tmp_path / 'frame.html'}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    title = re.search(r"<title>(.+?)</title>", done.stdout, re.S)
    assert title, done.stderr[-2000:]
    seen = json.loads(page.Markup(title[1]).unescape())
    assert seen["images"] == len(made.pictures) and seen["broken"] == 0
    assert seen["width"] <= seen["inner"] == width and seen["wide"] == []
