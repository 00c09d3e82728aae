"""How default_model.py keeps its steps: what is done is left, a run that was stopped goes on."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
import default_measure
import default_model


def test_what_is_made_already_is_left(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(default_model, "run", lambda *command: ran.append(command))
    (tmp_path / "there").touch()
    default_model.once(tmp_path / "there", "prepare", "a")
    default_model.once(tmp_path / "missing", "prepare", "b")
    assert ran == [("prepare", "b")]


def test_a_run_is_begun_gone_on_with_and_left_when_finished(run_copy, monkeypatch):
    root, ran = run_copy.parent / "runs", []

    def run(*command):
        ran.append([str(part) for part in command])
        return json.dumps({"run": "here", "finished": len(ran) == 2, "iteration": 7})

    monkeypatch.setattr(default_model, "run", run)
    with pytest.raises(SystemExit, match="iteration 7; call this again"):
        default_model.trained(root, "--device", "cpu", new=("--recipe", "default"))
    assert ran == [["train", "--recipe", "default", "--out", str(root), "--device", "cpu", "--json"]]

    root.mkdir()
    folder = run_copy.rename(root / "00000-wen2019-all-b8")
    assert default_model.trained(root, new=()) == folder and len(ran) == 1
    about = json.loads((folder / "run.json").read_text())
    about["recipe"]["gan"]["iterations"] = 400
    (folder / "run.json").write_text(json.dumps(about))
    assert default_model.trained(root, new=()) == Path("here")
    assert ran[1] == ["train", "--resume", str(folder), "--out", str(root), "--json"]


def test_a_command_that_fails_ends_it(monkeypatch):
    monkeypatch.setattr(default_model, "CLI", ["false"])
    with pytest.raises(SystemExit, match=r"train failed\."):
        default_model.run("train")


def test_recordings_are_heard_beside_the_rest(tmp_path, monkeypatch):
    speech = [tmp_path / name for name in (*default_measure.PAIRED, "voices")]
    monkeypatch.setattr(sys, "executable", "true")  # in place of Python: ends well and writes nothing
    heard = default_measure.Recorded(tmp_path, speech, tmp_path)
    assert heard.process.args[3] == ",".join(map(str, speech))
    (tmp_path / "recordings.json").write_text('{"rows": {}}')
    assert heard.figures() == {"rows": {}}
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(SystemExit, match=r"robustness\.py failed"):
        default_measure.Recorded(tmp_path, speech, tmp_path).figures()
