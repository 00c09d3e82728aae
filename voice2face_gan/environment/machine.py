"""The machine: operating system, processor, cores, memory, and the Python that runs."""

import contextlib
import os
import platform
import subprocess
import sys
from pathlib import Path

# Flags that decide the speed of the networks: wide vectors, and instructions for bfloat16.
_FLAGS = (
    "avx",
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_tile",
    "amx_bf16",
    "sve",
    "bf16",
    "i8mm",
)
_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def machine() -> dict:
    """Facts about the machine, ready for JSON; None where unknown.

    Returns:
        os, architecture, processor; flags: those of the processor that matter here; cores {all, usable,
        quota}; memory {total, available, limit} in bytes, with the limit of a container; python {version,
        implementation, executable}.
    """
    return {
        "os": _system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "flags": _flags(),
        "cores": {"all": os.cpu_count(), "usable": _usable(), "quota": _quota()},
        "memory": _memory(),
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
        },
    }


def _system() -> str:
    with contextlib.suppress(OSError, AttributeError):
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.platform()}"
    return platform.platform()


def _processor() -> str | None:
    for line in _read(_CPUINFO).splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(asked, capture_output=True, text=True, timeout=5).stdout.strip() or None
    return platform.processor() or None


def _flags() -> list[str] | None:
    for line in _read(_CPUINFO).splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, ARM
            has = set(value.split())
            return [flag for flag in _FLAGS if flag in has]
    return None


def _usable() -> int | None:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count()


def _quota() -> float | None:
    """Number of cores whose time a container may use."""
    with contextlib.suppress(ValueError):
        quota, period = _read(_GROUP / "cpu.max").split()
        return int(quota) / int(period)
    with contextlib.suppress(ValueError):
        quota, period = (int(_read(_GROUP / "cpu" / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
        return quota / period if quota > 0 else None
    return None


def _memory() -> dict:
    found = dict.fromkeys(("total", "available", "limit"))
    for line in _read(_MEMINFO).splitlines():
        name, _, value = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            found[name.removeprefix("Mem").lower()] = int(value.split()[0]) * 1024
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found["total"] = found["total"] or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(ValueError):
            limit = int(_read(_GROUP / name))
            if limit < (found["total"] or limit):  # without a limit the file holds "max", or 2^63
                found["limit"] = limit
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
