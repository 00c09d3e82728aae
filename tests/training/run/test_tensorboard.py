"""TensorBoard events, read back by TensorBoard."""

import sys

import numpy as np
import pytest
import torch

from voice2face_gan.errors import TrainingError
from voice2face_gan.training.engine import trainer
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.run.tensorboard import Tracker, clip_sound

CPU = torch.device("cpu")
SETTINGS = {
    "run__tensorboard": True,
    "run__log_every": 2,
    "run__checkpoint_every": 2,
    "run__grid_every": 4,
    "run__evaluate_every": 4,
}


def events(run: Run, stage: str = "gan"):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    everything = dict.fromkeys(("scalars", "images", "histograms", "audio"), 0)
    found = EventAccumulator(str(run.folder / "tensorboard" / stage), size_guidance=everything)
    return found.Reload()


def evaluate(folder) -> dict:
    return {"metrics": {"gender": {"generated": {"value": 75.0}}}}


def test_what_is_written(tmp_path, store, new_run):
    run = new_run(tmp_path, 6, **SETTINGS)
    train(run, store, CPU, evaluate=evaluate)
    seen = events(run)
    logged = [x for x in run_log(run) if x["stage"] == "gan"]
    for name in ("D_real", "G_identity"):
        points = [(e.step, e.value) for e in seen.Scalars(f"loss/{name}")]
        assert points == [(x["iteration"], pytest.approx(x[name], rel=1e-6)) for x in logged]
    assert [(e.step, e.value) for e in seen.Scalars("figure/gender")] == [(4, 75.0), (6, 75.0)]
    assert [e.step for e in seen.Images("faces")] == [4, 6]
    weights = seen.Histograms("generator/model.0.weight")
    assert [e.step for e in weights] == [4, 6] and weights[0].histogram_value.num == 64 * 32 * 16
    names = sorted(set(store.identity[store.split == "val"].tolist()))
    assert sorted(seen.Tags()["audio"]) == [f"clip/{name}" for name in names]
    assert [(e.sample_rate, e.length_frames) for e in seen.Audio(f"clip/{names[0]}")] == [(16_000, 64_000)]
    (mel,) = seen.Images(f"log-mel/{names[0]}")
    assert mel.height == 64 and mel.width == store.voice_frames[0]
    assert events(run, "encoder").Scalars("loss/cross_entropy")[0].step == 2


def run_log(run: Run) -> list[dict]:
    import json

    return [json.loads(line) for line in (run.folder / "train.jsonl").read_text().splitlines()]


def test_a_resumed_run_shows_no_iteration_twice(tmp_path, store, new_run, monkeypatch):
    run = new_run(tmp_path, 8, **SETTINGS)
    log = Run.log
    monkeypatch.setattr(Run, "log", lambda self, x: exit_at(x) or log(self, x))
    with pytest.raises(RuntimeError):
        train(run, store, CPU)
    monkeypatch.setattr(Run, "log", log)
    assert train(Run.open(run.folder), store, CPU).finished
    steps = [e.step for e in events(run).Scalars("loss/D_real")]
    assert steps == [2, 4, 6, 8]


def exit_at(line: dict) -> None:
    if (line["stage"], line["iteration"]) == ("gan", 6):
        raise RuntimeError("as if killed")


def test_large_weights_are_sampled(tmp_path):
    class Stage:
        net = None

    stage = Stage()
    stage.net = torch.nn.Linear(1000, 1000, bias=False)
    run = type("R", (), {"folder": tmp_path})
    tracker = Tracker(tmp_path / "tensorboard" / "gan")
    tracker.weights(3, stage)
    tracker.close()
    (event,) = events(run).Histograms("net/weight")
    assert event.step == 3 and 32_768 <= event.histogram_value.num <= 65_536


def test_the_sound_of_a_clip(store):
    """The synthetic world is spoken again: the same log-mels come out as the store holds."""
    from voice2face_gan.audio.log_mel import FeatureSettings, log_mel, normalise

    for record in np.flatnonzero(store.has_voice)[[1, 6, -1]]:
        wave = clip_sound(store, int(record))
        mel = normalise(log_mel(torch.from_numpy(wave), FeatureSettings())).numpy().T
        start = store.voice_offset[record]
        kept = store.voices[start : start + store.voice_frames[record]].astype(np.float32)
        assert np.abs(kept - mel).max() < 0.01
    other = store.select(np.ones(len(store), dtype=bool))
    other.about = {**store.about, "source": {"layout": "voxceleb"}}
    assert clip_sound(other, 0) is None
    other.speech = np.array([0, 16384, -32768, 0], dtype=np.int16)
    other.speech_offset, other.speech_samples = np.full(len(store), 1), np.full(len(store), 2)
    assert clip_sound(other, 0).tolist() == [0.5, -1.0]


def test_only_where_it_is_installed_unless_asked_for(tmp_path, store, new_run, monkeypatch):
    monkeypatch.setattr(trainer, "installed", lambda: False)
    run = new_run(tmp_path, 2, run__tensorboard="auto")
    train(run, store, CPU)
    assert not (run.folder / "tensorboard").exists()
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(TrainingError, match=r"TensorBoard is not installed.*\[track\]"):
        train(new_run(tmp_path, 2, run__tensorboard=True), store, CPU)


def test_a_full_disk_ends_in_a_sentence(tmp_path, store, new_run, full_disk):
    run = new_run(tmp_path, 4, **SETTINGS)
    with full_disk(3000), pytest.raises(TrainingError, match="cannot be written"):
        train(run, store, CPU)
