"""A stage of a run: step -> tick -> grid -> checkpoint -> figures, until it ends or is asked to."""

import contextlib
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from voice2face_gan.data.store import Store
from voice2face_gan.errors import TrainingError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.training.engine.distributed import RankError, SingleProcess
from voice2face_gan.training.probes.gender import with_warnings
from voice2face_gan.training.recipe.schema import EncoderRecipe, GanRecipe
from voice2face_gan.training.run.tensorboard import Tracker, installed

Evaluate = Callable[[Path], dict]  # a checkpoint folder -> a record for evaluation.jsonl

_KEPT_TIME = (
    0.03  # share of --minutes that is kept for the last checkpoint, its figures, and a slower machine
)
_TICKS = 20  # whose mean speed a schedule is fitted to
_TOLERATED = 0.02  # a schedule is moved where it would end by more than so much too early or too late
_SAVED = 2  # of the reasons to stop, by the larger of which all processes do
_REASONS = {1: "minutes", _SAVED: "interrupted"}


class Reporter:
    """What a run tells whoever started it; this one says nothing. The command line shows it with rich."""

    def stage(self, name: str, iteration: int, iterations: int) -> None:
        """A stage starts, or goes on, at `iteration`."""

    def tick(self, name: str, iteration: int, losses: dict[str, float], per_second: float) -> None:
        """Mean losses since the last tick, and iterations per second."""

    def fitted(self, name: str, iterations: int) -> None:
        """The schedule of a stage was fitted to the time: so many iterations in all."""

    def note(self, text: str) -> None:
        """A sentence about what is done, or not done."""

    def evaluated(self, name: str, iteration: int, figures: dict[str, float], best: bool) -> None:
        """Figures of the checkpoint at `iteration`, and whether it is the best so far."""


class Stage(Protocol):
    name: str
    iterations: int
    settings: EncoderRecipe | GanRecipe

    def step(self, iteration: int) -> dict[str, torch.Tensor]: ...
    # Where it has them: `schedule_fits_time`; `prepare(note)`, called before the first step.
    def state(self) -> dict: ...
    def load(self, state: dict) -> None: ...
    def checkpoint(self, iteration: int) -> Checkpoint: ...
    def image(self): ...


@dataclass
class TrainResult:
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
def patient_interrupt():
    """Yields a list that holds "interrupted" after the first Ctrl-C or SIGTERM, so that an iteration is
    completed before the run is saved. A second Ctrl-C or SIGTERM interrupts at once."""
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


class Trainer:
    """What the stages of one call of `train` have in common; see there."""

    def __init__(self, run, reporter, limit, deadline, asked, evaluate, processes):
        self.run, self.reporter, self.limit, self.deadline = run, reporter, limit, deadline
        self.kept_time = _KEPT_TIME * (deadline - time.monotonic())  # seconds
        self.asked, self.evaluate, self.processes = asked, evaluate, processes
        self.tracker: Tracker | None = None

    def go(self, stage: Stage, state: dict | None, held_out: Store | None) -> TrainResult:
        """A stage from where the state stands to its end, or to where it is stopped."""
        settings, processes = self.run.recipe.run, self.processes
        start = 0
        if state is not None and state["stage"] == stage.name:
            stage.load(state)
            start = state["iteration"]
        total = self._total(stage)
        # Also without a state: a run killed before its first checkpoint has logged iterations already.
        later = () if stage.name != "encoder" else ("gan",)
        processes.on_main(lambda: self.run.forget_after(stage.name, start, later))
        self.reporter.stage(stage.name, start, total)
        if start < total and hasattr(stage, "prepare"):
            stage.prepare(self.reporter.note)
        done, meter = start, _Meter(start, processes)
        if start < total:
            self._open_tracker(stage, start, held_out)
        try:
            if start:
                self._evaluate(stage, start, total)  # a process killed meanwhile left it undone
            why = 0
            while done < total:
                why = self._why_stop(done)
                if why:
                    break
                meter.add(self._step(stage, done))
                done += 1
                if done % settings.log_every == 0 or done == total:
                    self._tick(stage, meter, done, total)
                    total = self._fitted_total(stage, meter, done, total)
                evaluating = self.is_due(stage, done, total)
                if (done % settings.checkpoint_every == 0 or evaluating) and done < total:
                    self.save(stage, done, meter)
                if done % settings.grid_every == 0 or done == total:
                    processes.on_main(lambda: self._image(stage, done))  # noqa: B023 (called at once)
                if evaluating and done < total:
                    self._evaluate(stage, done, total)
            begun = done or self.run.checkpoint_folder(stage.name, 0).is_dir()  # of nets that were given
            folder = self.save(stage, done, meter) if begun else None
            if done == total:
                self._evaluate(stage, done, total)
        finally:
            if self.tracker is not None:
                with contextlib.suppress(OSError):
                    self.tracker.close()
                self.tracker = None
        finished = done >= total
        reason = "finished" if finished else _REASONS[why]
        return TrainResult(self.run.folder, folder, stage.name, done, finished, reason, meter.losses)

    def _total(self, stage: Stage) -> int:
        return min(stage.iterations, self.limit) if self.limit else stage.iterations

    def _fitted_total(self, stage: Stage, meter: "_Meter", done: int, total: int) -> int:
        """How many iterations the stage will do, its schedule fitted to the time that is left.

        It is fitted anew at every tick, to the speed of the last ones: the iterations of a schedule's later
        parts may take longer than those of the first, and a machine may be shared.
        """
        if math.isinf(self.deadline) or done == total or not getattr(stage, "schedule_fits_time", False):
            return total
        left = max(0.0, self.deadline - self.kept_time - time.monotonic())
        fitted = self.processes.max(done + max(1, int(left * meter.recent_speed())))
        if abs(fitted - stage.iterations) > _TOLERATED * stage.iterations:
            stage.fit_schedule(fitted, done)
            self.reporter.fitted(stage.name, self._total(stage))
        return max(done, self._total(stage))

    def _why_stop(self, done: int) -> int:
        """0 to go on, or the number of a reason; the same in every process."""
        processes = self.processes
        if processes.size > 1 and processes.device.type != "cpu" and done % self.run.recipe.run.log_every:
            return 0  # to ask the others, a GPU would have to be waited for
        late = time.monotonic() > self.deadline
        return processes.max(_SAVED if self.asked else int(late))

    def _step(self, stage: Stage, iteration: int) -> dict[str, torch.Tensor]:
        try:
            return stage.step(iteration)
        except torch.OutOfMemoryError as error:
            batch = stage.settings.batch
            raise RankError(
                f"The device has too little memory for iteration {iteration} of the {stage.name} stage; "
                f"take a smaller batch, for example --set {stage.name}.batch={max(2, batch // 2)}."
            ) from error

    def _tick(self, stage: Stage, meter: "_Meter", done: int, total: int) -> None:
        losses, per_second = meter.read(done)
        _check_finite(losses, stage, done)
        left = round((total - done) / max(per_second, 1e-9), 1)
        speed = {"per_second": round(per_second, 3), "seconds_left": left}
        line = {"stage": stage.name, "iteration": done, **speed, **losses}

        def write():
            self.run.log(line)
            if self.tracker is not None:
                with self.run.writing():
                    self.tracker.losses(done, losses, per_second)

        self.processes.on_main(write)
        self.reporter.tick(stage.name, done, losses, per_second)

    def save(self, stage: Stage, iteration: int, meter: "_Meter | None" = None) -> Path:
        """A checkpoint, unless what it would hold is spoilt: the newest is what --resume goes on with."""
        if meter is not None:
            _check_finite(meter.means(1), stage, iteration)

        def write():
            checkpoint = stage.checkpoint(iteration)
            # The losses come before the step: a step may spoil the weights though its losses were good.
            spoilt = [k for k, v in checkpoint.tensors().items() if not torch.isfinite(v).all()]
            _check_finite(dict.fromkeys(spoilt, math.nan), stage, iteration, "weight")
            return self.run.save(stage.name, iteration, checkpoint, stage.state())

        return self.processes.on_main(write)

    def save_encoder(self, checkpoint: Checkpoint, records: Store | None = None) -> None:
        """Keeps a voice encoder in the run folder; one that was trained on `records` gets its probes."""

        def write():
            kept = checkpoint
            if records is not None:
                kept, why = with_warnings(checkpoint, records, self.run.settings["seed"])
                if why:
                    self.reporter.note(f"No probes for warnings: {why}.")
            with self.run.writing():
                kept.save(self.run.encoder_folder)

        self.processes.on_main(write)

    def is_due(self, stage: Stage, done: int, total: int) -> bool:
        """Whether the checkpoint at this iteration is to be evaluated."""
        every = self.run.recipe.run.evaluate_every
        if not every or self.evaluate is None or stage.name != self.run.recipe.stages[-1]:
            return False
        return done % every == 0 or done == total

    def _evaluate(self, stage: Stage, iteration: int, total: int) -> None:
        if not self.is_due(stage, iteration, total):
            return

        def measure():
            run = self.run
            folder = run.checkpoint_folder(stage.name, iteration)
            if run.is_evaluated(stage.name, iteration) or not folder.is_dir():
                return
            figures = run.evaluated(stage.name, iteration, self.evaluate(folder))
            best = (run.best() or {}).get("checkpoint") == folder.name
            if self.tracker is not None:
                with run.writing():
                    self.tracker.figures(iteration, figures)
            self.reporter.evaluated(stage.name, iteration, figures, best)

        self.processes.on_main(measure)

    def _image(self, stage: Stage, iteration: int) -> None:
        image = stage.image()
        with self.run.writing():
            if image is not None:
                (self.run.folder / "grids").mkdir(exist_ok=True)
                image.save(self.run.folder / "grids" / f"{iteration:07d}.png")
            if self.tracker is not None:
                if image is not None:
                    self.tracker.image(iteration, image)
                self.tracker.weights(iteration, stage)

    def _open_tracker(self, stage: Stage, start: int, held_out: Store | None) -> None:
        wanted = self.run.recipe.run.tensorboard

        def open_it():
            if wanted == "off" or (wanted == "auto" and not installed()):
                return
            with self.run.writing():
                self.tracker = Tracker(self.run.folder / "tensorboard" / stage.name, start)
                if held_out is not None and not start:
                    self.tracker.clips(held_out)

        self.processes.on_main(open_it)


class _Meter:
    """Sums of losses since the last tick, and speed; without waiting for the device until it is read."""

    def __init__(self, start: int, processes: SingleProcess):
        self.processes, self.losses = processes, {}
        self._sums: dict[str, torch.Tensor] = {}
        self._ticked, self._clock = start, time.monotonic()
        self._ticks = deque([(start, self._clock)], maxlen=_TICKS + 1)

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def means(self, count: int) -> dict[str, float]:
        """The sums so far, over all processes, by `count`."""
        if not self._sums:
            return {}
        values = self.processes.mean(torch.stack([v.float() for v in self._sums.values()])).tolist()
        return {name: value / count for name, value in zip(self._sums, values, strict=True)}

    def read(self, done: int) -> tuple[dict[str, float], float]:
        """Mean losses and iterations per second since the last tick, which this is the next of."""
        self.losses = self.means(done - self._ticked)
        now = time.monotonic()
        per_second = (done - self._ticked) / max(now - self._clock, 1e-9)
        self._sums, self._ticked, self._clock = {}, done, now
        self._ticks.append((done, now))
        return self.losses, per_second

    def recent_speed(self) -> float:
        """Iterations per second over the last ticks."""
        (first, then), (last, now) = self._ticks[0], self._ticks[-1]
        return (last - first) / max(now - then, 1e-9)


def _check_finite(values: dict[str, float], stage: Stage, iteration: int, what: str = "loss") -> None:
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(
            f"The {what} {bad[0]} is no longer a finite number at iteration {iteration} of the {stage.name} "
            "stage; earlier checkpoints are kept. Start a run with a lower learning rate, for example "
            f"--set {stage.name}.lr={stage.settings.lr / 4:g}."
        )
