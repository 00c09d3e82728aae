"""Paths of shipped checkpoints, caches and Inception's weights; and the environment variables in use."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from voice2face_gan.errors import MetricError
from voice2face_gan.models import inception_weights
from voice2face_gan.resources import cache_folder, resources

# Variables of other programs that affect us.
_OTHERS = (
    *("TORCH_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "SSL_CERT_FILE", "PYTHONPATH"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASS|AUTH|CREDENTIAL|(^|_)KEY", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(hf_|gh[opsu]_|github_pat_|sk-|xox|AKIA|eyJ)[\w.-]{8,}")
_LOGIN = re.compile(r"(?<=//)[^/\s]*@")  # name and password in an address
HIDDEN = "(set, not shown)"


def places(hub_cache: str | None = None) -> dict:
    """Folders and files, ready for JSON.

    Args:
        hub_cache: the model cache of huggingface_hub; None where it is not installed.
    Returns:
        checkpoints {name: {path, bytes}} that come with the package; caches {data, hub, torch: {path,
        exists}}; inception {path, state, why}, state being "verified", "absent" or "wrong".
    """
    shipped = {}
    for config in resources("assets", "*/config.json"):
        weights = config.with_name("model.safetensors")
        shipped[config.parent.name] = {
            "path": str(config.parent),
            "bytes": weights.stat().st_size if weights.is_file() else None,
        }
    caches = {
        "data": str(cache_folder()),
        "hub": hub_cache,
        "torch": str(inception_weights.hub_cache()),
    }
    return {
        "checkpoints": shipped,
        "caches": {
            name: {"path": path, "exists": path is not None and os.path.isdir(path)}
            for name, path in caches.items()
        },
        "inception": _inception(),
    }


def _inception() -> dict:
    try:
        found = inception_weights.find()
    except MetricError as error:
        return {"path": None, "state": "wrong", "why": str(error)}
    if found.path is not None:
        return {"path": str(found.path), "state": "verified", "why": None}
    return {"path": None, "state": "wrong" if found.damaged else "absent", "why": found.why}


def variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables that are ours (V2F_*) or affect us, sorted; secret values are hidden.

    Args:
        environment: default os.environ.
    """
    environment = os.environ if environment is None else environment
    names = sorted(name for name in environment if name.startswith("V2F_") or name in _OTHERS)
    return {name: _shown(name, environment[name]) for name in names}


def _shown(name: str, value: str) -> str:
    if _SECRET_NAME.search(name) or _SECRET_VALUE.search(value):
        return HIDDEN
    return _LOGIN.sub("***@", value)


def home_as_tilde(text: str) -> str:
    """A text in which the path of the home folder, which mostly holds the user's name, is written ~."""
    home = str(Path.home())
    return re.sub(rf"{re.escape(home)}(?=[/\\]|$)", "~", text) if len(home) > 1 else text
