"""The run folder: numbered, self-describing, and enough to continue from.

runs/00012-wen2019-female-b128/
  run.json          data, gender, seed, the resolved recipe, package version
  train.jsonl       one line every few iterations: stage, iteration, losses, speed
  grids/            pictures of fixed held-out clips, one a `grid_every`
  embedder/         the finished voice embedder, a checkpoint that --embedder takes
  checkpoints/      STAGE-ITERATION/: config.json, model.safetensors, training.pt
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

import torch

from voice2face_gan import __version__
from voice2face_gan.errors import TrainingError, first_line
from voice2face_gan.files import temporary_beside, write_bytes
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.training.recipe import Recipe, build_recipe

STATE = "training.pt"


class Run:
    """A run folder.

    Attributes:
        folder: its path.
        recipe: the resolved recipe.
        settings: data, gender, seed, embedder (path or None) as given to `create`.
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
                number = max((_number(p) for p in root.iterdir()), default=-1) + 1
                name = f"{number:05d}-{recipe.name}-{settings['gender']}-b{recipe.gan.batch}"
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

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """An existing run.

        Raises:
            TrainingError: not a run folder, or its run.json cannot be read.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            recipe = build_recipe(about["recipe"]["name"], about["recipe"])
        except FileNotFoundError:
            raise TrainingError(f"{folder} is not a run folder (it has no run.json).") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{folder}/run.json cannot be read ({error}).") from error
        settings = {k: v for k, v in about.items() if k not in ("recipe", "voice2face_gan")}
        return cls(folder, recipe, settings)

    @classmethod
    def newest(cls, root: str | Path) -> "Run":
        """The run with the highest number below `root`.

        Raises:
            TrainingError: there is none.
        """
        root = Path(root)
        runs = [p for p in root.iterdir() if (p / "run.json").is_file()] if root.is_dir() else []
        if not runs:
            raise TrainingError(f"{root}: there is no run to resume; start one without --resume.")
        return cls.open(max(runs, key=lambda p: (_number(p), p.name)))

    @property
    def embedder_folder(self) -> Path:
        return self.folder / "embedder"

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
        with self.writing(), (self.folder / "train.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def forget_after(self, stage: str, iteration: int, later_stages: tuple[str, ...] = ()) -> None:
        """Drop log lines of iterations that a resumed run will do again."""
        path = self.folder / "train.jsonl"
        if not path.is_file():
            return
        kept = []
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # the line being written when the process was killed
                continue
            again = line["stage"] in later_stages or (
                line["stage"] == stage and line["iteration"] > iteration
            )
            if not again:
                kept.append(text + "\n")
        with self.writing():
            write_bytes(path, "".join(kept).encode())

    def save(self, stage: str, iteration: int, checkpoint: Checkpoint, state: dict) -> Path:
        """Write checkpoints/STAGE-ITERATION under a temporary name, rename it, drop the oldest.

        Raises:
            TrainingError: it cannot be written (the disk is full); earlier checkpoints are kept.
        """
        folder = self.folder / "checkpoints" / f"{stage}-{iteration:07d}"
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
        for old in self._checkpoints()[: -self.recipe.run.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return folder

    def load_state(self) -> dict | None:
        """The newest checkpoint's training state, or None where there is none."""
        for leftover in (self.folder / "checkpoints").glob(".*.tmp"):  # of a process killed while it wrote
            shutil.rmtree(leftover, ignore_errors=True)
        checkpoints = self._checkpoints()
        if not checkpoints:
            return None
        try:
            return torch.load(checkpoints[-1] / STATE, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged zip, a foreign pickle: whatever torch makes of it
            raise TrainingError(
                f"{checkpoints[-1] / STATE} cannot be read ({first_line(error)}); "
                "remove that folder to resume from the checkpoint before it."
            ) from error

    def _checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first; the embedder's stage sorts before the GAN's, as it runs."""
        place = self.folder / "checkpoints"
        found = [p for p in place.iterdir() if (p / STATE).is_file()] if place.is_dir() else []
        return sorted((p for p in found if not p.name.startswith(".")), key=_stage_and_iteration)


def _stage_and_iteration(path: Path) -> tuple[bool, int]:
    stage, _, iteration = path.name.rpartition("-")
    return stage == "gan", int(iteration)


def _number(path: Path) -> int:
    head = path.name.partition("-")[0]
    return int(head) if head.isdecimal() else -1
