"""Benchmark of the adversarial stage, beside the paper's algorithm as its release writes it."""

import multiprocessing
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from voice2face_gan.bench.plain import AlgorithmOne
from voice2face_gan.data.open import open_source
from voice2face_gan.device import uses_bf16
from voice2face_gan.errors import RecipeError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.registry import build_encoder
from voice2face_gan.training.recipe.schema import Recipe
from voice2face_gan.training.stages.wen2019 import Wen2019Stage

OURS = "ours fp32"
_WARM_UP = 2
_MEMORY_STEPS = 3  # after them a process has reached its peak


def measure(
    recipe: Recipe,
    data: str,
    steps: int,
    device: torch.device,
    threads: int | None = None,
    memory: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> dict:
    """Train the plain loop and ours side by side: same first weights, same batches, a step of each in turn.

    Ours runs in the recipe's precision, on its own, and in fp32, where each step starts from the plain loop's
    weights and must give its losses. In between, a matrix product of each precision is timed, so that all see
    the same load of the machine.

    Args:
        recipe: recipe of networks and batches; its architecture must be wen2019, the loss weights the
            paper's.
        data: as for `train --data`.
        steps: counted steps of each loop.
        device: device of all loops.
        threads: processor threads; None leaves them.
        memory: run each loop in a separate process for its peak memory too.
        say: called with a progress message.
    Returns:
        runs: name -> precision, median step in ms, images (real faces of a batch) a second, GFLOP a step,
        share of the matrix product's rate in its precision, and peak MiB (resident; on a GPU allocated; left
        out where unknown); ratio: name -> plain step time over ours, median over the pairs; matmul_gflops:
        the rate by precision; loss_difference: the largest between a plain step and ours in fp32 from the
        same weights.
    Raises:
        RecipeError: the recipe's stage is not Algorithm 1.
    """
    check(recipe)
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    say("Building the nets ...")
    plain, loops = _loops(recipe, data, device)
    clocks, matmul, difference = _race(plain, loops, steps, device, say)
    rates = {precision: float(np.median(rate)) for precision, rate in matmul.items()}
    batch, runs = recipe.gan.batch, {}
    for name, (precision, step) in loops.items():
        seconds = float(np.median(clocks[name]))
        work = _flops(step)
        runs[name] = {
            "precision": precision,
            "step_ms": round(1000 * seconds, 1),
            "images_per_second": round(batch / seconds, 1),
            "gflop_per_step": round(work / 1e9, 1),
            "share_of_matmul": round(work / 1e9 / seconds / rates[precision], 3),
        }
    del plain, loops
    if memory:
        for name, run in runs.items():
            say(f"Memory of {name} ...")
            peak = memory_of(name, recipe, data, device, threads)
            run |= {"peak_mib": peak} if peak else {}
    return {
        "recipe": recipe.name,
        "data": data,
        "batch": batch,
        "steps": steps,
        "device": str(device),
        "threads": threads,
        "runs": runs,
        "ratio": {
            name: round(float(np.median(np.array(clocks["plain"]) / np.array(seconds))), 2)
            for name, seconds in clocks.items()
            if name != "plain"
        },
        "matmul_gflops": {precision: round(rate, 1) for precision, rate in rates.items()},
        "loss_difference": difference,
    }


def check(recipe: Recipe) -> None:
    """Refuse a recipe whose stage is not the plain loop's.

    Raises:
        RecipeError: the recipe's stage is not Algorithm 1.
    """
    weights = recipe.gan
    one = (weights.d_identity, weights.g_adversarial, weights.g_identity)
    wen = recipe.model.generator.type == "wen2019"
    if not wen or one != (1, 1, 1) or weights.l1 or weights.lr_decay:
        raise RecipeError(
            f"Recipe {recipe.name} does not train by Algorithm 1 of Wen et al. with the paper's losses, "
            "against which it would be timed; use wen2019 or wen2019-paper."
        )


def _stage(recipe: Recipe, data: str, device: torch.device) -> Wen2019Stage:
    """The stage on a voice encoder with random weights, which cost no time to make."""
    store = open_source(data)
    config = recipe.model.encoder
    torch.manual_seed(0)
    encoder = Checkpoint(config, build_encoder(config), features=store.about["features"])
    return Wen2019Stage(store, store, encoder, recipe, 0, device)


def _loops(recipe: Recipe, data: str, device: torch.device) -> tuple[AlgorithmOne, dict]:
    """The plain loop, and name -> (precision, step function) of all loops, including it."""
    stage = _stage(replace(recipe, run=replace(recipe.run, precision="fp32")), data, device)
    plain = AlgorithmOne(stage)
    loops = {"plain": ("fp32", plain.step), OURS: ("fp32", stage.step)}
    if uses_bf16(recipe.run.precision, device):
        loops["ours bf16"] = ("bf16", _stage(recipe, data, device).step)
    return plain, loops


def _race(plain: AlgorithmOne, loops: dict, steps: int, device: torch.device, say):
    """Seconds of each loop's counted steps, GFLOP/s of the matrix products, the largest loss difference."""
    clocks: dict[str, list[float]] = {name: [] for name in loops}
    matmul: dict[str, list[float]] = {precision: [] for precision, _ in loops.values()}
    difference = 0.0
    for iteration in range(_WARM_UP + steps):
        if iteration == _WARM_UP:
            say(f"{steps} steps of each loop in turn ...")
        losses, taken = {}, {}
        for name, (_, step) in loops.items():
            taken[name], losses[name] = _clock(partial(step, iteration), device)
        rate = {precision: _matmul(precision, device) for precision in matmul}
        apart = (abs(float(losses[OURS][name]) - value) for name, value in losses["plain"].items())
        difference = max(difference, *apart)
        plain.hand_over()
        if iteration >= _WARM_UP:
            for into, values in ((clocks, taken), (matmul, rate)):
                for name, value in values.items():
                    into[name].append(value)
    return clocks, matmul, difference


def _clock(work: Callable[[], object], device: torch.device) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, result


def _matmul(precision: str, device: torch.device) -> float:
    """GFLOP/s of one product of square matrices."""
    side = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    torch.mm(a, b)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds, _ = _clock(partial(torch.mm, a, b), device)
    return 2 * side**3 / seconds / 1e9


def _flops(step: Callable[[int], dict]) -> int:
    """Floating-point operations of the convolutions and matrix products of one more step."""
    counter = FlopCounterMode(display=False)
    with counter:
        step(0)
    return counter.get_total_flops()


def memory_of(name: str, recipe: Recipe, data: str, device: torch.device, threads: int) -> int | None:
    """Peak memory in MiB of a process that runs this loop alone, with the imports and the data."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (name, recipe, data, str(device), threads))


def _peak(name: str, recipe: Recipe, data: str, device: str, threads: int) -> int | None:
    torch.set_num_threads(threads)
    fp32 = replace(recipe, run=replace(recipe.run, precision="fp32"))
    loop = _stage(recipe if name == "ours bf16" else fp32, data, torch.device(device))
    if name == "plain":
        loop = AlgorithmOne(loop)
        for name in (
            "generator",
            "trunk",
            "discriminator_parameters",
            "generator_optimiser",
            "discriminator_optimiser",
        ):
            delattr(loop.stage, name)  # weights that its steps do not use
    for iteration in range(_MEMORY_STEPS):
        loop.step(iteration)
    if torch.device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    try:  # not getrusage, which includes the parent before the fork
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    return round(int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 2**10)
