"""The package and its dependencies: installed versions, import of each, and purposes of the extras.

Requirements are read from the package's own metadata, which pip wrote from setup.cfg.
"""

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from voice2face_gan.environment.loading import TIMEOUT_SECONDS, load
from voice2face_gan.version import __version__

NAME = "voice2face-gan"
FOR_DEVELOPERS = ("test", "dev", "all")  # extras that combine others, and requirements of the tests
PURPOSES = {
    "faces": "detecting and aligning faces, dlib as face reader",
    "heic": "phones' HEIC images",
    "parquet": "data sets in parquet files",
    "avspeech": "fetching AVSpeech clips",
    "cluster": "preparing a data set on many machines",
    "report": "plots in the report",
    "distributed": "training in several processes, on several GPUs or machines",
    "hub": "checkpoints from and to the Hugging Face hub",
    "track": "TensorBoard",
    "export": "checkpoints as ONNX",
    "speech2face": "AST voice encoders, VGG-Face's weights from h5 files",
    "web": "the studio: v2f-gan serve",
}
_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:\[[^]]*\])?\s*\(?(?P<versions>[^;)]*)\)?\s*(?:;.*extra\s*==\s*['\"](?P<extra>[\w.-]+))?"
)


@dataclass(frozen=True)
class Requirement:
    """A line of the metadata.

    Attributes:
        name: name of the distribution.
        versions: its versions, such as "<2.12,>=2.11".
        extra: the extra it belongs to; "" for a requirement of the package itself.
    """

    name: str
    versions: str
    extra: str


def requirements() -> list[Requirement]:
    """Requirements of the package, without extras for developers; [] where it is not installed by pip."""
    try:
        lines = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return []
    found = [_REQUIREMENT.match(line) for line in lines]
    parsed = [Requirement(m["name"], m["versions"].strip(), m["extra"] or "") for m in found if m]
    return [r for r in parsed if r.extra not in FOR_DEVELOPERS]


def software(timeout: float = TIMEOUT_SECONDS) -> dict:
    """Versions, and results of importing everything, ready for JSON.

    Args:
        timeout: seconds after which a package that does not load is given up.
    Returns:
        voice2face_gan {version, path, installed}; packages: a list of {name, module, version, wanted, extra,
        state, reason, outside}, where state is "ok", "missing" or "broken" and outside is True for a version
        that is not among the wanted ones; extras {name: {for, ready, install}}; torch, ffmpeg, hub: facts, {}
        where the package does not load.
    """
    needed = requirements()
    entries = [_entry(r) for r in needed]
    # torch is imported even where there are no metadata.
    modules = [entry["module"] for entry in entries if entry["module"]] or ["torch", "av"]
    loaded = load(list(dict.fromkeys(modules)), timeout)
    for entry in entries:
        error = loaded[entry["module"]]["error"] if entry["module"] else None
        if error is not None:
            entry |= {"state": "broken", "reason": error}
    facts = {name: loaded.get(name, {}).get("facts", {}) for name in ("torch", "av", "huggingface_hub")}
    return {
        "voice2face_gan": {
            "version": __version__,
            "path": str(Path(__file__).parents[1]),
            "installed": bool(needed),
        },
        "packages": entries,
        "extras": _extras(entries),
        "torch": facts["torch"],
        "ffmpeg": facts["av"],
        "hub": facts["huggingface_hub"],
    }


def _entry(wanted: Requirement) -> dict:
    entry = {
        "name": wanted.name,
        "module": None,
        "version": None,
        "wanted": wanted.versions,
        "extra": wanted.extra or None,
        "state": "missing",
        "reason": "not installed",
        "outside": False,
    }
    try:
        installed = metadata.distribution(wanted.name)
        entry["version"] = installed.version
        entry["module"] = module_of(installed)
    except metadata.PackageNotFoundError:
        return entry
    except Exception as error:  # damaged metadata
        return entry | {"state": "broken", "reason": f"its metadata cannot be read ({type(error).__name__})"}
    return entry | {"state": "ok", "reason": None, "outside": _is_outside(installed.version, wanted.versions)}


def module_of(installed: metadata.Distribution) -> str:
    """The module to import of an installed distribution: dlib-bin has dlib, pillow has PIL.

    Of the packages and modules it installed, the one of the same name, else the first with a public name, a
    folder with an __init__ before a file.
    """
    name = installed.name.lower().replace("-", "_").replace(".", "_")
    files = [file.parts for file in installed.files or ()]
    folders = [parts[0] for parts in files if len(parts) == 2 and parts[1].startswith("__init__.")]
    single = [parts[0].partition(".")[0] for parts in files if len(parts) == 1 and _is_code(parts[0])]
    tops = (installed.read_text("top_level.txt") or "").split()
    public = [top for top in [*folders, *single, *tops] if not top.startswith("_")]
    same = (top for top in public if top.lower() == name)
    return next(same, next(iter(public), name))


def _is_code(file: str) -> bool:
    return file.endswith((".py", ".so", ".pyd"))


def _is_outside(version: str, wanted: str) -> bool:
    """True for a version that is known not to be among the wanted ones."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return False
    try:
        return not SpecifierSet(wanted).contains(version, prereleases=True)
    except ValueError:
        return False


def _extras(entries: list[dict]) -> dict[str, dict]:
    found = {}
    for name in dict.fromkeys(e["extra"] for e in entries if e["extra"]):
        ready = all(e["state"] == "ok" for e in entries if e["extra"] == name)
        install = f"pip install '{NAME}[{name}]'"
        found[name] = {"for": PURPOSES.get(name, ""), "ready": ready, "install": install}
    return found
