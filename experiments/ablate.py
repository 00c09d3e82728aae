"""Trains recipes for equal processor time and prints their figures side by side.

    python experiments/ablate.py RUNS experiments/ablations/*.toml --embedder RUN --minutes 10 --seeds 0 1

Each recipe's iterations are timed first, on one thread, so that each gets as many as fit into the time and its
learning rate falls to the end of just these. Processor time, not time on the wall: two runs side by side on
two cores cost each other nothing then. What is done already (results.jsonl) is not done again.
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
COLUMNS = {  # title: (metric, figure)
    "fid_trunk": ("fid", "fid_trunk"),
    "kid_trunk x 1000": ("kid", "kid_trunk"),
    "gender %": ("gender", "generated"),
    "U %": ("matching", "U"),
    "G %": ("matching", "G"),
    "recovery": ("recovery", "determined"),
}


def iterations_in(recipe: str, data: str, embedder: str, seconds: float, overrides: list[str]) -> int:
    """How many iterations of a recipe's adversarial stage fit into so much processor time on one thread."""
    import torch

    from voice2face_gan.data.sources import open_source
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.loop import STAGES
    from voice2face_gan.training.recipe import load_recipe

    torch.set_num_threads(1)
    store, loaded = open_source(data), load_recipe(recipe, tuple(overrides))
    nets = load_checkpoint(embedder, need_generator=False)
    kind = STAGES[loaded.architecture]
    stage = kind(store.of_split("train"), store.of_split("val"), nets, loaded, 0, torch.device("cpu"))
    for step in range(3):
        stage.step(step)
    started = time.process_time()
    for step in range(3, 15):
        stage.step(step)
    return max(1, int(seconds * 12 / (time.process_time() - started)))


def one(recipe: str, seed: int, options) -> dict:
    """Train and judge one recipe with one seed; its figures."""
    name = f"{Path(recipe).stem}-{seed}"
    out = Path(options.runs) / name
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    asked = ["--calibrate", recipe, *sum((["--set", text] for text in options.set), [])]
    again = [sys.executable, __file__, str(out), *asked, "--data", options.data]
    again += ["--embedder", options.embedder, "--minutes", str(options.minutes)]
    iterations = int(subprocess.check_output(again, env=environment).split()[-1])
    cli = [sys.executable, "-m", "voice2face_gan"]
    settings = [*options.set, f"gan.iterations={iterations}"]
    train = [*cli, "train", "--recipe", recipe, "--data", options.data, "--embedder", options.embedder]
    train += ["--out", str(out), "--seed", str(seed), "--device", "cpu", "--json"]
    train += sum((["--set", text] for text in (*settings, "run.evaluate_every=0")), [])
    started = time.monotonic()
    told = json.loads(subprocess.check_output(train, env=environment, stderr=subprocess.DEVNULL))
    minutes = (time.monotonic() - started) / 60
    judged = [*cli, "evaluate", "--checkpoint", told["run"], "--data", options.data, "--json"]
    judged += [*sum((["--metric", metric] for metric in options.metric), []), "--judge", options.judge]
    judged += ["--sheet", str(out / "sheet.png")]
    done = subprocess.run(judged, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    return {
        "recipe": Path(recipe).stem,
        "seed": seed,
        "iterations": iterations,
        "minutes_on_the_wall": round(minutes, 1),
        "run": told["run"],
        "figures": json.loads(done.stdout),
    }


def table(results: list[dict]) -> str:
    """Markdown: a row a recipe, the mean of its seeds and each seed's own."""
    lines = ["| recipe | iterations | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for recipe in dict.fromkeys(r["recipe"] for r in results):
        mine = [r for r in results if r["recipe"] == recipe]
        cells = [recipe, str(sum(r["iterations"] for r in mine) // len(mine))]
        for title, (metric, figure) in COLUMNS.items():
            scale = 1000 if "1000" in title else 1
            values = [scale * r["figures"][metric][figure]["value"] for r in mine if metric in r["figures"]]
            each = ", ".join(f"{v:.2f}" for v in values)
            cells.append(f"{sum(values) / len(values):.2f} ({each})" if values else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", help="where run folders and results.jsonl go")
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--data", default="builtin")
    parser.add_argument("--embedder", required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time, each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--side-by-side", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--judge", default="trunk")
    parser.add_argument("--metric", nargs="+", default=list(METRICS))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--calibrate", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.calibrate:
        seconds = 60 * options.minutes
        print(iterations_in(options.calibrate, options.data, options.embedder, seconds, options.set))
        return
    Path(options.runs).mkdir(parents=True, exist_ok=True)
    log = Path(options.runs) / "results.jsonl"
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(r["recipe"], r["seed"]) for r in results}
    wanted = [(r, s) for s in options.seeds for r in options.recipes if (Path(r).stem, s) not in done]
    with ThreadPoolExecutor(options.side_by_side) as pool:
        for result in pool.map(lambda pair: one(*pair, options), wanted):
            results.append(result)
            with log.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(result["recipe"], result["seed"], result["iterations"], flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
