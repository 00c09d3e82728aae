"""The sides of SF2F, by row number of VoxCeleb's metadata."""

from pathlib import Path

import pytest
import trees

from voice2face_gan.data.layouts import find_layout
from voice2face_gan.data.layouts.voxceleb.common import read_metadata, sf2f_side
from voice2face_gan.data.prepare.prepare import SplitChoice, prepare
from voice2face_gan.data.prepare.settings import PrepareSettings
from voice2face_gan.errors import DataError

PLAIN = PrepareSettings.of(["faces.detector=none", "voice.min_seconds=0.1"])


def metadata(path: Path, count: int) -> Path:
    rows = [["VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"]]
    rows += [[f"id{10001 + i}", f"Name_{i}", "f", "Norway", "dev"] for i in range(count)]
    trees.write_table(path, rows, "\t")
    return path


def test_rows_are_counted_from_zero(tmp_path):
    people = read_metadata(metadata(tmp_path / "vox1_meta.csv", 1251), "sf2f")
    sides = [people[f"id{10001 + i}"].split for i in range(1251)]
    assert sides == [sf2f_side(i) for i in range(1251)]
    assert sides[:10] == ["train"] * 8 + ["test", "val"] and sides[1248:] == ["test", "val", "train"]
    assert [sides.count(side) for side in ("train", "val", "test")] == [1001, 125, 125]
    assert {p.split for p in read_metadata(tmp_path / "vox1_meta.csv").values()} == {"train"}


def test_blank_lines_do_not_count_and_a_row_twice_is_one_identity(tmp_path):
    text = metadata(tmp_path / "a.csv", 12).read_text()
    lines = text.splitlines()
    (tmp_path / "a.csv").write_text("\n".join([*lines[:4], "", *lines[4:9], lines[1], *lines[9:]]) + "\n")
    people = read_metadata(tmp_path / "a.csv", "sf2f")
    assert people["Name_0"].split == "train"
    assert people["Name_8"].split == "val"  # the row given twice moves those behind it, as in pandas


@pytest.mark.parametrize("name", ["voxceleb1", "voxceleb2", "hq-voxceleb"])
def test_layouts_of_voxceleb_take_it(name, tmp_path):
    tree = trees.BUILDERS[name](tmp_path)
    layout = find_layout(name)
    ids = trees.ids2() if name == "voxceleb2" else list(trees.NAMES)
    # HQ-VoxCeleb's second table has the last six people alone, counted anew.
    row = {who: i % 6 if name == "hq-voxceleb" and i >= 6 else i for i, who in enumerate(ids)}
    for record in layout.records(tree.sources, split="sf2f"):
        assert record.split == sf2f_side(row[record.identity])
    assert layout.rule(layout.check_options({"split": "sf2f"})) == "official"
    assert layout.rule(layout.check_options({})) == layout.split_rule
    with pytest.raises(DataError, match="split of the layout .* is one of usual, sf2f, not 'official'"):
        layout.records(tree.sources, split="official")


def test_a_store_is_split_so(tmp_path, cli):
    tree = trees.voxceleb1(tmp_path, faces=False)
    store = prepare(
        "voxceleb1", tree.sources, tmp_path / "sf2f", PLAIN, options={"split": "sf2f"}, workers=1
    ).store
    wanted = {name: sf2f_side(i) for i, name in enumerate(trees.NAMES)}
    assert {str(i): str(s) for i, s in zip(store.identity, store.split, strict=True)} == {
        name: wanted[name] for name in tree.genders
    }
    assert store.about["source"]["options"]["split"] == "sf2f"
    with pytest.raises(DataError, match="--option split=sf2f and --split seeded are two ways"):
        prepare(
            "voxceleb1",
            tree.sources,
            tmp_path / "other",
            PLAIN,
            options={"split": "sf2f"},
            split=SplitChoice("seeded"),
        )
    assert "--option split=usual: sf2f: the sides of SF2F" in cli("prepare", "--layouts").stdout


def test_without_it_a_store_is_what_it_was(tmp_path):
    """The option came later: stores prepared before it are still found to be done."""
    tree = trees.voxceleb1(tmp_path, faces=False)
    usual = prepare("voxceleb1", tree.sources, tmp_path / "store", PLAIN, workers=1)
    assert usual.store.about["source"]["options"] == {"unmatched": False}
    given = prepare(
        "voxceleb1", tree.sources, tmp_path / "store", PLAIN, options={"split": "usual"}, workers=1
    )
    assert given.already
