"""The weights of pytorch-fid's Inception: where they are looked for, how they are recognised and fetched.

They are one file under two public names, and its SHA-256 begins with the 8 digits in the names. Whoever has
used pytorch-fid, torch-fidelity or torchmetrics has it in torch's hub cache already. A file with other bytes,
cut off or of another port of the network, would give distances that compare with nobody's: it is not loaded.
"""

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voice2face_gan.download import download
from voice2face_gan.errors import MetricError

NAMES = (
    "pt_inception-2015-12-05-6726825d.pth",  # as pytorch-fid names it
    "weights-inception-2015-12-05-6726825d.pth",  # as torch-fidelity does
)
DIGEST = "6726825d"
ADDRESSES = (
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAMES[0]}",
    f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{NAMES[1]}",
)
SIZE = "about 96 MB"
VARIABLE = "V2F_INCEPTION"
_GIVE = f"give its path with --inception-weights or {VARIABLE}"
WAYS = (
    f"`v2f-gan evaluate --metric fid` downloads the weights once ({SIZE}); or fetch {NAMES[0]} elsewhere and "
    f"{_GIVE}."
)
WAYS_OFFLINE = (
    f"Fetch {NAMES[0]} elsewhere, from the pytorch-fid project's releases, and {_GIVE}; if the way out is a "
    "proxy, set https_proxy."
)
_MOST = 200_000_000  # bytes


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        path: the weights, checked; None where they are not.
        why: a clause that says why they are not; "" where they are.
        damaged: a file that should be them holds something else.
    """

    path: Path | None
    why: str = ""
    damaged: bool = False


def find(given: Path | None = None) -> Found:
    """The weights: at the path given, else where $V2F_INCEPTION says, else in torch's hub cache.

    Raises:
        MetricError: the path that was given, or that the variable names, is not them.
    """
    named = given or os.environ.get(VARIABLE)
    if named:
        path = Path(named).expanduser()
        by = "" if given else f"{VARIABLE}: "
        if not path.is_file():
            raise MetricError(
                f"{by}there is no file {path}; it should be pytorch-fid's Inception weights, {NAMES[0]}. "
                "Without a path, `v2f-gan evaluate --metric fid` downloads them once."
            )
        if wrong := _wrong(path):
            raise MetricError(f"{by}{wrong}.")
        return Found(path)
    files = [path for name in NAMES if (path := hub_cache() / name).is_file()]
    damage = {path: _wrong(path) for path in files}
    for path, wrong in damage.items():
        if not wrong:
            return Found(path)
    for wrong in damage.values():
        return Found(None, wrong, damaged=True)
    return Found(None, "its weights are not on this machine")


def is_here(given: Path | None = None) -> bool:
    """True where `find` finds them."""
    try:
        return find(given).path is not None
    except MetricError:
        return False


def fetch(
    begin: Callable[[str, int | None], None] = lambda host, size: None,
    progress: Callable[[int], None] = lambda done: None,
) -> Path:
    """Download the weights into torch's hub cache; `begin` and `progress` are `download`'s.

    Raises:
        DownloadError: the network is forbidden, or no source gave them; it says why.
        OutputError: the cache cannot be written.
    """
    path = hub_cache() / NAMES[0]
    download(ADDRESSES, path, DIGEST, _MOST, begin, progress)
    return path


def hub_cache() -> Path:
    """The folder in which torch keeps the weights it downloads: below $TORCH_HOME, $XDG_CACHE_HOME/torch or
    ~/.cache/torch. Does not import torch; where that is loaded, it is asked."""
    if "torch.hub" in sys.modules:
        return Path(sys.modules["torch.hub"].get_dir()) / "checkpoints"
    home = os.environ.get("TORCH_HOME", os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; computed once as long as its size and time stay.

    Raises:
        OSError: it cannot be read.
    """
    about = path.stat()
    return _sha256(path, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong(path: Path) -> str:
    """A clause that says what is wrong with a file; "" where it is the weights."""
    try:
        found = sha256(path)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})"
    if found.startswith(DIGEST):
        return ""
    return (
        f"{path} does not hold pytorch-fid's Inception weights: its {path.stat().st_size:,} bytes have the "
        f"SHA-256 {found[:8]}..., not {DIGEST}...; it is cut off or something else, so delete it"
    )
