"""The run folder: numbered, self-describing, and enough to continue from.

runs/00012-wen2019-female-b128/
  run.json          data, gender, seed, the resolved recipe, package version
  train.jsonl       one line every few iterations: stage, iteration, losses, speed
  grids/            images of fixed held-out clips, one a `grid_every`
  encoder/         the finished voice encoder, a checkpoint that --encoder takes
  checkpoints/      STAGE-ITERATION/: config.json, model.safetensors, training.pt
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from voice2face_gan.errors import TrainingError, first_line
from voice2face_gan.files import lock, temporary_beside, write_bytes
from voice2face_gan.models.checkpoint import BEST, Checkpoint
from voice2face_gan.results import FILE, json_object, read_lines
from voice2face_gan.training.recipe.recipe import kept_recipe
from voice2face_gan.training.recipe.schema import Recipe
from voice2face_gan.training.run.names import run_number, stage_and_iteration
from voice2face_gan.training.run.tracked_metrics import figures_of, is_better
from voice2face_gan.version import __version__

STATE = "training.pt"


class Run:
    """A run folder.

    Attributes:
        folder: its path.
        recipe: the resolved recipe.
        settings: data, gender, seed, iterations (or None), encoder and init (paths or None) as given to
            `create`.
    """

    def __init__(self, folder: Path, recipe: Recipe, settings: dict):
        self.folder, self.recipe, self.settings = folder, recipe, settings

    @classmethod
    def create(cls, root: str | Path, recipe: Recipe, settings: dict) -> "Run":
        """A new run folder below `root`, numbered one above the newest.

        Raises:
            TrainingError: `root` cannot be written.
        """
        root = Path(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            while True:
                number = max((run_number(p.name) for p in root.iterdir()), default=-1) + 1
                batch = getattr(recipe, recipe.stages[-1]).batch
                name = f"{number:05d}-{recipe.name}-{settings['gender']}-b{batch}"
                folder = root / name
                try:
                    folder.mkdir()
                    break
                except FileExistsError:  # another process took the number: take the next
                    continue
            about = {"voice2face_gan": __version__, **settings, "recipe": recipe.to_dict()}
            write_bytes(folder / "run.json", (json.dumps(about, indent=2) + "\n").encode())
        except OSError as error:
            raise TrainingError(
                f"{root}: cannot write run folders there ({error.strerror or error})."
            ) from error
        return cls(folder, recipe, settings)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time trains a run. Not so on Windows and on network drives without locks: two
        would overwrite each other's checkpoints there.

        Raises:
            TrainingError: another process trains it.
        """
        with (self.folder / "run.json").open("rb") as file:
            try:
                lock(file)
            except BlockingIOError:
                raise TrainingError(
                    f"{self.folder}: another process is training this run; wait for its end, or stop it."
                ) from None
            except OSError:
                pass
            yield

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """An existing run.

        Raises:
            TrainingError: not a run folder, or its run.json cannot be read.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            # Runs of versions that did not know of it left no clip out; they go on as they began.
            data = {"hold_out_clip": False, **about["recipe"].get("data", {})}
            recipe = kept_recipe({**about["recipe"], "data": data})
        except FileNotFoundError:
            raise TrainingError(f"{folder} is not a run folder (it has no run.json).") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{folder}/run.json cannot be read ({error}).") from error
        settings = {k: v for k, v in about.items() if k not in ("recipe", "voice2face_gan")}
        return cls(folder, recipe, settings)

    @classmethod
    def newest(cls, root: str | Path) -> "Run":
        """The run with the highest number below `root`, a folder of run folders.

        Raises:
            TrainingError: there is none.
        """
        root = Path(root)
        runs = [p for p in root.iterdir() if (p / "run.json").is_file()] if root.is_dir() else []
        if not runs:
            raise TrainingError(f"{root}: there is no run to resume; start one without --resume.")
        return cls.open(max(runs, key=lambda p: (run_number(p.name), p.name)))

    @property
    def encoder_folder(self) -> Path:
        return self.folder / "encoder"

    @contextlib.contextmanager
    def writing(self):
        """Turns what the disk says against writing below the run folder into a TrainingError."""
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"{error.filename or self.folder} cannot be written ({error.strerror or error}); earlier "
                f"checkpoints are kept. Make room and go on with --resume {self.folder}."
            ) from error

    def log(self, line: dict) -> None:
        self._append("train.jsonl", line)

    def _append(self, name: str, line: dict) -> None:
        with self.writing(), (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def forget_after(self, stage: str, iteration: int, later_stages: tuple[str, ...] = ()) -> None:
        """Drop what is logged of iterations that a resumed run will do again. Figures that `evaluate` wrote
        name no stage, and stay."""
        for name in ("train.jsonl", FILE):
            path = self.folder / name
            if not path.is_file():
                continue
            text = path.read_bytes()
            kept = b"".join(
                line + b"\n"
                for line in text.splitlines()
                if (entry := json_object(line)) is not None  # None: being written when the process was killed
                and entry.get("stage") not in later_stages
                and not (entry.get("stage") == stage and entry["iteration"] > iteration)
            )
            if kept != text:
                with self.writing():
                    write_bytes(path, kept)

    def save(self, stage: str, iteration: int, checkpoint: Checkpoint, state: dict) -> Path:
        """Write checkpoints/STAGE-ITERATION under a temporary name, rename it, drop the oldest but the best.

        Raises:
            TrainingError: it cannot be written (the disk is full); earlier checkpoints are kept.
        """
        folder = self.checkpoint_folder(stage, iteration)
        if folder.is_dir():
            return folder
        temporary = temporary_beside(folder)
        try:
            checkpoint.save(temporary)
            torch.save({"stage": stage, "iteration": iteration, **state}, temporary / STATE)
            os.rename(temporary, folder)
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
            raise TrainingError(
                f"{folder}: the checkpoint cannot be written ({first_line(error)}); "
                "earlier checkpoints are kept. Make room and go on with --resume."
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._drop_old()
        return folder

    def checkpoint_folder(self, stage: str, iteration: int) -> Path:
        return self.folder / "checkpoints" / f"{stage}-{iteration:07d}"

    def evaluated(self, stage: str, iteration: int, record: dict) -> dict[str, float]:
        """Keep the figures of a checkpoint; it is the best from now on if `run.best` is better than before.

        Args:
            record: as evaluation.jsonl keeps it.
        Returns:
            The figures by their short names.
        """
        self._append(FILE, {"stage": stage, "iteration": iteration, **record})
        figures, key = figures_of(record), self.recipe.run.best
        best = self.best()
        if key in figures and (best is None or key not in best or is_better(key, figures[key], best[key])):
            name = self.checkpoint_folder(stage, iteration).name
            about = {"checkpoint": name, "iteration": iteration, "by": key, **figures}
            with self.writing():
                write_bytes(self.folder / BEST, (json.dumps(about, indent=2) + "\n").encode())
            self._drop_old()
        return figures

    def best(self) -> dict | None:
        """The best checkpoint so far: its folder's name, iteration and figures; None where none is known."""
        try:
            best = json.loads((self.folder / BEST).read_text(encoding="utf-8"))
            known = (self.folder / "checkpoints" / best["checkpoint"] / STATE).is_file()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return best if known else None

    def evaluations(self) -> list[dict]:
        """The records of evaluation.jsonl; lines that are none are passed over."""
        return read_lines(self.folder, FILE)

    def is_evaluated(self, stage: str, iteration: int) -> bool:
        places = [(entry.get("stage"), entry.get("iteration")) for entry in self.evaluations()]
        return (stage, iteration) in places

    def _drop_old(self) -> None:
        best = (self.best() or {}).get("checkpoint")
        for old in self._checkpoints()[: -self.recipe.run.keep]:
            if old.name != best:
                # Out of sight first: a checkpoint that is half removed must not be taken for one.
                hidden = temporary_beside(old)
                with contextlib.suppress(OSError):
                    os.rename(old, hidden)
                shutil.rmtree(hidden, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what processes left that were killed while they wrote. No other may be writing now."""
        for place in (self.folder, self.folder / "checkpoints"):
            for leftover in place.glob(".*.tmp"):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)

    def load_state(self) -> dict | None:
        """The newest checkpoint's training state, or None where there is none.

        Raises:
            TrainingError: it is damaged.
        """
        checkpoints = self._checkpoints()
        return read_state(checkpoints[-1]) if checkpoints else None

    def _checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first; the encoder's stage sorts before the GAN's, as it runs."""
        place = self.folder / "checkpoints"
        found = [p for p in place.iterdir() if (p / STATE).is_file()] if place.is_dir() else []
        places = {p: stage_and_iteration(p.name) for p in found if not p.name.startswith(".")}
        known = [p for p, place in places.items() if place is not None]
        return sorted(known, key=lambda p: (places[p][0] != "encoder", places[p][1]))


def read_state(
    folder: Path, advice: str = "remove that folder to resume from the checkpoint before it."
) -> dict | None:
    """The training state in a checkpoint folder, or None where it holds none. No pickle is executed.

    Args:
        advice: what to do where it is damaged.

    Raises:
        TrainingError: it is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged zip, a foreign pickle: whatever torch makes of it
        raise TrainingError(f"{path} cannot be read ({first_line(error)}); {advice}") from error
