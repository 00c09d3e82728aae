"""Runs that are interrupted, killed, late or spoilt, and how they go on."""

import json
import math
import shutil
import signal

import numpy as np
import pytest
import torch

from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import CheckpointError, DataError, TrainingError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.training.engine.train import Reporter, train
from voice2face_gan.training.engine.warm_start import given_nets, training_records
from voice2face_gan.training.run.folder import Run, read_state
from voice2face_gan.training.stages import speaker_classification, wen2019

CPU = torch.device("cpu")


class At(Reporter):
    """Does something once when a stage reaches an iteration; keeps what it was told."""

    def __init__(self, stage: str = "", iteration: int = 0, action=lambda: None):
        self.where, self.action, self.told = (stage, iteration), action, []

    def stage(self, name, iteration, iterations):
        self.told.append((name, iteration, iterations))

    def tick(self, name, iteration, losses, per_second):
        if (name, iteration) == self.where:
            self.action()


def interrupt():
    signal.raise_signal(signal.SIGINT)


def crash():
    raise RuntimeError("as if killed: nothing is saved")


def final_bytes(run: Run) -> bytes:
    return (
        run.folder / "checkpoints" / f"gan-{run.recipe.gan.iterations:07d}" / "model.safetensors"
    ).read_bytes()


def log(run: Run) -> list[dict]:
    return [json.loads(line) for line in (run.folder / "train.jsonl").read_text().splitlines()]


def places(run: Run) -> list[tuple[str, int]]:
    return [(line["stage"], line["iteration"]) for line in log(run)]


SETTINGS = {
    "iterations": 12,
    "run__log_every": 4,
    "run__checkpoint_every": 8,
    "run__grid_every": 6,
    "gan__ema_decay": 0.9,
}
EXPECTED = [(stage, i) for stage in ("encoder", "gan") for i in (4, 8, 12)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, store, new_run):
    """A run that nothing interrupted."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run = new_run(tmp_path_factory.mktemp("whole"), **SETTINGS)
    outcome = train(run, store, CPU)
    torch.set_num_threads(before)
    assert outcome.finished and outcome.reason == "finished" and outcome.stage == "gan"
    return run


def losses(run: Run) -> list[dict]:
    """The log without what depends on the clock."""
    return [{k: v for k, v in x.items() if k not in ("per_second", "seconds_left")} for x in log(run)]


def same_losses(a: Run, b: Run) -> bool:
    return losses(a) == losses(b)


def test_what_a_run_leaves(whole):
    assert places(whole) == EXPECTED
    assert sorted(p.name for p in (whole.folder / "grids").iterdir()) == ["0000006.png", "0000012.png"]
    assert all(math.isfinite(v) for line in log(whole) for v in line.values() if isinstance(v, float))
    checkpoint = load_checkpoint(whole.folder)
    assert checkpoint.info["stage"] == "gan" and checkpoint.info["iteration"] == 12
    assert checkpoint.info["data"]["identities"] == 14
    assert checkpoint.gender_probe is not None
    encoder = load_checkpoint(whole.folder / "encoder", need_generator=False)
    for name, value in encoder.encoder.state_dict().items():
        assert torch.equal(checkpoint.encoder.state_dict()[name], value)


def test_the_same_seed_gives_the_same_run_and_another_does_not(whole, tmp_path, store, new_run):
    again, other = new_run(tmp_path, **SETTINGS), new_run(tmp_path, seed=1, **SETTINGS)
    for run in (again, other):
        train(run, store, CPU)
    assert final_bytes(again) == final_bytes(whole) and same_losses(again, whole)
    assert final_bytes(other) != final_bytes(whole)


@pytest.mark.parametrize("stage", ["encoder", "gan"])
def test_interrupted_and_resumed_equals_uninterrupted(whole, tmp_path, store, new_run, stage):
    run = new_run(tmp_path, **SETTINGS)
    before = signal.getsignal(signal.SIGINT)
    outcome = train(run, store, CPU, At(stage, 4, interrupt))
    assert signal.getsignal(signal.SIGINT) is before
    assert (outcome.reason, outcome.finished, outcome.stage, outcome.iteration) == (
        "interrupted",
        False,
        stage,
        4,
    )
    assert outcome.checkpoint.name == f"{stage}-0000004"
    reporter = At()
    outcome = train(Run.open(run.folder), store, CPU, reporter)
    assert outcome.finished and reporter.told[0] == (stage, 4, 12)
    assert final_bytes(run) == final_bytes(whole)
    assert places(run) == EXPECTED and same_losses(run, whole)


@pytest.mark.parametrize(("stage", "iteration"), [("encoder", 4), ("gan", 4), ("gan", 12)])
def test_killed_and_resumed_equals_uninterrupted(whole, tmp_path, store, new_run, stage, iteration):
    """Before the stage's first checkpoint, and after one; a half-written line and folder lie about."""
    run = new_run(tmp_path, **SETTINGS)
    with pytest.raises(RuntimeError, match="as if killed"):
        train(run, store, CPU, At(stage, iteration, crash))
    with (run.folder / "train.jsonl").open("a") as file:
        file.write('{"stage": "gan", "iter')
    (run.folder / "checkpoints" / ".gan-0000012.1.tmp").mkdir(parents=True)
    outcome = train(Run.open(run.folder), store, CPU)
    assert outcome.finished
    assert places(run) == EXPECTED and same_losses(run, whole)
    assert final_bytes(run) == final_bytes(whole)


def test_an_interrupt_in_the_last_iteration_of_a_stage_is_not_lost(tmp_path, store, new_run):
    run = new_run(tmp_path, **SETTINGS)
    outcome = train(run, store, CPU, At("encoder", 12, interrupt))
    assert outcome.reason == "interrupted" and not outcome.finished and outcome.stage == "encoder"
    assert (run.folder / "encoder").is_dir()
    reporter = At()
    assert train(Run.open(run.folder), store, CPU, reporter).finished
    assert reporter.told == [("gan", 0, 12)]


def test_a_second_ctrl_c_stops_at_once(tmp_path, store, new_run):
    run = new_run(tmp_path, **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        train(run, store, CPU, At("gan", 4, lambda: (interrupt(), interrupt())))
    assert train(Run.open(run.folder), store, CPU).finished


def test_sigterm_saves_too(tmp_path, store, new_run):
    run = new_run(tmp_path, **SETTINGS)
    outcome = train(run, store, CPU, At("encoder", 4, lambda: signal.raise_signal(signal.SIGTERM)))
    assert outcome.reason == "interrupted" and outcome.iteration == 4


def test_time_is_up(tmp_path, store, new_run):
    run = new_run(tmp_path, **SETTINGS)
    outcome = train(run, store, CPU, minutes=1e-9)
    assert (outcome.reason, outcome.finished, outcome.iteration, outcome.checkpoint) == (
        "minutes",
        False,
        0,
        None,
    )
    assert train(run, store, CPU).finished


def test_iterations_bound_each_stage(tmp_path, store, new_run):
    run = new_run(tmp_path, **SETTINGS)
    reporter = At()
    outcome = train(run, store, CPU, reporter, iterations=3)
    assert outcome.finished and reporter.told == [("encoder", 0, 3), ("gan", 0, 3)]
    outcome = train(Run.open(run.folder), store, CPU, reporter, iterations=5)
    assert outcome.iteration == 5 and reporter.told[2:] == [("gan", 3, 5)]


def test_a_finished_run_is_left_as_it_is(run_copy, store):
    files = {p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file()}
    outcome = train(Run.open(run_copy), store, CPU)
    assert outcome.finished and outcome.iteration == 30
    assert {p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file()} == files


# A loss that is no number


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    tmp_path, store, new_run, monkeypatch, bad
):
    """Also where the checkpoint is due before the next look at the losses (every 5 against every 20)."""
    settings = SETTINGS | {"run__checkpoint_every": 5, "run__log_every": 20, "iterations": 40}
    run = new_run(tmp_path, **settings)
    step = wen2019.Wen2019Stage.step

    def spoilt(self, iteration):
        losses = step(self, iteration)
        return losses | {"D_real": losses["D_real"] * bad} if iteration == 6 else losses

    monkeypatch.setattr(wen2019.Wen2019Stage, "step", spoilt)
    with pytest.raises(
        TrainingError, match=r"loss D_real is no longer a finite number.*gan stage.*--set gan.lr"
    ):
        train(run, store, CPU)
    assert run.load_state()["iteration"] == 5
    assert not any(
        "NaN" in line or "Inf" in line for line in (run.folder / "train.jsonl").read_text().splitlines()
    )
    load_checkpoint(run.folder)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, store, new_run, monkeypatch):
    """A step spoils the weights after its losses were computed: the next losses would tell, too late."""
    run = new_run(tmp_path, **SETTINGS)
    step = wen2019.Wen2019Stage.step

    def spoilt(self, iteration):
        losses = step(self, iteration)
        if iteration == 11:  # the last
            self.generator_ema.model[0].weight.data[0] = math.nan
        return losses

    monkeypatch.setattr(wen2019.Wen2019Stage, "step", spoilt)
    with pytest.raises(TrainingError, match="weight generator.model.0.weight is no longer"):
        train(run, store, CPU)
    assert run.load_state()["iteration"] == 8


def test_a_rate_far_too_high_ends_in_a_sentence(tmp_path, store, new_run):
    run = new_run(tmp_path, **SETTINGS | {"iterations": 400}, gan__lr=1e18, encoder__iterations=4)
    with pytest.raises(TrainingError, match="no longer a finite number"):
        train(run, store, CPU)


# A given encoder


def test_a_given_encoder_is_used_and_not_trained(trained, tmp_path, store, new_run, monkeypatch):
    monkeypatch.setattr(
        speaker_classification.SpeakerClassificationStage, "step", lambda *_: pytest.fail("trained")
    )
    run = new_run(tmp_path, 5, encoder=trained)
    assert train(run, store, CPU).finished
    given, used = load_checkpoint(trained), load_checkpoint(run.folder)
    for name, value in given.encoder.state_dict().items():
        assert torch.equal(used.encoder.state_dict()[name], value)
    assert {stage for stage, _ in places(run)} == {"gan"}


def test_the_encoders_table_is_that_of_its_checkpoint(trained, tmp_path, store, new_run):
    """Whatever the recipe says of one; the generator takes what it gives."""
    run = new_run(tmp_path, 1, encoder=trained, model__encoder__embedding=32)
    assert train(run, store, CPU).finished
    used = load_checkpoint(run.folder)
    assert used.encoder_config == load_checkpoint(trained).encoder_config
    assert used.generator_config.embedding == used.encoder_config.embedding == 64


def test_an_encoder_that_does_not_fit_is_refused(trained, tmp_path, store, new_run):
    other = tmp_path / "other"
    shutil.copytree(trained / "encoder", other)
    config = json.loads((other / "config.json").read_text())
    config["features"]["f_max"] = 4000.0
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="log-mel settings differ"):
        train(new_run(tmp_path, encoder=other), store, CPU)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        train(new_run(tmp_path, encoder=tmp_path / "nowhere"), store, CPU)


# Nets that are fine-tuned


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, store, new_run):
    """A run that has learnt to paint something like a face."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    more = {
        "gan__l1": 10.0,
        "gan__g_adversarial": 0.0,
        "gan__g_identity": 0.0,
        "gan__lr": 3e-3,
        "gan__ema_decay": 0.9,
    }
    run = new_run(tmp_path_factory.mktemp("teacher"), 40, encoder__iterations=4, **more)
    train(run, store, CPU)
    torch.set_num_threads(before)
    return run.folder


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


FINE = {"gan__l1": 10.0, "run__log_every": 1, "gan__ema_decay": 0.9}


def test_fine_tuning_starts_from_the_nets_given(teacher, tmp_path, store, new_run, monkeypatch):
    monkeypatch.setattr(
        speaker_classification.SpeakerClassificationStage,
        "step",
        lambda *_: pytest.fail("the encoder was trained"),
    )
    run = new_run(tmp_path, 5, init=teacher, data__gender="female", **FINE)
    assert train(run, store, CPU).finished
    given, first = load_checkpoint(teacher), load_checkpoint(run.folder / "checkpoints" / "gan-0000000")
    for net in ("generator", "encoder"):
        assert equal(getattr(given, net).state_dict(), getattr(first, net).state_dict())
    assert torch.equal(given.gender_probe, first.gender_probe)  # women alone cannot give another
    assert not equal(given.generator.state_dict(), load_checkpoint(run.folder).generator.state_dict())
    theirs, ours = (read_state(c.folder) for c in (given, first))
    assert equal(theirs["trunk"], ours["trunk"]) and equal(theirs["discriminator"], ours["discriminator"])
    assert len(theirs["classifier"]["model.bias"]) == 14 and len(ours["classifier"]["model.bias"]) == 8
    assert not ours["generator_optimiser"]["state"]


def test_fine_tuning_starts_lower_than_from_nothing(teacher, tmp_path, store, new_run):
    fine, scratch = new_run(tmp_path, 1, init=teacher, **FINE), new_run(tmp_path, 1, encoder=teacher, **FINE)
    for run in (fine, scratch):
        train(run, store, CPU)
    assert log(fine)[0]["G_l1"] < 0.8 * log(scratch)[0]["G_l1"]


def test_a_checkpoint_without_training_state_gives_its_generator(model_folder, tmp_path, store, new_run):
    run = new_run(tmp_path, 2, init=model_folder)
    train(run, store, CPU)
    first = load_checkpoint(run.folder / "checkpoints" / "gan-0000000")
    assert equal(load_checkpoint(model_folder).generator.state_dict(), first.generator.state_dict())


def test_fine_tuning_killed_and_resumed_equals_uninterrupted(teacher, tmp_path, store, new_run):
    whole, run = (new_run(tmp_path, 6, init=teacher, **FINE) for _ in range(2))
    train(whole, store, CPU)
    with pytest.raises(RuntimeError, match="as if killed"):
        train(run, store, CPU, At("gan", 3, crash))
    assert train(Run.open(run.folder), store, CPU).finished
    assert final_bytes(run) == final_bytes(whole) and same_losses(run, whole)


def test_nets_that_do_not_fit_the_recipe_are_refused(teacher, tmp_path, store, new_run):
    wrong = {
        "model__generator__type": "r3gan",
        "model__generator__output": "tanh",
        "model__generator__kernel": 3,
        "model__generator__channels": [8] * 5,
    }
    for key, value in wrong.items():
        name = key.replace("__", ".")
        with pytest.raises(
            CheckpointError, match=rf"does not fit the recipe wen2019: its {name} is.*--recipe"
        ):
            given_nets(new_run(tmp_path, init=teacher, **{key: value}))
    with pytest.raises(CheckpointError, match="voice encoder alone"):
        given_nets(new_run(tmp_path, init=teacher / "encoder"))
    assert given_nets(new_run(tmp_path)) is None


# Figures on the way


class FaceClassifier:
    """Gives each checkpoint the figure that was set for its iteration; remembers what it was asked."""

    def __init__(self, values: dict[int, float], fails_at: int = 0):
        self.values, self.fails_at, self.asked = values, fails_at, []

    def __call__(self, folder):
        iteration = load_checkpoint(folder).info["iteration"]
        torch.rand(100)  # a metric may draw what it likes
        if iteration == self.fails_at:
            self.fails_at = 0
            crash()
        self.asked.append(iteration)
        return {"split": "val", "metrics": {"fid": {"fid_trunk": {"value": self.values[iteration]}}}}


def figures(run: Run) -> list[tuple[int, float]]:
    return [(x["iteration"], x["metrics"]["fid"]["fid_trunk"]["value"]) for x in run.evaluations()]


MEASURED = SETTINGS | {"run__evaluate_every": 5, "run__keep": 1}


def test_figures_while_training_choose_the_best(whole, tmp_path, store, new_run):
    run, judge, told = new_run(tmp_path, **MEASURED), FaceClassifier({5: 3.0, 10: 2.0, 12: 7.0}), []
    reporter = At()
    reporter.evaluated = lambda *what: told.append(what)
    assert train(run, store, CPU, reporter, evaluate=judge).finished
    assert judge.asked == [5, 10, 12] and figures(run) == [(5, 3.0), (10, 2.0), (12, 7.0)]
    assert told == [
        ("gan", 5, {"fid_trunk": 3.0}, True),
        ("gan", 10, {"fid_trunk": 2.0}, True),
        ("gan", 12, {"fid_trunk": 7.0}, False),
    ]
    assert sorted(p.name for p in (run.folder / "checkpoints").iterdir()) == ["gan-0000010", "gan-0000012"]
    assert load_checkpoint(run.folder / "best").info["iteration"] == 10
    assert final_bytes(run) == final_bytes(whole), "to measure has changed what is trained"


def test_figures_that_a_kill_left_undone_are_computed_on_resuming(whole, tmp_path, store, new_run):
    run, judge = new_run(tmp_path, **MEASURED), FaceClassifier({5: 3.0, 10: 2.0, 12: 7.0}, fails_at=10)
    with pytest.raises(RuntimeError, match="as if killed"):
        train(run, store, CPU, evaluate=judge)
    assert figures(run) == [(5, 3.0)] and run.load_state()["iteration"] == 10
    assert train(Run.open(run.folder), store, CPU, evaluate=judge).finished
    assert figures(run) == [(5, 3.0), (10, 2.0), (12, 7.0)] and judge.asked == [5, 10, 12]
    train(Run.open(run.folder), store, CPU, evaluate=judge)
    assert judge.asked == [5, 10, 12], "a finished run is measured once"
    assert final_bytes(run) == final_bytes(whole)


def test_without_evaluate_every_nothing_is_measured(tmp_path, store, new_run):
    judge = FaceClassifier({})
    train(new_run(tmp_path, **SETTINGS), store, CPU, evaluate=judge)
    assert judge.asked == []


def test_too_little_memory_ends_in_a_sentence(tmp_path, store, new_run, monkeypatch):
    def step(self, iteration):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(wen2019.Wen2019Stage, "step", step)
    with pytest.raises(
        TrainingError, match="too little memory for iteration 0 of the gan.*--set gan.batch=4"
    ):
        train(new_run(tmp_path, **SETTINGS), store, CPU)


# Data that do not do


def test_only_people_of_the_gender_are_trained_on(tmp_path, store, new_run):
    run = new_run(tmp_path, data__gender="female")
    records = training_records(store, run)
    assert set(records.gender.tolist()) == {"female"} and set(records.split.tolist()) == {"train"}
    run = new_run(tmp_path, data__split="all")
    assert len(training_records(store, run)) == len(store)


def test_the_last_voice_of_each_person_is_left_out(tmp_path, store, new_run):
    """Its face is not: who has two voices, and a face beside each, keeps both faces."""
    everything = training_records(store, new_run(tmp_path, data__hold_out_clip=False))
    records = training_records(store, new_run(tmp_path))
    assert everything.has_voice.sum() == 14 * 4 and records.has_voice.sum() == 14 * 3
    assert records.face_index.tolist() == everything.face_index.tolist()
    lost = everything.select(everything.has_voice & ~records.has_voice).source
    assert sorted(lost) == sorted(f"{name}/3" for name in set(everything.identity.tolist()))


def voices_alone(folder, features) -> Store:
    with StoreWriter(folder, features) as writer:
        for i in range(4):
            writer.add(Record(f"r{i}", f"p{i}", gender="male", split="train"), np.zeros((64, 50), np.float32))
        writer.finish()
    return Store(folder)


def test_data_that_cannot_be_trained_on_are_refused_before_anything_is_trained(tmp_path, store, new_run):
    run = new_run(tmp_path / "runs")
    poor = voices_alone(tmp_path / "store", store.about["features"])
    with pytest.raises(DataError, match="0 of the people to train on have both"):
        train(run, poor, CPU)
    with pytest.raises(DataError, match="no record is of gender 'female'"):
        train(new_run(tmp_path / "runs", data__gender="female"), poor, CPU)
    with pytest.raises(DataError, match="split 'train' is empty"):
        train(run, store.select(store.split == "test"), CPU)
    with pytest.raises(DataError, match="log-mels of 64 bins, the recipe takes 40"):
        train(new_run(tmp_path / "runs", model__encoder__mel_bins=40), store, CPU)
    assert not (run.folder / "checkpoints").exists()


def test_a_full_disk_ends_in_a_sentence_and_the_run_goes_on_later(tmp_path, store, new_run, full_disk):
    run = new_run(tmp_path, **SETTINGS)
    with full_disk(20_000), pytest.raises(TrainingError, match="cannot be written"):
        train(run, store, CPU)
    assert train(Run.open(run.folder), store, CPU).finished
    assert places(run) == EXPECTED


def test_training_from_another_thread(tmp_path, store, new_run):
    """Only the main thread may watch for Ctrl-C; a notebook or a server may train in another."""
    import threading

    run, outcomes = new_run(tmp_path, **SETTINGS), []
    thread = threading.Thread(target=lambda: outcomes.append(train(run, store, CPU)))
    thread.start()
    thread.join()
    assert outcomes[0].finished
