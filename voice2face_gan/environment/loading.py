"""Import packages in a separate process, since a package that does not fit can hang or crash its process.

The process is this file, run as a program. It gets a sys.path and names of modules on standard input and
writes a line of JSON before and after each import: {"begin": name}, then {"end": name, "error": a sentence or
null, "facts": {...}}. A process that ends between the two has crashed in that module; the next process
imports the rest.
"""

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading

TIMEOUT_SECONDS = 60.0  # seconds for one module


def load(modules: list[str], timeout: float = TIMEOUT_SECONDS) -> dict[str, dict]:
    """Import modules, one after the other, in another process.

    Args:
        modules: their names.
        timeout: seconds after which a module that does not load is given up.
    Returns:
        name -> {"error": why it does not load, or None, "facts": facts about this machine, see _FACTS}.
    """
    results, left = {}, list(modules)
    while left:
        results |= _run(left, timeout)
        left = [name for name in left if name not in results]
    return results


def _run(modules: list[str], timeout: float) -> dict[str, dict]:
    """Results of one process: of all modules, or of those up to the one that ended it."""
    process = subprocess.Popen(
        # -P: no folder is added to sys.path, which comes on standard input.
        [sys.executable, "-P", os.path.abspath(__file__)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    lines = queue.SimpleQueue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    results, at = {}, modules[0]
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            json.dump({"path": sys.path, "modules": modules}, process.stdin)
        threading.Thread(target=read, daemon=True).start()
        while len(results) < len(modules):
            line = lines.get(timeout=timeout)
            if line is None:
                return results | {at: _failed(f"it ends the process ({_ending(process.wait())})")}
            message = json.loads(line)
            if "begin" in message:
                at = message["begin"]
            else:
                results[message["end"]] = {"error": message["error"], "facts": message["facts"]}
        return results
    except queue.Empty:
        return results | {at: _failed(f"it does not load within {timeout:g} s")}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _failed(error: str) -> dict:
    return {"error": error, "facts": {}}


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _reason(error: BaseException) -> str:
    """One line: the kind of an error and the first line of its message."""
    text = " ".join(str(error).strip().split("\n")[0].split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _torch(torch) -> dict:
    from voice2face_gan.device import has_bf16

    cuda, version = torch.cuda.is_available(), torch.version
    built = (f"CUDA {version.cuda}" if version.cuda else None) or (
        f"ROCm {version.hip}" if version.hip else None
    )
    gpus = []
    for i in range(torch.cuda.device_count() if cuda else 0):
        about = torch.cuda.get_device_properties(i)
        gpus.append(
            {
                "name": about.name,
                "memory": about.total_memory,
                "capability": f"{about.major}.{about.minor}",
                "bf16": has_bf16(torch.device("cuda", i)),
            }
        )
    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bf16": has_bf16(torch.device("cpu")),
        "built_for": built,
        "gpus": gpus,
        "mps": torch.backends.mps.is_available(),
    }


def _av(av) -> dict:
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return {"ffmpeg": getattr(av, "ffmpeg_version_info", None), "libraries": libraries}


def _huggingface_hub(_) -> dict:
    from huggingface_hub import constants

    return {"cache": constants.HF_HUB_CACHE}


_FACTS = {"torch": _torch, "av": _av, "huggingface_hub": _huggingface_hub}


def _main() -> None:
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    # Output of packages must not come between our lines.
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(**what) -> None:
        own.write(json.dumps(what) + "\n")
        own.flush()

    for name in request["modules"]:
        report(begin=name)
        error, facts = None, {}
        try:
            module = importlib.import_module(name)
        except BaseException as wrong:  # SystemExit too: a broken package may raise anything
            error = _reason(wrong)
        else:
            try:
                facts = _FACTS.get(name, lambda _: {})(module)
            except BaseException as wrong:
                facts = {"error": _reason(wrong)}
        report(end=name, error=error, facts=facts)


if __name__ == "__main__":
    _main()
