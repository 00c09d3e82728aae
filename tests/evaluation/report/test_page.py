"""The page and its Markdown twin: what they say, and that both say it."""

import io
import re
import tomllib
from html.parser import HTMLParser

import pytest
from PIL import Image

from voice2face_gan.evaluation.report import build, cards, gather, page, tables
from voice2face_gan.evaluation.report.published import PUBLISHED
from voice2face_gan.publish.texts import ETHICS, NOT_FOR, toml
from voice2face_gan.results import Figure

ODD = "<script>alert(1)</script>|*a* `b` [c](d) & $x_1$"
VOID = {"meta", "img", "br", "link", "input", "hr"}


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
    for group in report().metrics.values():
        for figure in group.values():
            sentence = figure.protocol[0].upper() + figure.protocol[1:]
            assert sentence in text and sentence in plain(markdown)
    for said in (
        "a note",
        "judge-x",
        "drawings",
        ETHICS,
        NOT_FOR,
        "memory needs <training> faces",
    ):
        assert said in text and said in plain(markdown)
    assert "reads the gender of the real faces" in text  # its own accuracy is 60 %


def test_a_protocol_names_the_figures_it_is_of(report):
    def figure(protocol):
        return Figure(1.0, 1, "clips", protocol)

    metrics = {"a": "one", "a, female": "one", "b": "of 9", "b, male": "of 4"}
    metrics = {"m": {name: figure(protocol) for name, protocol in metrics.items()}}
    found = tables.protocols([report("x", metrics=metrics), report("y", metrics={"m": {"a": figure("one")}})])
    assert [(e["figures"], e["runs"], e["sentence"]) for e in found] == [
        ("a", "", "One."),
        ("b", "x", "Of 9."),
        ("b, male", "x", "Of 4."),
    ]


def test_both_say_the_same_numbers(report, with_plots):
    html, markdown = read(build([report("one"), report("two", 0.5)], "command"))
    number = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
    alts = [a["alt"] for tag, a in html.tags if tag == "img"]
    in_page, in_twin = (set(number.findall(t)) for t in (" ".join(html.text + alts), plain(markdown)))
    links = set(number.findall(" ".join(re.findall(r"\]\(([^)]*)\)", markdown))))
    assert in_page - in_twin == set() and in_twin - in_page <= links
    for said in ("71.5 %", "68.4 to 74.8", "72.0 %", "chance 50 %", "41.23", "40 clips", "12.50", "1,234"):
        assert said in " ".join(html.text) and said in markdown, said


@pytest.mark.slow
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
    both = [report(), report("inception", metrics={"fid": {"fid": Figure(80.5, 9, "images", "Inception"),
            "floor": Figure(7.5, 9, "images", "real, Inception")}})]  # fmt: skip
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


def test_without_matplotlib_the_page_says_how_to_get_plots(report):
    made = build([report()], "command")
    html, markdown = read(made)
    assert made.notes == [page.NO_PLOTS] and page.NO_PLOTS in "".join(html.text)
    assert "voice2face-gan\\[report\\]" in markdown
    assert not [a for tag, a in html.tags if tag == "img" and "svg" in a["src"]]


def test_the_twins_images_are_there(report, with_plots):
    made = build([report(), report("b")], "command", folder="my report_files")
    linked = re.findall(r"!\[[^\]]*\]\(my%20report_files/([^)]+)\)", made.markdown.decode())
    assert sorted(linked) == sorted(made.images) and len(linked) == len(set(linked)) >= 10
    assert all(Image.open(io.BytesIO(content)).format == "PNG" for content in made.images.values())


def test_recipes_are_toml():
    tree = {
        "name": 'a "b"\n\\',
        "none": None,
        "model": {"channels": [1, 2], "x": 1e-05, "on": True, "n": "é"},
    }
    read_back = tomllib.loads(toml(tree))
    assert read_back == {"name": tree["name"], "model": tree["model"]}


def test_a_model_card_of_little(report):
    """A checkpoint of another program, or an old one, lacks what ours has."""
    bare = report(
        config={"generator": {"type": "other"}}, trained_on=None, log=[], people=[], closest=None, metrics={}
    )
    html, markdown = read(build([bare], "command"))
    assert "other" in "".join(html.text) and "Trained for" not in markdown and "Licence" in markdown
