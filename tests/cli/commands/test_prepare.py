"""`v2f-gan prepare` and `v2f-gan data`, as people call them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from voice2face_gan.bench.prepare import make_world
from voice2face_gan.cli import main


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return make_world(tmp_path_factory.mktemp("raw") / "world", 40, "wav")


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Function (*arguments) -> result, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


COMMON = ("--workers", 1, "--detector", "none")


def test_prepare_and_look(call, world, tmp_path):
    first = call("prepare", "folders", world, "-o", "a.store", *COMMON, "--json")
    assert first.exit_code == 0, first.stderr
    told = json.loads(first.stdout)
    assert (told["identities"], told["voices"], told["faces"], told["already"]) == (5, 20, 20, False)
    assert sum(row["voices"] for row in told["breakdown"]) == 20 and told["dropped"] == {}
    again = call("prepare", "folders", world, "-o", "a.store", *COMMON)
    assert again.exit_code == 0 and "nothing was done" in again.stderr
    look = call("data", "a.store", "--sheet", "look.png", "--json")
    assert look.exit_code == 0 and json.loads(look.stdout)["voices"] == 20
    assert Image.open("look.png").width > 1000
    assert call("data", "a.store", "--sheet", "look.png").exit_code == 2


def test_bad_files_are_a_warning(call, world, tmp_path):
    bad = next(iter(sorted(world.iterdir()))) / "voices" / "bad.wav"
    bad.write_text("nothing")
    try:
        result = call("prepare", "folders", world, "-o", "b.store", *COMMON)
    finally:
        bad.unlink()
    assert result.exit_code == 0
    assert "Warning: 1 files were dropped" in result.stderr and "unreadable recording" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("prepare", "folder", "WORLD", "-o", "x"), "no layout 'folder'"),
        (("prepare", "folders", "nowhere", "-o", "x"), "no such file or folder"),
        (
            ("prepare", "folders", "WORLD", "-o", "x", "--set", "features.hop=1"),
            "did you mean 'features.hop_ms'",
        ),
        (("prepare", "folders", "WORLD", "-o", "x", "--option", "colour=red"), "no option 'colour'"),
        (("prepare", "folders", "WORLD", "-o", "x", "--option", "colour"), "key=value"),
        (("prepare", "folders", "WORLD", "-o", "x", "--split", "half"), "no split 'half'"),
        (("prepare", "folders", "WORLD", "-o", "x", *COMMON, "--split", "wen-letters"), "empty"),
        (("prepare", "folders", "WORLD", "-o", "WORLD", *COMMON), "is no prepared store"),
        (("data", "nowhere"), "does not exist"),
        (("bench", "prepare", "folders"), "give the data set's folder"),
    ],
)
def test_mistakes_are_told_in_a_sentence(call, world, arguments, words):
    result = call(*(str(world) if a == "WORLD" else a for a in arguments))
    assert result.exit_code == 2 and result.stdout == ""
    assert words in result.stderr and "Traceback" not in result.stderr
    assert not list(Path().iterdir())


def test_the_layouts_are_listed(call):
    result = call("prepare", "--layouts")
    assert result.exit_code == 0 and "voxceleb1" in result.stdout and "--option unmatched" in result.stdout


def test_speed_is_measured(call):
    result = call("bench", "prepare", "--limit", 24, "--workers", 1, "--set", "faces.detector=none", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    run = told["runs"]["1"]
    assert told["records"] == 24 and run["records_per_second"] > 0
    assert sum(run["share"].values()) == pytest.approx(1, abs=0.01)
    assert 0 < told["audio"]["share"] < 2
