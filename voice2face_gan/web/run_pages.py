"""Run folders as JSON and image grids, read-only: what the pages of `serve --runs` show.

A name in a request is looked up in the folder's listing; it never becomes a path by itself.
"""

import os
from pathlib import Path

from voice2face_gan.errors import ServeError
from voice2face_gan.results import FILE, read_lines
from voice2face_gan.training.run.index import describe, list_runs
from voice2face_gan.training.run.tracked_metrics import figures_of
from voice2face_gan.web.refusal import Refusal

_POINTS = 300  # of a curve
_NEWEST = 400  # grids listed
_STALE_SECONDS = 900.0  # without a line of the log, after which nobody says when a run will end
_OTHER = ("stage", "iteration", "per_second", "seconds_left")


class RunPages:
    """The runs below one folder.

    Raises:
        ServeError: there is no such folder.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise ServeError(f"--runs {root}: there is no such folder of runs.")

    def entries(self) -> list[dict]:
        """Entries of `list_runs` with `seconds_left`, None where it is not known."""
        return [entry | {"seconds_left": self._left(entry)} for entry in list_runs(self.root)]

    def detail(self, name: str) -> dict:
        """One run: its entry, `curves`, `figures_over_time`, `grids`.

        Raises:
            Refusal: 404, no such run.
        """
        folder = self._folder(name)
        entry = describe(folder)
        entry |= {"seconds_left": self._left(entry)}
        entry["curves"] = curves(read_lines(folder, "train.jsonl"))
        entry["figures_over_time"] = [
            {"stage": line.get("stage"), "iteration": line.get("iteration"), "figures": figures}
            for line in read_lines(folder, FILE)
            if (figures := figures_of(line))
        ]
        entry["grids"] = self._grids(folder)[-_NEWEST:]
        return entry

    def grid(self, name: str, file: str) -> bytes:
        """A PNG of a run's folder `grids`.

        Raises:
            Refusal: 404, no such image.
        """
        folder = self._folder(name)
        if file not in self._grids(folder):
            raise Refusal(404, "There is no such image.")
        return (folder / "grids" / file).read_bytes()

    def _folder(self, name: str) -> Path:
        names = {entry.name for entry in os.scandir(self.root) if entry.is_dir()}
        if name not in names:
            raise Refusal(404, "There is no such run.")
        return self.root / name

    @staticmethod
    def _grids(folder: Path) -> list[str]:
        try:
            with os.scandir(folder / "grids") as entries:
                return sorted(e.name for e in entries if e.name.endswith(".png") and e.is_file())
        except OSError:
            return []

    def _left(self, entry: dict) -> float | None:
        if entry["error"] or entry["finished"] or (entry["seconds_ago"] or 0) > _STALE_SECONDS:
            return None
        lines = read_lines(self.root / entry["folder"], "train.jsonl", tail=1 << 14)
        left = lines[-1].get("seconds_left") if lines else None
        return left if isinstance(left, (int, float)) else None


def curves(lines: list[dict]) -> dict[str, dict[str, list[list[float]]]]:
    """Stage -> name of a loss -> [iteration, value] pairs, at most 300: means over equal parts of the log."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for line in lines:
        stage, iteration = line.get("stage"), line.get("iteration")
        if not isinstance(stage, str) or not isinstance(iteration, int):
            continue
        for name, value in line.items():
            fine = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30
            if name not in _OTHER and fine:
                found.setdefault(stage, {}).setdefault(name, []).append([iteration, float(value)])
    return {stage: {name: _thinned(points) for name, points in all_.items()} for stage, all_ in found.items()}


def _thinned(points: list[list[float]]) -> list[list[float]]:
    step = -(-len(points) // _POINTS)
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    return [[group[-1][0], sum(value for _, value in group) / len(group)] for group in groups]
