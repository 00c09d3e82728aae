"""Device and precision of the networks."""

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import torch

from voice2face_gan.errors import DeviceError


def choose_device(name: str = "auto") -> torch.device:
    """Device of a name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        DeviceError: an unknown name, or a device that this machine lacks.
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
    """True where the device multiplies bfloat16 natively; elsewhere autocast costs more than it gains.

    Of processors these are those with AMX. With AVX-512's instructions for bfloat16 alone, an iteration of
    the generator took 1.90 s for float32's 1.24, one of the encoder 1.80 for 1.22, encoding a clip 39 ms for
    25.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _processor_has_bf16()


@functools.cache
def _processor_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "amx_bf16" in flags


def autocast(precision: str, device: torch.device):
    """Context in which matrix products are done in bfloat16, or one that changes nothing.

    Args:
        precision: "auto", "bf16" or "fp32".
    """
    if uses_bf16(precision, device):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def uses_bf16(precision: str, device: torch.device) -> bool:
    """True where a precision means bfloat16 on the device; see `autocast`."""
    return precision == "bf16" or (precision == "auto" and not _exact.get() and has_bf16(device))


def has_recurrent_bf16(device: torch.device) -> bool:
    """True where PyTorch has LSTM layers in bfloat16 on the device; of processors only some have them."""
    layer = torch.nn.LSTM(8, 8, batch_first=True, device=device)
    try:
        with torch.autocast(device.type, torch.bfloat16):
            layer(torch.zeros(2, 4, 8, device=device))[0].float().sum().backward()
    except RuntimeError:
        return False
    return True


def check_recurrent(precision: str, device: torch.device) -> None:
    """Refuse a precision in which recurrent layers cannot be trained on the device.

    Raises:
        DeviceError: they cannot.
    """
    if uses_bf16(precision, device) and not has_recurrent_bf16(device):
        raise DeviceError(
            f"run.precision={precision}: recurrent layers cannot learn in bfloat16 on this machine's "
            f"{device.type}; set run.precision=fp32."
        )


_exact: ContextVar[bool] = ContextVar("exact", default=False)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Context in which "auto" means float32 on every device, for comparing results with another program's."""
    before = _exact.set(True)
    try:
        yield
    finally:
        _exact.reset(before)


def resident(tensor: torch.Tensor, device: torch.device | None) -> torch.Tensor:
    """The tensor on a GPU, if it takes at most half of the memory that is free there; else unchanged."""
    if device is None or device.type != "cuda" or tensor.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return tensor
    return tensor.to(device)


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device, through pinned memory, so that the CPU does not wait for a GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def trains_in_bf16(x: torch.Tensor) -> bool:
    """True where x is on a CPU under bfloat16 autocast with gradients: there our own layers are faster."""
    return (
        x.device.type == "cpu"
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") is torch.bfloat16
    )


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, up to 2 GiB, for its next tensors.

    glibc gives large blocks back at once, and the kernel clears every page of the next one: a training step
    of large tensors on a CPU spends up to a fifth of its time on that. Does nothing where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, Windows
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # as malloc.h numbers them
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**26)
