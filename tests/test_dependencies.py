"""torch, torchvision and torchaudio fit together: they load in one process and their compiled parts run.

Each of the three is built against one version of torch, which pip does not always see to.
"""

import re

import pytest

from voice2face_gan.device import has_bf16


def test_the_three_load_together_in_a_fresh_process():
    """In an order in which nothing else has loaded torch's libraries before; as `v2f-gan info` does it, which
    hears from them what they know of this machine."""
    import torch

    from voice2face_gan.environment.loading import load

    result = load(["torchaudio", "torchvision", "torch", "av"])
    assert {name: told["error"] for name, told in result.items()} == dict.fromkeys(result)
    facts = result["torch"]["facts"]
    assert facts["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert facts["threads"] >= 1 and len(facts["gpus"]) == torch.cuda.device_count()
    assert facts["bf16"] == has_bf16(torch.device("cpu"))
    assert re.fullmatch(r"[\d.]+", result["av"]["facts"]["libraries"]["libavcodec"])


def test_a_compiled_kernel_of_torchaudio():
    """Its recursive filter: y[n] = x[n] + y[n - 1] / 2 turns an impulse into 1, 1/2, 1/4, ..."""
    import torch
    import torchaudio
    import torchvision  # noqa: F401  (beside it, which is what is tested)

    x = torch.zeros(1, 12)
    x[0, 0] = 1
    y = torchaudio.functional.lfilter(x, torch.tensor([1.0, -0.5]), torch.tensor([1.0, 0.0]), clamp=False)
    assert y[0].tolist() == pytest.approx([2.0**-n for n in range(12)])
    # Where its library does not load, torchaudio does the same in Python, some hundred times slower.
    assert hasattr(torch.ops.torchaudio, "_lfilter_core_loop"), "torchaudio's library is not loaded"


def test_a_compiled_kernel_of_torchvision():
    """Non-maximum suppression keeps the better of two boxes that overlap by 9/11, and the one apart."""
    import torch
    import torchaudio  # noqa: F401
    import torchvision

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5)
    assert kept.tolist() == [1, 2]
    assert torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.9).tolist() == [1, 0, 2]
