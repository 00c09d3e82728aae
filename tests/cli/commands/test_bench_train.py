"""`v2f-gan bench train`: both loops run, and its figures belong together."""

import json

import pytest
import torch

from voice2face_gan.bench.train import memory_of
from voice2face_gan.device import has_bf16
from voice2face_gan.training.recipe.recipe import load_recipe


@pytest.fixture
def small(tiny_settings) -> list[str]:
    settings = (text for text in tiny_settings(run__precision="auto") if not text.startswith("gan.batch"))
    return [
        "--data",
        "synthetic:20",
        "--batch",
        4,
        "--steps",
        3,
        *(x for text in settings for x in ("--set", text)),
    ]


@pytest.mark.slow
def test_both_loops_are_timed_and_agree(cli, store, small):
    result = cli("bench", "train", *small, "--threads", 1, "--no-memory", "--json")
    assert result.code == 0
    found = json.loads(result.stdout)
    names = {"plain", "ours fp32"} | ({"ours bf16"} if has_bf16(torch.device("cpu")) else set())
    assert set(found["runs"]) == names and set(found["ratio"]) == names - {"plain"}
    assert found["loss_difference"] < 1e-5
    assert (found["batch"], found["steps"], found["threads"]) == (4, 3, 1)
    for run in found["runs"].values():
        assert run["images_per_second"] == pytest.approx(4000 / run["step_ms"], rel=0.05)
    # The plain loop passes faces through the trunk more often, and computes gradients that no step uses.
    gflop = {name: run["gflop_per_step"] for name, run in found["runs"].items()}
    assert gflop["plain"] > gflop["ours fp32"] > 0
    assert "images/s" in result.stderr


@pytest.mark.slow
def test_memory_is_of_a_process_of_its_own(store, tiny_settings):
    recipe = load_recipe("wen2019", tiny_settings())
    device = torch.device("cpu")
    waste = torch.ones(2**29)  # 2 GiB here, of which the loop's process knows nothing
    peak = memory_of("plain", recipe, "synthetic:20", device, 1)
    assert waste[-1] == 1 and (peak is None or 100 < peak < 2000)


def test_a_recipe_of_another_algorithm_is_refused(cli, small):
    for more in (("--set", "gan.l1=10"), ("--recipe", "r3gan")):
        result = cli("bench", "train", "--data", "synthetic:20", *more)
        assert result.code == 2 and "Algorithm 1" in result.stderr
