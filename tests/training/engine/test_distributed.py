"""Several processes are one: the same losses, the same weights, one voice, one end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from voice2face_gan.data.store import Store
from voice2face_gan.errors import DeviceError, TrainingError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.training.engine import distributed
from voice2face_gan.training.engine.distributed import SingleProcess, started_processes
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.r3gan import R3GANStage

CPU = torch.device("cpu")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
SETTINGS = {"run__log_every": 1, "run__checkpoint_every": 4, "gan__ema_decay": 0.9, "gan__l1": 1.0}

SCRIPT = """
import hashlib, json, sys
from voice2face_gan.data.synthetic import synthetic_store
from voice2face_gan.errors import TrainingError
from voice2face_gan.training.engine import train as engine
from voice2face_gan.training.engine.distributed import started_processes
from voice2face_gan.training.run.folder import Run
import torch

torch.set_num_threads(1)
here = started_processes("cpu")
kept = []

class Watched(engine.GAN_STAGES["wen2019"]):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        kept.append(self)

engine.GAN_STAGES["wen2019"] = Watched

def fail():
    raise TrainingError("said by one")

def told(function, call):
    try:
        return call(function)
    except TrainingError as error:
        return f"raised: {error}"

parameter = torch.nn.Parameter(torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last))
parameter.grad = torch.full_like(parameter, float(here.rank)) + torch.arange(24.0).view(2, 3, 2, 2)
unused = torch.nn.Parameter(torch.zeros(3))
here.average([parameter, unused])
result = {
    "rank": here.rank, "size": here.size, "device": str(here.device),
    "mine": list(range(9))[here.shard(9)],
    "gradient": parameter.grad.flatten().tolist(), "unused": unused.grad is None,
    "most": here.max(3 - here.rank), "mean": here.mean(torch.tensor([here.rank, 1.0])).tolist(),
    "on_main": here.on_main(lambda: f"from {here.rank}"),
    "main_fails": told(fail, here.on_main),
    "other_fails": told(lambda: fail() if here.rank else 5, here.on_all_ranks),
    "nobody_fails": here.on_all_ranks(lambda: here.rank),
}
outcome = engine.train(Run.open(sys.argv[1]), synthetic_store("synthetic:20"), here.device, processes=here)
nets = [getattr(kept[0], n) for n in ("generator", "generator_ema", "trunk", "discriminator", "classifier")]
weights = b"".join(v.numpy().tobytes() for net in nets for v in net.state_dict().values())
result |= {"hash": hashlib.sha256(weights).hexdigest(), "iteration": outcome.iteration}
sys.path.append(sys.argv[3])
from test_distributed import r3gan_run
result["r3gan"] = r3gan_run(sys.argv[4], sys.argv[5], here)
with open(f"{sys.argv[2]}/{here.rank}.json", "w") as file:
    json.dump(result, file)
here.close()
"""


def r3gan_run(encoder: str, store: str, processes: SingleProcess) -> dict[str, list]:
    """Four iterations of the r3gan stage: losses, the mean of all processes', and the discriminator's weights
    after each. Of a batch of 8 one pair is penalised, which cannot be shared evenly."""
    settings = {"model.generator.width": 4, "model.generator.z_dim": 6, "gan.batch": 8}
    settings |= {"data.crop_frames": [100, 200]}
    settings |= {"gan.d_identity": 0.5, "gan.g_identity": 0.5, "gan.l1": 1.0, "run.precision": "fp32"}
    settings |= {"r3gan.penalty_share": 0.125, "gan.iterations": 100}
    settings |= {"gan.lr": 1e-4}  # Adam's first steps make much of the smallest gradients, rounding and all
    data = Store(store)
    recipe = load_recipe("r3gan", [f"{key}={json.dumps(value)}" for key, value in settings.items()])
    nets = load_checkpoint(encoder, need_generator=False)
    stage = R3GANStage(data.of_split("train"), data.of_split("val"), nets, recipe, 0, CPU, processes)
    losses, weights = [], []
    for iteration in range(4):
        found = stage.step(iteration)
        mean = processes.mean(torch.stack([*found.values()])).tolist()
        losses.append(dict(zip(found, mean, strict=True)))
        weights.append(torch.cat([p.detach().flatten() for p in stage.discriminator_parameters]).tolist())
    return {"losses": losses, "weights": weights}


def log(run: Run) -> list[dict]:
    lines = [json.loads(line) for line in (run.folder / "train.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if k not in ("stage", "per_second", "seconds_left")} for x in lines]


@pytest.fixture(scope="module")
def together(tmp_path_factory, python, store, trained, new_run):
    """A GAN that two processes trained for 10 iterations, and what each of them saw."""
    place = tmp_path_factory.mktemp("together")
    run = new_run(place / "runs", 10, encoder=trained, **SETTINGS)
    (place / "script.py").write_text(SCRIPT)
    more = (Path(__file__).parent, trained / "encoder", store.folder)
    result = python(*TORCHRUN, place / "script.py", run.folder, place, *more, timeout=300)
    assert result.code == 0, result.stderr
    return run, [json.loads((place / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_the_processes_agree(together):
    _, seen = together
    for rank, one in enumerate(seen):
        assert (one["rank"], one["size"], one["device"]) == (rank, 2, "cpu")
        assert one["gradient"] == [0.5 + i for i in range(24)] and one["unused"]
        assert one["most"] == 3 and one["mean"] == [0.5, 1.0] and one["on_main"] == "from 0"
        assert one["main_fails"] == one["other_fails"] == "raised: said by one"
        assert one["nobody_fails"] == rank
    assert seen[0]["mine"] == [0, 2, 4, 6] and seen[1]["mine"] == [1, 3, 5, 7]


def test_two_processes_do_what_one_does(together, tmp_path, store, trained, new_run):
    run, seen = together
    assert seen[0]["hash"] == seen[1]["hash"], "the weights have drifted apart"
    assert seen[0]["iteration"] == 10
    alone = new_run(tmp_path, 10, encoder=trained, **SETTINGS)
    train(alone, store, CPU)
    ours, theirs = log(alone), log(run)
    assert [x["iteration"] for x in theirs] == list(range(1, 11))  # by one process, each once
    for a, b in zip(ours, theirs, strict=True):
        assert b == pytest.approx(a, rel=1e-4)
    one, two = (load_checkpoint(r.folder).generator.state_dict() for r in (alone, run))
    start = load_checkpoint(alone.folder / "checkpoints" / "gan-0000008").generator.state_dict()
    for name, value in one.items():
        moved = (value - start[name]).abs().max()
        assert (two[name] - value).abs().max() < 0.02 * moved + 1e-7, name


def test_two_processes_do_what_one_does_in_the_r3gan_stage(together, trained, store):
    theirs, again = (one["r3gan"] for one in together[1])
    assert theirs == again
    ours = r3gan_run(trained / "encoder", store.folder, SingleProcess("cpu"))
    assert {"C_real", "D_penalty", "G_l1"} <= set(ours["losses"][0])
    for a, b in zip(ours["losses"], theirs["losses"], strict=True):
        assert b == pytest.approx(a, rel=1e-4)
    ours, theirs = (torch.tensor(of["weights"]) for of in (ours, theirs))
    assert (theirs[-1] - ours[-1]).norm() < 0.02 * (ours[-1] - ours[0]).norm()


def test_one_process_goes_on_with_what_two_saved(together, tmp_path, store):
    folder = shutil.copytree(together[0].folder, tmp_path / "copy")
    shutil.rmtree(folder / "checkpoints" / "gan-0000010")
    outcome = train(Run.open(folder), store, CPU)
    assert outcome.finished and outcome.iteration == 10
    ours, theirs = log(Run.open(folder)), log(together[0])
    for a, b in zip(ours, theirs, strict=True):
        assert b == pytest.approx(a, rel=1e-4)
    assert ours[:8] == theirs[:8]


def test_one_alone_has_all_of_the_batch():
    here = SingleProcess("cpu")
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), 3.0)
    here.average([parameter])
    assert parameter.grad.tolist() == [3.0, 3.0] and here.is_main and here.max(2) == 2
    assert list(range(7))[here.shard(7)] == list(range(7))
    with pytest.raises(TrainingError, match="why"), here.error_boundary():
        raise TrainingError("why")


@pytest.mark.parametrize(("batch", "size"), [(9, 2), (2, 2), (6, 4)])
def test_a_batch_that_cannot_be_shared(tmp_path, store, new_run, batch, size):
    here = SingleProcess("cpu")
    here.size = size
    run = new_run(tmp_path, encoder__batch=16, gan__batch=batch)
    with pytest.raises(TrainingError, match=rf"gan.batch is {batch}, which {size} processes.*gan.batch="):
        train(run, store, CPU, processes=here)


def test_of_several_processes_none_chooses_a_gpu(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DeviceError, match="each takes its own GPU"):
        started_processes("cuda:1")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert type(started_processes("cpu")) is SingleProcess


def test_without_accelerate_a_sentence(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(TrainingError, match=r"voice2face-gan\[distributed\]"):
        started_processes("cpu")


def test_the_main_process_alone_speaks(monkeypatch):
    here = SingleProcess("cpu")
    here.rank = 1
    with pytest.raises(SystemExit) as end, here.error_boundary():
        raise TrainingError("said by the main process already")
    assert end.value.code == 2
    with pytest.raises(distributed.RankError), here.error_boundary():
        raise distributed.RankError("of this process alone")


def start(cwd, *arguments) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *map(str, arguments)], cwd=cwd, env=environment, **pipes)


def test_from_the_command_line_an_error_is_one_sentence(tmp_path, tiny, store):
    """A recipe that no process can use, found before anything is made."""
    process = start(
        tmp_path, *TORCHRUN, "-m", "voice2face_gan", "train", *tiny(gan__batch=9), "--device", "cpu"
    )
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0 and not (tmp_path / "runs").exists()
    assert err.count("Error: gan.batch is 9, which 2 processes cannot share evenly") == 1, err
    assert err.count("exitcode  : 2") == 2 or "exitcode: 2" in err, err


@pytest.mark.slow
def test_interrupted_from_the_command_line_and_resumed_by_accelerate(tmp_path, tiny, store):
    options = tiny(gan__iterations=100_000, encoder__iterations=4, run__log_every=5)
    command = ("-m", "voice2face_gan", "train", "--device", "cpu")
    process = start(tmp_path, *TORCHRUN, *command, *options)
    for _ in range(1200):
        (run,) = [*(tmp_path / "runs").glob("0*")] or [None]
        if (
            run
            and (run / "train.jsonl").is_file()
            and '"gan", "iteration": 10,' in (run / "train.jsonl").read_text()
        ):
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert err.count("Interrupted and saved at iteration") == 1, err
    (saved,) = [p for p in (run / "checkpoints").iterdir() if p.name.startswith("gan")]
    at = int(saved.name.rpartition("-")[2])
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")
    process = start(tmp_path, *launch, *command, "--resume", "--iterations", at + 6)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err.count(f"The gan stage goes on at iteration {at}") == 1
    assert (run / "checkpoints" / f"gan-{at + 6:07d}").is_dir()
