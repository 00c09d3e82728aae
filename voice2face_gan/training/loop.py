"""The loop: batch -> step -> tick -> grid -> checkpoint, for each stage of a run in turn."""

import contextlib
import math
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError, TrainingError
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.training.gan import GanStage
from voice2face_gan.training.run import Run
from voice2face_gan.training.speaker import EmbedderStage


class Reporter:
    """What a run tells whoever started it; this one says nothing. The command line shows it with rich."""

    def stage(self, name: str, iteration: int, iterations: int) -> None:
        """A stage starts, or goes on, at `iteration`."""

    def tick(self, name: str, iteration: int, losses: dict[str, float], per_second: float) -> None:
        """Mean losses since the last tick, and iterations per second."""

    def note(self, text: str) -> None:
        """A sentence worth showing."""


class Stage(Protocol):
    name: str
    iterations: int

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
        DataError: none is of the gender asked for, or the training split is empty.
    """
    data = run.recipe.data
    return store.of_gender(data.gender).of_split(data.split)


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
        TrainingError: a loss is not finite (the last good checkpoint is kept), or nothing can be written.
        DataError: the data lack what the stages need.
    """
    reporter = reporter or Reporter()
    limit = iterations or run.settings.get("iterations")
    deadline = time.monotonic() + 60 * minutes if minutes else math.inf
    seed = run.settings["seed"]
    records = training_records(store, run)
    state = run.load_state()
    try:
        embedder = _embedder(run, records, device, reporter, state, limit, deadline, seed)
        stage = GanStage(records, _held_out(store, records, run), embedder, run.recipe, seed, device)
        return _run_stage(stage, run, reporter, state, limit, deadline)
    except _Interrupted as stop:
        return stop.outcome


class _Interrupted(Exception):
    def __init__(self, outcome: Outcome):
        self.outcome = outcome


def _embedder(run, records, device, reporter, state, limit, deadline, seed) -> Checkpoint:
    """The frozen voice embedder of a run: given, finished earlier, or trained now."""
    given = run.settings.get("embedder")
    if given is None and not run.embedder_folder.is_dir():
        stage = EmbedderStage(records, run.recipe, seed, device)
        outcome = _run_stage(stage, run, reporter, state, limit, deadline)
        if not outcome.finished:
            raise _Interrupted(outcome)
        stage.checkpoint(outcome.iteration).save(run.embedder_folder)
    checkpoint = load_checkpoint(given or run.embedder_folder, need_generator=False)
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
        if set(part.identity[part.has_voice]) & set(part.identity[part.has_face]):
            return part
    return records


def _run_stage(stage: Stage, run: Run, reporter: Reporter, state, limit, deadline) -> Outcome:
    settings = run.recipe.run
    total = min(stage.iterations, limit) if limit else stage.iterations
    start = 0
    if state is not None and state["stage"] == stage.name:
        stage.load(state)
        start = state["iteration"]
        run.forget_after(stage.name, start, () if stage.name == "gan" else ("gan",))
    reporter.stage(stage.name, start, total)
    sums: dict[str, torch.Tensor] = {}
    losses: dict[str, float] = {}
    done, ticked, clock = start, start, time.monotonic()
    with _patient_interrupt() as asked:
        while done < total and not asked:
            if time.monotonic() > deadline:
                asked.append("minutes")
                break
            for name, value in stage.step(done).items():
                sums[name] = sums[name] + value if name in sums else value
            done += 1
            if done % settings.log_every == 0 or done == total:
                now = time.monotonic()
                per_second = (done - ticked) / max(now - clock, 1e-9)
                losses = {name: float(total_loss) / (done - ticked) for name, total_loss in sums.items()}
                sums, ticked, clock = {}, done, now
                _check_finite(losses, stage.name, done)
                run.log(
                    {"stage": stage.name, "iteration": done, "per_second": round(per_second, 3), **losses}
                )
                reporter.tick(stage.name, done, losses, per_second)
            if done % settings.checkpoint_every == 0 and done < total:
                run.save(stage.name, done, stage.checkpoint(done), stage.state())
            if done % settings.grid_every == 0 or done == total:
                _save_picture(run, stage, done)
        if done > ticked:
            _check_finite({k: float(v) for k, v in sums.items()}, stage.name, done)
        folder = run.save(stage.name, done, stage.checkpoint(done), stage.state()) if done else None
    reason = "finished" if done >= total else asked[0]
    return Outcome(run.folder, folder, stage.name, done, done >= total, reason, losses)


def _check_finite(losses: dict[str, float], stage: str, iteration: int) -> None:
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(
            f"The loss {bad[0]} is no longer a finite number at iteration {iteration} of the {stage} stage; "
            "the last good checkpoint is kept. Resume with a lower learning rate."
        )


def _save_picture(run: Run, stage: Stage, iteration: int) -> None:
    picture = stage.picture()
    if picture is not None:
        (run.folder / "grids").mkdir(exist_ok=True)
        picture.save(run.folder / "grids" / f"{iteration:07d}.png")
