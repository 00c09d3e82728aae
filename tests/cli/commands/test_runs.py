"""`v2f-gan runs`: what was trained, whatever state its folder is in."""

import json
import shutil

import pytest

from voice2face_gan.cli._console import console


@pytest.fixture
def root(cli, trained):
    """runs/ with a finished run, a measured one, one that was just begun, and broken ones."""
    root = cli.here / "runs"
    shutil.copytree(trained, root / "00000-wen2019-all-b8")
    measured = root / "00002-wen2019-all-b8"
    shutil.copytree(trained, measured)
    about = json.loads((measured / "run.json").read_text())
    about["recipe"]["gan"]["iterations"] = 400
    (measured / "run.json").write_text(json.dumps(about))
    lines = [
        {"metrics": {"fid": {"fid_trunk": {"value": v}}, "gender": {"generated": {"value": g}}}}
        for v, g in ((20.0, 60.0), (11.5, 80.0), (13.0, 85.0))
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"metrics": {"fid": {"fid_tr'
    (measured / "evaluation.jsonl").write_text(text + "\n[1]\n")
    best = {"checkpoint": "gan-0000020", "iteration": 20, "by": "fid_trunk", "fid_trunk": 11.5}
    (measured / "best.json").write_text(json.dumps(best))
    (root / "00010-begun").mkdir()
    about["iterations"] = 7
    (root / "00010-begun" / "run.json").write_text(json.dumps(about))
    (root / "00003-empty").mkdir()
    for i, text in enumerate(("{", "[]", '{"recipe": 5}', '{"recipe": {"name": "x"}}')):
        (root / f"0000{4 + i}-broken").mkdir()
        (root / f"0000{4 + i}-broken" / "run.json").write_text(text)
    (root / "notes").mkdir()
    (root / "00099-file").write_text("")
    return root


def test_as_json(cli, root):
    result = cli("runs", "--json")
    assert result.code == 0, result.stderr
    found = json.loads(result.stdout)["runs"]
    assert [x["number"] for x in found] == [0, 2, 3, 4, 5, 6, 7, 10]
    by_number = {x["number"]: x for x in found}
    done = by_number[0]
    assert (done["recipe"], done["data"], done["gender"], done["seed"]) == (
        "wen2019",
        "synthetic:20",
        "all",
        0,
    )
    assert (done["stage"], done["iteration"], done["iterations"], done["finished"]) == ("gan", 30, 30, True)
    assert done["checkpoint"] == "gan-0000030" and done["figures"] == {} and done["best"] is None
    assert 0 <= done["seconds_ago"] < 86_400
    measured = by_number[2]
    assert (measured["iteration"], measured["iterations"], measured["finished"]) == (30, 400, False)
    assert measured["figures"] == {"fid_trunk": 11.5, "gender": 85.0}
    assert (measured["best"], measured["best_by"]) == ("gan-0000020", "fid_trunk")
    begun = by_number[10]
    assert (begun["stage"], begun["iteration"], begun["iterations"]) == ("encoder", 0, 7)
    assert not begun["finished"] and begun["checkpoint"] is None and begun["error"] is None
    assert by_number[3]["error"] == "it has no run.json"
    assert all("run.json cannot be read" in by_number[i]["error"] for i in (4, 5, 6, 7))


def test_for_people(cli, root, monkeypatch):
    monkeypatch.setattr(console(), "width", 200)  # made once, perhaps by another test in a narrow terminal
    result = cli("runs", root)
    assert result.code == 0 and result.stdout == ""
    for text in ("30/30", "finished", "fid_trunk* 11.5, gender 85", "gan-0000030", "it has no run.json"):
        assert text in result.stderr, text
    assert "notes" not in result.stderr


def test_nothing_to_list(cli):
    result = cli("runs")
    assert result.code == 2 and "there is no such folder of runs" in result.stderr
    (cli.here / "empty").mkdir()
    result = cli("runs", "empty", "--json")
    assert result.code == 0 and json.loads(result.stdout)["runs"] == []


def test_it_does_not_open_nets(python, root):
    """A list of files needs no torch, which takes seconds to import."""
    code = "import sys; from voice2face_gan.training.run.index import list_runs; list_runs(sys.argv[1]); "
    result = python("-c", code + "print('torch' in sys.modules)", root)
    assert result.stdout == "False\n", result.stderr
