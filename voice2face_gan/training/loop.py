"""The loop: batch -> step -> tick -> grid -> checkpoint, for each stage of a run in turn."""

import contextlib
import math
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError, TrainingError
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.registry import model_config
from voice2face_gan.training.gan import GanStage, identities_with_both
from voice2face_gan.training.recipe import EmbedderRecipe, GanRecipe
from voice2face_gan.training.run import Run
from voice2face_gan.training.speaker import EmbedderStage


class Reporter:
    """What a run tells whoever started it; this one says nothing. The command line shows it with rich."""

    def stage(self, name: str, iteration: int, iterations: int) -> None:
        """A stage starts, or goes on, at `iteration`."""

    def tick(self, name: str, iteration: int, losses: dict[str, float], per_second: float) -> None:
        """Mean losses since the last tick, and iterations per second."""


class Stage(Protocol):
    name: str
    iterations: int
    settings: EmbedderRecipe | GanRecipe

    def step(self, iteration: int) -> dict[str, torch.Tensor]: ...
    def state(self) -> dict: ...
    def load(self, state: dict) -> None: ...
    def checkpoint(self, iteration: int) -> Checkpoint: ...
    def picture(self): ...


@dataclass
class Outcome:
    """How a call of `train` ended.

    Attributes:
        folder: the run folder.
        checkpoint: the newest checkpoint folder.
        stage, iteration: where it stands.
        finished: whether every iteration is done; otherwise `--resume` goes on.
        reason: "finished", "interrupted" or "minutes".
        losses: of the last tick.
    """

    folder: Path
    checkpoint: Path | None
    stage: str
    iteration: int
    finished: bool
    reason: str
    losses: dict[str, float]


@contextlib.contextmanager
def _patient_interrupt():
    """Yields a list that holds "interrupted" after the first Ctrl-C or SIGTERM, so that an iteration is
    completed before the run is saved. A second signal interrupts at once."""
    asked: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set handlers
        return

    def ask(number, frame):
        if asked:
            raise KeyboardInterrupt
        asked.append("interrupted")

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def training_records(store: Store, run: Run) -> Store:
    """The records a run trains on.

    Raises:
        DataError: none is of the gender asked for, the training split is empty, fewer than two of its people
            have both voices and faces, or the recipe reads other log-mels.
    """
    data = run.recipe.data
    records = store.of_gender(data.gender).of_split(data.split)
    both = identities_with_both(records)
    if len(both) < 2:
        raise DataError(
            f"{store.folder}: {len(both)} of the people to train on have both voices and faces; "
            "training needs two or more."
        )
    bins, heard = records.about["features"]["n_mels"], run.recipe.model["mel_bins"]
    if bins != heard:
        raise DataError(f"{store.folder} holds log-mels of {bins} bins, the recipe reads {heard}.")
    side, made = records.about["side"], model_config(run.recipe.architecture, run.recipe.model).side
    if side != made:
        raise DataError(f"{store.folder} holds faces of {side} pixels, the recipe makes {made}.")
    return records


def train(
    run: Run,
    store: Store,
    device: torch.device,
    reporter: Reporter | None = None,
    minutes: float | None = None,
    iterations: int | None = None,
) -> Outcome:
    """Train, or go on with, a run: first its voice embedder, then the GAN.

    Args:
        run: a new or an earlier run.
        store: the data named in its settings.
        reporter: told what happens.
        minutes: stop and save after so long; None for no limit.
        iterations: do at most so many iterations of each stage, instead of the run's own number.
    Raises:
        TrainingError: a loss or weight is not finite, or a file cannot be written; earlier checkpoints are
            kept.
        DataError: the data lack what the stages need.
    """
    reporter = reporter or Reporter()
    limit = iterations or run.settings.get("iterations")
    deadline = time.monotonic() + 60 * minutes if minutes else math.inf
    seed = run.settings["seed"]
    records = training_records(store, run)
    state = run.load_state()
    # Around both stages, so that a Ctrl-C during the last iteration of the first is not lost.
    with _patient_interrupt() as asked:
        given = None if run.embedder_folder.is_dir() else given_embedder(run, records)
        if given is not None:
            # A copy of its own: the run it came from may drop that checkpoint.
            with run.writing():
                replace(given, generator=None, gender_probe=None).save(run.embedder_folder)
        elif not run.embedder_folder.is_dir():
            stage = EmbedderStage(records, run.recipe, seed, device)
            outcome = _run_stage(stage, run, reporter, state, limit, deadline, asked)
            if not outcome.finished:
                return outcome
            with run.writing():
                stage.checkpoint(outcome.iteration).save(run.embedder_folder)
            if asked:
                return replace(outcome, finished=False, reason="interrupted")
        embedder = load_checkpoint(run.embedder_folder, need_generator=False)
        stage = GanStage(records, _held_out(store, records, run), embedder, run.recipe, seed, device)
        return _run_stage(stage, run, reporter, state, limit, deadline, asked)


def given_embedder(run: Run, records: Store) -> Checkpoint | None:
    """The pretrained voice embedder that a run was given, None where it trains its own.

    Raises:
        CheckpointError: it cannot be read.
        DataError: it does not fit the data or the recipe.
    """
    given = run.settings.get("embedder")
    if given is None:
        return None
    checkpoint = load_checkpoint(given, need_generator=False)
    if checkpoint.features != records.about["features"]:
        raise DataError(
            f"{records.folder}: its log-mel settings differ from the voice embedder's "
            f"({checkpoint.folder}); prepare the data again with the embedder's settings."
        )
    if checkpoint.model.embedding != run.recipe.model["embedding"]:
        raise DataError(
            f"{checkpoint.folder} gives {checkpoint.model.embedding} numbers a voice, "
            f"the recipe expects {run.recipe.model['embedding']}."
        )
    return checkpoint


def _held_out(store: Store, records: Store, run: Run) -> Store:
    """Who the picture grids show: validation or test people of the same gender, else training people."""
    others = store.of_gender(run.recipe.data.gender)
    for split in ("val", "test"):
        part = others.select(others.split == split)
        if identities_with_both(part):
            return part
    return records


def _run_stage(stage: Stage, run: Run, reporter: Reporter, state, limit, deadline, asked) -> Outcome:
    settings = run.recipe.run
    total = min(stage.iterations, limit) if limit else stage.iterations
    start = 0
    if state is not None and state["stage"] == stage.name:
        stage.load(state)
        start = state["iteration"]
    # Also where there is no state: a run killed before its first checkpoint has logged iterations already.
    run.forget_after(stage.name, start, () if stage.name == "gan" else ("gan",))
    reporter.stage(stage.name, start, total)
    sums: dict[str, torch.Tensor] = {}
    losses: dict[str, float] = {}
    done, ticked, clock = start, start, time.monotonic()
    late = False
    while done < total and not asked:
        late = time.monotonic() > deadline
        if late:
            break
        for name, value in stage.step(done).items():
            sums[name] = sums[name] + value if name in sums else value
        done += 1
        if done % settings.log_every == 0 or done == total:
            now = time.monotonic()
            per_second = (done - ticked) / max(now - clock, 1e-9)
            losses = {name: float(total_loss) / (done - ticked) for name, total_loss in sums.items()}
            sums, ticked, clock = {}, done, now
            _check_finite(losses, stage, done)
            run.log({"stage": stage.name, "iteration": done, "per_second": round(per_second, 3), **losses})
            reporter.tick(stage.name, done, losses, per_second)
        if done % settings.checkpoint_every == 0 and done < total:
            _save(run, stage, done, sums)
        if done % settings.grid_every == 0 or done == total:
            _save_picture(run, stage, done)
    folder = _save(run, stage, done, sums) if done else None
    reason = "finished" if done >= total else "minutes" if late else "interrupted"
    return Outcome(run.folder, folder, stage.name, done, done >= total, reason, losses)


def _save(run: Run, stage: Stage, iteration: int, sums: dict[str, torch.Tensor]) -> Path:
    """A checkpoint, unless what it would hold is spoilt: the newest one is what --resume goes on with."""
    checkpoint = stage.checkpoint(iteration)
    _check_finite({name: float(value) for name, value in sums.items()}, stage, iteration)
    # The losses come before the step: a step may spoil the weights though its losses were good.
    spoilt = [k for k, v in checkpoint.tensors().items() if not torch.isfinite(v).all()]
    _check_finite(dict.fromkeys(spoilt, math.nan), stage, iteration, "weight")
    return run.save(stage.name, iteration, checkpoint, stage.state())


def _check_finite(values: dict[str, float], stage: Stage, iteration: int, what: str = "loss") -> None:
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(
            f"The {what} {bad[0]} is no longer a finite number at iteration {iteration} of the {stage.name} "
            "stage; earlier checkpoints are kept. Start a run with a lower learning rate, for example "
            f"--set {stage.name}.lr={stage.settings.lr / 4:g}."
        )


def _save_picture(run: Run, stage: Stage, iteration: int) -> None:
    picture = stage.picture()
    if picture is not None:
        with run.writing():
            (run.folder / "grids").mkdir(exist_ok=True)
            picture.save(run.folder / "grids" / f"{iteration:07d}.png")
