"""What run folders say of themselves, read without opening a net: fast with many of them."""

import json
import time
from pathlib import Path

from voice2face_gan.results import FILE, json_object, read_lines
from voice2face_gan.training.run.names import run_number, stage_and_iteration
from voice2face_gan.training.run.tracked_metrics import figures_of, is_better

_STAGES = ("encoder", "gan")


def list_runs(root: str | Path) -> list[dict]:
    """The run folders below `root`, by number. Keys of each:

    folder, number: its name, and the number in front of it.
    error: what is wrong with it, or None; then the others say what is known.
    recipe, data, gender, seed: as it was started.
    stage, iteration, iterations: the stage that it logged or saved last, how far it came, of how many.
    finished: whether the last stage's last iteration is saved.
    figures: short name -> best value of evaluation.jsonl (training/run/tracked_metrics.py).
    best, best_by: name of the best checkpoint, and the figure that said so; None where none is known.
    checkpoint: name of the newest, None where there is none.
    seconds_ago: since something was last written there; None where nothing is known.
    """
    folders = [p for p in Path(root).iterdir() if p.is_dir() and _looks_like_a_run(p)]
    return [describe(p) for p in sorted(folders, key=lambda p: (run_number(p.name), p.name))]


def _looks_like_a_run(folder: Path) -> bool:
    return run_number(folder.name) >= 0 or (folder / "run.json").exists()


def describe(folder: Path) -> dict:
    """One entry of `list_runs`."""
    number = run_number(folder.name)
    found = dict.fromkeys(
        ("error", "recipe", "data", "gender", "seed", "stage", "iteration", "iterations", "best", "best_by"),
    )
    found = {"folder": folder.name, "number": number if number >= 0 else None, **found}
    found |= {"finished": False, "figures": {}, "checkpoint": None, "seconds_ago": None}
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        recipe = about["recipe"]
        found |= {"recipe": recipe["name"], **{k: about[k] for k in ("data", "gender", "seed")}}
        last = recipe.get("stages", _STAGES)[-1]
        totals = {s: int(recipe[s]["iterations"]) for s in _STAGES if s in recipe}
        if about.get("iterations"):
            totals = {s: min(total, int(about["iterations"])) for s, total in totals.items()}
    except FileNotFoundError:
        return found | {"error": "it has no run.json"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return found | {"error": f"run.json cannot be read ({type(error).__name__}: {error})"}
    saved = _checkpoints(folder)
    places = [*saved, *_logged(folder)]
    stage, iteration = max(places, key=lambda p: (_STAGES.index(p[0]), p[1]), default=(_STAGES[0], 0))
    newest = max(saved, key=lambda p: (_STAGES.index(p[0]), p[1]), default=None)
    found |= {"stage": stage, "iteration": iteration, "iterations": totals[stage]}
    # A run that was continued with more iterations than it was started with is past its end.
    found["finished"] = newest is not None and newest[0] == last and newest[1] >= totals[last]
    found["checkpoint"] = None if newest is None else saved[newest].name
    found["figures"] = _best_figures(folder)
    best = _best(folder)
    found |= {"best": best.get("checkpoint"), "best_by": best.get("by")}
    found["seconds_ago"] = _seconds_ago(folder, saved.values())
    return found


def _checkpoints(folder: Path) -> dict[tuple[str, int], Path]:
    """(stage, iteration) -> folder of each checkpoint."""
    found = {}
    for path in folder.glob("checkpoints/*"):
        place = stage_and_iteration(path.name)
        if place is not None and place[0] in _STAGES and (path / "config.json").is_file():
            found[place] = path
    return found


def _logged(folder: Path) -> list[tuple[str, int]]:
    """Where the log ends; [] where there is none."""
    for entry in reversed(read_lines(folder, "train.jsonl", tail=1 << 16)):
        if entry.get("stage") in _STAGES and isinstance(entry.get("iteration"), int):
            return [(entry["stage"], entry["iteration"])]
    return []


def _best_figures(folder: Path) -> dict[str, float]:
    best: dict[str, float] = {}
    for entry in read_lines(folder, FILE):
        for name, value in figures_of(entry).items():
            if name not in best or is_better(name, value, best[name]):
                best[name] = value
    return best


def _best(folder: Path) -> dict:
    try:
        return json_object((folder / "best.json").read_bytes()) or {}
    except OSError:
        return {}


def _seconds_ago(folder: Path, checkpoints) -> float | None:
    times = []
    for path in (folder / "run.json", folder / "train.jsonl", folder / "evaluation.jsonl", *checkpoints):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return round(max(0.0, time.time() - max(times)), 1) if times else None
