"""Trains recipes for equal processor time and prints their figures side by side.

    python experiments/ablate.py RUNS experiments/ablations/*.toml --encoder RUN --minutes 10 --seeds 0 1

First every recipe's iterations are timed on one thread, in turn, so that a busy machine slows all of them
alike; each then gets as many iterations as fit into the time, and its learning rate falls to the end of just
these. Two runs side by side on two cores cost each other little. What is done already (results.jsonl) is not
done again; --judge-only measures the runs anew.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

METRICS = ("fid", "kid", "gender", "matching", "recovery", "diversity")
CLI = [sys.executable, "-m", "voice2face_gan"]
COLUMNS = {  # title: (metric, figure)
    "fid_trunk": ("fid", "fid_trunk"),
    "kid_trunk x 1000": ("kid", "kid_trunk"),
    "gender %": ("gender", "generated"),
    "U %": ("matching", "U"),
    "G %": ("matching", "G"),
    "recovery": ("recovery", "determined"),
}


_TIMING_DATA = "synthetic:100"  # for "synthetic": an iteration costs the same however many people there are
_ROUNDS, _STEPS = 7, 2


def iterations_in(
    recipes: list[str], encoder: str, seconds: float, overrides: list[str], data: str
) -> dict[str, int]:
    """Number of iterations of each recipe's adversarial stage within the processor time, on one thread."""
    import torch

    from voice2face_gan.data.open import open_source
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.engine.train import GAN_STAGES
    from voice2face_gan.training.recipe.recipe import load_recipe

    torch.set_num_threads(1)
    store = open_source(_TIMING_DATA if data == "synthetic" else data)
    stages, spent = {}, {recipe: [] for recipe in recipes}
    for recipe in recipes:
        loaded = load_recipe(recipe, tuple(overrides))
        nets = load_checkpoint(encoder, need_generator=False)
        parts = store.of_split("train"), store.of_split("val")
        stages[recipe] = GAN_STAGES[loaded.model.generator.type](*parts, nets, loaded, 0, torch.device("cpu"))
    for round_ in range(_ROUNDS):
        for recipe, stage in stages.items():
            started = time.process_time()
            for step in range(_STEPS):
                stage.step(_STEPS * round_ + step)
            spent[recipe].append((time.process_time() - started) / _STEPS)
    return {recipe: max(1, int(seconds / sorted(times[1:])[_ROUNDS // 2])) for recipe, times in spent.items()}


def train(recipe: str, iterations: int, seed: int, options) -> dict:
    """Train one recipe with one seed; where its run is."""
    out = Path(options.runs) / f"{Path(recipe).stem}-{seed}"
    settings = [*options.set, f"gan.iterations={iterations}", "run.evaluate_every=0", "run.tensorboard='off'"]
    command = [*CLI, "train", "--recipe", recipe, "--data", options.data, "--encoder", options.encoder]
    command += ["--out", str(out), "--seed", str(seed), "--device", "cpu", "--json"]
    command += sum((["--set", text] for text in settings), [])
    started = time.monotonic()
    told = json.loads(_output(command))
    return {
        "recipe": Path(recipe).stem,
        "seed": seed,
        "iterations": iterations,
        "minutes_on_the_wall": round((time.monotonic() - started) / 60, 1),
        "run": told["run"],
    }


def judge(result: dict, options) -> dict:
    """A result with its figures, on people held out from it."""
    command = [*CLI, "evaluate", "--checkpoint", result["run"], "--data", options.data, "--json"]
    command += [*sum((["--metric", metric] for metric in options.metric), []), "--judge", options.judge]
    command += ["--sheet", str(Path(result["run"]) / "sheet.png")]
    return {**result, "figures": json.loads(_output(command))}


def _output(command: list[str]) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout


def table(results: list[dict]) -> str:
    """Markdown: a row a recipe, the mean of its seeds and each seed's own."""
    lines = ["| recipe | iterations | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for recipe in dict.fromkeys(r["recipe"] for r in results):
        mine = [r for r in results if r["recipe"] == recipe]
        cells = [recipe, str(sum(r["iterations"] for r in mine) // len(mine))]
        for title, (metric, figure) in COLUMNS.items():
            scale = 1000 if "1000" in title else 1
            found = [r["figures"][metric][figure]["value"] for r in mine if metric in r.get("figures", {})]
            values = [scale * value for value in found]
            each = ", ".join(f"{v:.2f}" for v in values)
            cells.append(f"{sum(values) / len(values):.2f} ({each})" if values else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", help="where run folders and results.jsonl go")
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time, each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--side-by-side", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--judge", default="trunk")
    parser.add_argument("--metric", nargs="+", default=list(METRICS))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--judge-only", action="store_true")
    options = parser.parse_args()
    Path(options.runs).mkdir(parents=True, exist_ok=True)
    log = Path(options.runs) / "results.jsonl"
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(r["recipe"], r["seed"]) for r in results}
    wanted = [(r, s) for s in options.seeds for r in options.recipes if (Path(r).stem, s) not in done]
    with ThreadPoolExecutor(options.side_by_side) as pool:
        if wanted and not options.judge_only:
            recipes = list(dict.fromkeys(recipe for recipe, _ in wanted))
            budget = iterations_in(recipes, options.encoder, 60 * options.minutes, options.set, options.data)
            print(budget, flush=True)
            for result in pool.map(lambda pair: train(pair[0], budget[pair[0]], pair[1], options), wanted):
                results.append(result)
                print(result["recipe"], result["seed"], result["minutes_on_the_wall"], flush=True)
                with log.open("a") as file:
                    file.write(json.dumps(result) + "\n")
        if not options.train_only:
            results = list(pool.map(lambda result: judge(result, options), results))
            log.write_text("".join(json.dumps(result) + "\n" for result in results))
    print(table(results))


if __name__ == "__main__":
    main()
