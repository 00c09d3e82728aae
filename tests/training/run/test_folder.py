"""Run folders: numbered, found again, whole whatever happens."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from voice2face_gan.errors import CheckpointError, TrainingError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.run.folder import STATE, Run


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
    for stage, iteration in (("encoder", 10), ("encoder", 20), ("gan", 10), ("gan", 20), ("gan", 30)):
        run.log({"stage": stage, "iteration": iteration})
    with (run.folder / "train.jsonl").open("a") as file:
        file.write('{"stage": "gan", "itera')  # killed while writing

    def lines():
        text = (run.folder / "train.jsonl").read_text()
        return [(x["stage"], x["iteration"]) for x in map(json.loads, text.splitlines())]

    run.forget_after("gan", 20)
    assert lines() == [("encoder", 10), ("encoder", 20), ("gan", 10), ("gan", 20)]
    run.forget_after("encoder", 10, ("gan",))
    assert lines() == [("encoder", 10)]


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


# Figures, and the best checkpoint


def record(**figures) -> dict:
    """As evaluation.jsonl keeps it: fid_trunk and gender."""
    metrics = {"fid": {"fid_trunk": {"value": figures["fid_trunk"]}}} if "fid_trunk" in figures else {}
    if "gender" in figures:
        metrics["gender"] = {"generated": {"value": figures["gender"]}, "real": {"value": 99.0}}
    return {"split": "val", "metrics": metrics}


def names(run: Run) -> list[str]:
    return sorted(p.name for p in (run.folder / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("best", "values", "expected"),
    [("fid_trunk", [9.0, 4.0, 6.0, 5.0], 2), ("gender", [60.0, 70.0, 90.0, 80.0], 3)],
)
def test_the_best_is_kept_beside_the_newest(trained, tmp_path, new_run, best, values, expected):
    run, checkpoint = new_run(tmp_path, run__best=best, run__evaluate_every=1), load_checkpoint(trained)
    for i, value in enumerate(values, 1):
        run.save("gan", i, checkpoint, {})
        assert run.evaluated("gan", i, record(**{best: value})) == {best: value}
    run.save("gan", 5, checkpoint, {})
    assert names(run) == [f"gan-000000{i}" for i in sorted({expected, 4, 5})]
    about = json.loads((run.folder / "best.json").read_text())
    assert about == {
        "checkpoint": f"gan-000000{expected}",
        "iteration": expected,
        "by": best,
        best: values[expected - 1],
    }
    assert load_checkpoint(run.folder / "best").folder.name == f"gan-000000{expected}"
    assert load_checkpoint(run.folder).folder.name == "gan-0000005"
    lines = run.evaluations()
    assert [(x["stage"], x["iteration"], x["split"]) for x in lines] == [
        ("gan", i, "val") for i in range(1, 5)
    ]
    assert run.is_evaluated("gan", 4) and not run.is_evaluated("gan", 5)


def test_a_figure_that_could_not_be_computed_makes_no_best(trained, tmp_path, new_run):
    run, checkpoint = new_run(tmp_path), load_checkpoint(trained)
    run.save("gan", 1, checkpoint, {})
    for value in (None, float("nan")):
        run.evaluated("gan", 1, record(fid_trunk=value, gender=70.0))
    assert run.best() is None
    with pytest.raises(CheckpointError, match="no checkpoint is known to be its best.*evaluate_every"):
        load_checkpoint(run.folder / "best")
    run.evaluated("gan", 1, record(fid_trunk=3.0))
    assert run.best()["checkpoint"] == "gan-0000001"


def test_a_best_that_was_removed_is_forgotten(trained, tmp_path, new_run):
    run, checkpoint = new_run(tmp_path), load_checkpoint(trained)
    for i, value in ((1, 2.0), (2, 5.0)):
        run.save("gan", i, checkpoint, {})
        run.evaluated("gan", i, record(fid_trunk=value))
    shutil.rmtree(run.folder / "checkpoints" / "gan-0000001")
    with pytest.raises(CheckpointError, match="gan-0000001, the best checkpoint.*is missing"):
        load_checkpoint(run.folder / "best")
    run.save("gan", 3, checkpoint, {})
    run.evaluated("gan", 3, record(fid_trunk=4.0))  # worse than what is gone
    assert load_checkpoint(run.folder / "best").folder.name == "gan-0000003"
    (run.folder / "best.json").write_text("{")
    with pytest.raises(CheckpointError, match="best.json cannot be read"):
        load_checkpoint(run.folder / "best")


def test_figures_of_iterations_that_will_be_done_again_are_forgotten(tmp_path, new_run):
    run = new_run(tmp_path)
    for i in (10, 20):
        run.evaluated("gan", i, record(gender=50.0 + i))
    with (run.folder / "evaluation.jsonl").open("a") as file:
        file.write(
            '{"checkpoint": "gan-0000020", "metrics": {}}\n{"stage": "gan", "it'
        )  # evaluate's; cut off
    run.forget_after("gan", 10)
    assert [x.get("iteration") for x in run.evaluations()] == [10, None]


def test_a_run_of_before_goes_on_with_all_its_clips(tmp_path, new_run):
    """It knew no data.hold_out_clip: what it trains on must not change when it is resumed."""
    folder = new_run(tmp_path).folder
    assert Run.open(folder).recipe.data.hold_out_clip
    about = json.loads((folder / "run.json").read_text())
    del about["recipe"]["data"]["hold_out_clip"]
    (folder / "run.json").write_text(json.dumps(about))
    assert not Run.open(folder).recipe.data.hold_out_clip


# Killed while it saves

KILLED_WHILE_SAVING = """
import json, os, signal, sys, time
import numpy as np, torch
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.training.run.folder import Run, read_state

torch.set_num_threads(1)
run, random, results = Run.open(sys.argv[1]), np.random.default_rng(0), []
place = run.folder / "checkpoints"


def save_for_ever(told):
    checkpoint = load_checkpoint(run.folder)
    state = read_state(checkpoint.folder)
    del state["stage"], state["iteration"]
    iteration = int(checkpoint.folder.name.rpartition("-")[2])
    while True:
        iteration += 1
        state["mark"] = torch.full((200_000,), float(iteration))
        run.save("gan", iteration, checkpoint, state)
        figures = {"fid": {"fid_trunk": {"value": float((iteration * 7919) % 101)}}}
        run.evaluated("gan", iteration, {"metrics": figures})
        os.write(told, b"%d " % iteration)


for _ in range(25):
    reader, writer = os.pipe()
    child = os.fork()  # not a new process each time: torch takes seconds to import
    if child == 0:
        os.close(reader)
        save_for_ever(writer)
    os.close(writer)
    told = os.read(reader, 100)  # one is whole; the kill falls somewhere in the next few
    time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reader, 100):
        told += more
    os.close(reader)
    told = [int(x) for x in told.split()]
    inside = any(p.name.startswith(".") for p in place.iterdir())
    run.tidy()
    state = run.load_state()
    results.append({
        "told": told, "inside": inside, "iteration": state["iteration"],
        "mark": [float(state["mark"].min()), float(state["mark"].max())],
        "newest": load_checkpoint(run.folder).folder.name,
        "best": load_checkpoint(run.folder / "best").generator is not None,
        "left": [p.name for p in (*run.folder.glob(".*"), *place.glob(".*"))],
        "kept": len(list(place.iterdir())),
    })
print(json.dumps(results))
"""


def test_killed_at_any_moment_while_saving_nothing_is_lost(trained, tmp_path, store, python):
    """25 times kill -9 at a random moment of saving, dropping, noting the best: whatever was saved before can
    be loaded, and the run goes on from there."""
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    result = python("-c", KILLED_WHILE_SAVING, folder)
    assert result.code == 0, result.stderr
    seen = json.loads(result.stdout)
    assert len(seen) == 25
    for one in seen:
        assert one["iteration"] in (one["told"][-1], one["told"][-1] + 1), "what was saved is lost"
        assert one["mark"] == [one["iteration"]] * 2 and one["newest"] == f"gan-{one['iteration']:07d}"
        assert one["best"] and not one["left"]
        assert one["kept"] <= 4  # the newest two, the best, and one that was about to be dropped
    assert sum(one["inside"] for one in seen) >= 5, "the kills missed the writing; nothing was shown"
    assert len({len(one["told"]) for one in seen}) > 1, "always killed at the same place"
    about = json.loads((folder / "run.json").read_text())
    about["recipe"]["gan"]["iterations"] = one["iteration"] + 2
    (folder / "run.json").write_text(json.dumps(about))
    outcome = train(Run.open(folder), store, torch.device("cpu"))
    assert outcome.finished and outcome.iteration == one["iteration"] + 2


def test_one_process_at_a_time_trains_a_run(tmp_path, new_run, store):
    run = new_run(tmp_path, gan__iterations=1, encoder__iterations=1)
    with run.alone():
        (run.folder / "checkpoints").mkdir()
        begun = run.folder / "checkpoints" / ".gan-0000001.tmp"
        begun.mkdir()
        before = sorted(run.folder.rglob("*"))
        with pytest.raises(TrainingError, match="00000-.*another process is training this run"):
            train(Run.open(run.folder), store, torch.device("cpu"))
        assert sorted(run.folder.rglob("*")) == before, "what the other one writes is left alone"
    with run.alone():
        pass
