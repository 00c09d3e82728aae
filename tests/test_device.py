"""Where nets compute: memory that is kept, tensors that stay where they are."""

import platform

import pytest
import torch

from voice2face_gan import device as module
from voice2face_gan.device import (
    check_recurrent,
    full_precision,
    resident,
    send,
    trains_in_bf16,
    uses_bf16,
)
from voice2face_gan.errors import DeviceError

STEPS = """
import resource, sys, torch
from voice2face_gan.device import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
torch.set_num_threads(1)
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x = torch.ones(2**24)  # 64 MiB, 16384 pages: above what glibc may come to keep of itself
    for _ in range(2):
        x = x + 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults = [step() for _ in range(12)]
print(sum(faults[6:]) // 6)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's memory")
def test_freed_memory_is_used_again(python):
    """The kernel clears a large tensor's pages once, not every time."""
    kept, given_back = (int(python("-c", STEPS, how).stdout) for how in ("keep", "give back"))
    assert kept < 16384 <= given_back  # less than one tensor of three a step


def test_on_a_cpu_tensors_stay_as_they_are():
    tensor = torch.zeros(3)
    cpu = torch.device("cpu")
    assert (
        resident(tensor, cpu) is tensor and resident(tensor, None) is tensor and send(tensor, cpu) is tensor
    )


def test_automatic_precision_is_the_devices_unless_full_precision_is_wanted(monkeypatch):
    monkeypatch.setattr(module, "has_bf16", lambda device: device.type == "cpu")
    cpu, other = torch.device("cpu"), torch.device("meta")
    assert uses_bf16("auto", cpu) and not uses_bf16("auto", other) and not uses_bf16("fp32", cpu)
    with full_precision():
        assert not uses_bf16("auto", cpu) and uses_bf16("bf16", cpu)
        with full_precision():
            pass
        assert not uses_bf16("auto", cpu)
    assert uses_bf16("auto", cpu)


def test_our_own_layers_are_for_training_in_bfloat16_on_a_cpu():
    x = torch.zeros(1)
    assert not trains_in_bf16(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert trains_in_bf16(x)
        assert not trains_in_bf16(torch.zeros(1, device="meta"))
        with torch.no_grad():
            assert not trains_in_bf16(x)
    with torch.autocast("cpu", torch.float16):
        assert not trains_in_bf16(x)


@pytest.mark.parametrize(
    "flags, bf16", [("avx512f avx512_bf16", False), ("avx512_bf16 amx_bf16 amx_tile", True)]
)
def test_a_processor_has_bf16_where_it_has_amx(monkeypatch, tmp_path, flags, bf16):
    """With AVX-512 alone bfloat16 is the slower."""
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu sse2 {flags}\n")
    monkeypatch.setattr(module, "Path", lambda _: tmp_path / "cpuinfo")
    assert module._processor_has_bf16.__wrapped__() is bf16


def test_recurrent_layers_that_cannot_learn_in_bfloat16_are_refused_in_a_sentence(monkeypatch):
    """As on processors for which PyTorch has no such layers."""
    cpu = torch.device("cpu")

    def forward(self, x):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor")
        return x, None

    monkeypatch.setattr(torch.nn.LSTM, "forward", forward)
    check_recurrent("fp32", cpu)
    with pytest.raises(
        DeviceError, match="cannot learn in bfloat16 on this machine's cpu; set run.precision"
    ):
        check_recurrent("bf16", cpu)
