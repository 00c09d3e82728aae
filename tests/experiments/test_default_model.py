"""How default_model.py keeps its steps: what is done is left."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
import default_model


@pytest.mark.parametrize(
    "command, stage, limit, end",
    [
        ("train", "gan", None, 30),
        ("train-encoder", "encoder", None, 20),
        ("train-encoder", "encoder", 1, 1),
    ],
)
def test_a_run_is_finished_at_the_end_it_was_given(tmp_path, command, stage, limit, end):
    recipe = {"encoder": {"iterations": 20}, "gan": {"iterations": 30}}
    about = {"command": command, "iterations": limit, "recipe": recipe}
    (tmp_path / "run.json").write_text(json.dumps(about))
    for iteration in (end - 1, end + 1):
        kept = tmp_path / "checkpoints" / f"{stage}-{iteration:07d}"
        kept.mkdir(parents=True)
        (kept / "config.json").touch()
    assert not default_model.is_finished(tmp_path)
    kept = tmp_path / "checkpoints" / f"{stage}-{end:07d}"
    kept.mkdir()
    (kept / "config.json").touch()
    assert default_model.is_finished(tmp_path)


def test_recordings_are_heard_beside_the_rest(tmp_path, monkeypatch):
    stores = {name: tmp_path / name for name in (*default_model.PAIRED, "voices")}
    monkeypatch.setattr(sys, "executable", "true")  # in place of Python: ends well and writes nothing
    heard = default_model.Recorded(tmp_path, stores, tmp_path)
    (tmp_path / "recordings.json").write_text('{"rows": {}}')
    assert heard.figures() == {"rows": {}}
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(SystemExit, match=r"robustness\.py failed"):
        default_model.Recorded(tmp_path, stores, tmp_path).figures()
