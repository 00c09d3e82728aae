"""Where, and in what precision, nets compute."""

import contextlib
from pathlib import Path

import torch

from voice2face_gan.errors import DeviceError


def choose_device(name: str = "auto") -> torch.device:
    """The device a name means; "auto" is CUDA where there is one, else the CPU.

    Raises:
        DeviceError: an unknown name, or a device this machine lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise DeviceError(
            f"--device {name}: this machine has no such device; use auto, cpu or cuda."
        ) from None
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively: elsewhere autocast costs more than it gains."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return device.type == "cpu" and ("avx512_bf16" in flags or "amx_bf16" in flags)


def autocast(precision: str, device: torch.device):
    """Context in which matrix products are done in bfloat16, or one that changes nothing.

    Args:
        precision: "auto", "bf16" or "fp32".
    """
    if precision == "bf16" or (precision == "auto" and has_bf16(device)):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
