"""Run folders: numbered, found again, whole whatever happens."""

import json

import pytest
import torch

from voice2face_gan.errors import TrainingError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.training.run import STATE, Run


def test_runs_are_numbered_and_named(tmp_path, new_run):
    names = [new_run(tmp_path).folder.name for _ in range(2)]
    assert names == ["00000-wen2019-all-b8", "00001-wen2019-all-b8"]
    (tmp_path / "00041-by-hand").mkdir()
    (tmp_path / "notes").mkdir()
    assert new_run(tmp_path, data__gender="female").folder.name == "00042-wen2019-female-b8"


def test_a_run_is_opened_as_it_was_made(tmp_path, new_run):
    run = new_run(tmp_path, seed=5, gan__lr=1e-3)
    again = Run.open(run.folder)
    assert again.recipe == run.recipe and again.settings == run.settings
    assert json.loads((run.folder / "run.json").read_text())["recipe"]["gan"]["lr"] == 1e-3


def test_the_newest_run_has_the_highest_number(tmp_path, new_run):
    for _ in range(3):
        last = new_run(tmp_path)
    (tmp_path / "99999-empty").mkdir()  # no run.json
    assert Run.newest(tmp_path).folder == last.folder


def test_no_run_to_resume(tmp_path):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(TrainingError, match="no run to resume"):
            Run.newest(root)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="not a run folder"):
        Run.open(tmp_path)
    for text in ("{", "[]", "{}", '{"recipe": {"name": "x", "gan": 3}}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(Exception, match="cannot be read|must be a section"):
            Run.open(tmp_path)


def test_a_root_that_cannot_be_written(tmp_path, new_run):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write run folders"):
        new_run(tmp_path / "file")
    with pytest.raises(TrainingError, match="cannot write run folders"):
        new_run("/proc/nowhere")


def test_old_checkpoints_are_dropped(trained):
    names = sorted(p.name for p in (trained / "checkpoints").iterdir())
    assert names == ["gan-0000020", "gan-0000030"]  # run.keep = 2


def test_the_newest_state_is_the_gans(run_copy):
    run = Run.open(run_copy)
    state = run.load_state()
    assert state["stage"] == "gan" and state["iteration"] == 30
    (run_copy / "checkpoints" / "gan-0000030" / STATE).unlink()  # not whole
    assert run.load_state()["iteration"] == 20


def test_iterations_are_compared_as_numbers(run_copy):
    run, checkpoint = Run.open(run_copy), load_checkpoint(run_copy)
    run.save("gan", 12_345_678, checkpoint, {})
    run.save("gan", 9_999_999, checkpoint, {})
    assert run.load_state()["iteration"] == 12_345_678


def test_a_damaged_state_says_what_to_do(run_copy):
    path = run_copy / "checkpoints" / "gan-0000030" / STATE
    for content in (b"", b"nothing of the kind", path.read_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match="remove that folder"):
            Run.open(run_copy).load_state()


def test_no_pickle_is_executed(run_copy, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "fired"), "w"))

    torch.save(
        {"stage": "gan", "iteration": 30, "x": Bomb()}, run_copy / "checkpoints" / "gan-0000030" / STATE
    )
    with pytest.raises(TrainingError):
        Run.open(run_copy).load_state()
    assert not (tmp_path / "fired").exists()


def test_lines_that_will_be_done_again_are_forgotten(tmp_path, new_run):
    run = new_run(tmp_path)
    for stage, iteration in (("embedder", 10), ("embedder", 20), ("gan", 10), ("gan", 20), ("gan", 30)):
        run.log({"stage": stage, "iteration": iteration})
    with (run.folder / "train.jsonl").open("a") as file:
        file.write('{"stage": "gan", "itera')  # killed while writing

    def lines():
        text = (run.folder / "train.jsonl").read_text()
        return [(x["stage"], x["iteration"]) for x in map(json.loads, text.splitlines())]

    run.forget_after("gan", 20)
    assert lines() == [("embedder", 10), ("embedder", 20), ("gan", 10), ("gan", 20)]
    run.forget_after("embedder", 10, ("gan",))
    assert lines() == [("embedder", 10)]


def test_a_full_disk_keeps_the_earlier_checkpoints(run_copy, full_disk):
    """Whatever is being written then: the weights, the optimiser's state, the log."""
    run, checkpoint = Run.open(run_copy), load_checkpoint(run_copy)
    weights = (run_copy / "checkpoints" / "gan-0000030" / "model.safetensors").stat().st_size
    for room in (1000, weights + 1000):
        with full_disk(room), pytest.raises(TrainingError, match="cannot be written.*earlier checkpoints"):
            run.save("gan", 40, checkpoint, {"x": torch.zeros(100_000)})
        assert sorted(p.name for p in (run_copy / "checkpoints").iterdir()) == ["gan-0000020", "gan-0000030"]
    size = (run_copy / "train.jsonl").stat().st_size
    with full_disk(size), pytest.raises(TrainingError, match="cannot be written"):
        run.log({"stage": "gan", "iteration": 40})
    assert run.load_state()["iteration"] == 30
