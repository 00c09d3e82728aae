"""How default_model.py keeps its steps: what is done is left, what may train together does."""

import json
import os
import sys
import threading
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


def test_steps_run_at_the_same_time_and_share_the_cores(monkeypatch):
    """Each waits for the other; one after the other they would wait for ever."""
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so that what is set below is taken back at the end
    monkeypatch.delenv("OMP_NUM_THREADS")
    met = threading.Barrier(2, timeout=20)

    def step(name):
        def go():
            met.wait()
            return name, os.environ["OMP_NUM_THREADS"]

        return go

    found = default_model.side_by_side(step("a"), step("b"))
    assert found == [("a", "3"), ("b", "3")]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert default_model.side_by_side(step("a"), step("b"))[1] == ("b", "5")


def test_a_step_that_fails_ends_it():
    def fails():
        raise SystemExit("train failed.")

    with pytest.raises(SystemExit, match=r"train failed\."):
        default_model.side_by_side(lambda: 1, fails)


def test_recordings_are_heard_beside_the_rest(tmp_path, monkeypatch):
    stores = {name: tmp_path / name for name in (*default_model.PAIRED, "voices")}
    monkeypatch.setattr(sys, "executable", "true")  # in place of Python: ends well and writes nothing
    heard = default_model.Recorded(tmp_path, stores, tmp_path)
    (tmp_path / "recordings.json").write_text('{"rows": {}}')
    assert heard.figures() == {"rows": {}}
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(SystemExit, match=r"robustness\.py failed"):
        default_model.Recorded(tmp_path, stores, tmp_path).figures()
