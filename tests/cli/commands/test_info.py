"""`v2f-gan info`: a text to paste, the same as JSON, whatever is broken."""

import json
import sys
from importlib.metadata import version

import pytest

from voice2face_gan import __version__
from voice2face_gan.environment import packages


@pytest.fixture
def loaded(monkeypatch):
    """What importing the packages gives here: name -> result, which a test may change; the others load."""
    results = {
        "torch": {
            "error": None,
            "facts": {
                "threads": 3,
                "interop_threads": 2,
                "cpu_capability": "AVX512",
                "bf16": True,
                "built_for": "CUDA 13.0",
                "gpus": [{"name": "A GPU", "memory": 80 * 2**30, "capability": "9.0", "bf16": True}],
                "mps": False,
            },
        },
        "av": {"error": None, "facts": {"ffmpeg": "8.1.2", "libraries": {"libavcodec": "62.28.102"}}},
        "huggingface_hub": {"error": None, "facts": {"cache": "/hub"}},
    }
    fine = {"error": None, "facts": {}}
    monkeypatch.setattr(packages, "load", lambda names, _: {name: results.get(name, fine) for name in names})
    return results


def section(text: str, title: str) -> list[str]:
    """The lines below a title."""
    lines = text.splitlines()
    after = lines[lines.index(title) + 1 :]
    end = next((i for i, line in enumerate(after) if not line.startswith("  ")), len(after))
    return [line.strip() for line in after[:end]]


def test_the_text(cli, loaded, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example:1")
    result = cli("info")
    assert result.code == 0 and result.stderr == ""
    text = result.stdout
    assert any("usable" in line for line in section(text, f"voice2face-gan {__version__}"))
    assert section(text, "Computing")[1:] == [
        "threads       3 of torch, which uses AVX512",
        "bfloat16      used: this processor has AMX (--precision auto)",
        "GPU           A GPU, 80.0 GiB, capability 9.0, bfloat16 (torch is built for CUDA 13.0)",
    ]
    names = [line.split()[0] for line in section(text, "Packages")]
    assert {"torch", "torchaudio", "numpy", "scipy", "pillow"} <= set(names)
    assert section(text, "Packages")[-1] == "FFmpeg in av                8.1.2: libavcodec 62.28.102"
    assert {line.split()[0] for line in section(text, "Extras")} == set(packages.PURPOSES)
    assert any(line.startswith("checkpoint default") for line in section(text, "Files"))
    assert any(line.startswith("Inception") and "not found" in line for line in section(text, "Files"))
    assert any(line.startswith("V2F_CACHE") for line in section(text, "Environment variables"))
    assert "hf_abc" not in text and "secret" not in text and "***@proxy.example" in text


def test_json_is_one_document(cli, loaded):
    result = cli("info", "--json")
    assert result.code == 0
    told = json.loads(result.stdout)
    assert set(told) == {
        *("machine", "voice2face_gan", "packages", "extras", "torch", "ffmpeg", "checkpoints", "caches"),
        *("inception", "variables", "problems"),
    }
    assert told["voice2face_gan"]["version"] == __version__ and told["caches"]["hub"]["path"] == "/hub"


def test_what_is_broken_or_missing_is_a_line(cli, loaded, monkeypatch):
    loaded["torchaudio"] = {"error": "OSError: libtorchaudio.so: undefined symbol: x", "facts": {}}
    loaded["torch"]["facts"] = {"error": "RuntimeError: the driver is too old"}
    own = packages.metadata.distribution

    def distribution(name):
        if name in ("huggingface-hub", "scipy"):
            raise packages.metadata.PackageNotFoundError(name)
        return own(name)

    monkeypatch.setattr(packages.metadata, "distribution", distribution)
    text = cli("info").stdout
    (line,) = [line for line in section(text, "Packages") if line.startswith("torchaudio")]
    assert line.endswith("BROKEN: OSError: libtorchaudio.so: undefined symbol: x")
    (line,) = [line for line in section(text, "Extras") if line.startswith("hub ")]
    assert "missing" in line and line.endswith(
        "huggingface-hub is missing; pip install 'voice2face-gan[hub]'"
    )
    wrong = section(text, "Problems")
    assert any(line.startswith("torchaudio") and line.endswith("undefined symbol: x") for line in wrong)
    assert "scipy: not installed" in wrong and not any(line.startswith("huggingface") for line in wrong)
    assert "torch loads, but gives no facts about this machine: RuntimeError: the driver is too old" in wrong
    assert "unknown, see Problems" in section(text, "Computing")[1]
    assert any("the extra hub is not installed" in line for line in section(text, "Files"))


def test_it_imports_nothing_heavy_itself(python, tmp_path):
    """Whatever is broken: without numpy, torch, rich, scipy and all the rest."""
    blocked = (
        "torch",
        "torchaudio",
        "torchvision",
        "numpy",
        "scipy",
        "rich",
        "av",
        "PIL",
        "jinja2",
        "packaging",
    )
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked!r}))  # importing one of them is an error
from voice2face_gan.environment import packages
packages.load = lambda names, _: {{n: {{"error": "ImportError: no", "facts": {{}}}} for n in names}}
from voice2face_gan.cli import main
main(["info"])
"""
    result = python("-c", code)
    assert result.code == 0 and "Traceback" not in result.stderr, result.stderr
    assert "BROKEN: ImportError: no" in result.stdout and "unknown, see Problems" in result.stdout


@pytest.mark.slow
def test_every_package_is_found_and_loads(start):
    """The whole command, which imports everything that is installed."""
    running = start("info", "--json")
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    told = json.loads(out)
    assert told["voice2face_gan"]["installed"] and told["machine"]["python"]["executable"] == sys.executable
    entries = {entry["name"]: entry for entry in told["packages"]}
    assert not {n: e["reason"] for n, e in entries.items() if e["state"] == "broken"}
    assert not [n for n, e in entries.items() if e["state"] == "missing" and not e["extra"]]
    assert entries["torch"]["version"] == version("torch")
    modules = {name: entry["module"] for name, entry in entries.items() if entry["module"]}
    expected = {"pillow": "PIL", "webrtcvad-wheels": "webrtcvad", "pytorch-fid": "pytorch_fid", "av": "av"}
    assert expected.items() <= modules.items()
    if "dlib-bin" in modules:
        assert modules["dlib-bin"] == "dlib"
    assert told["torch"]["threads"] >= 1 and told["ffmpeg"]["libraries"] and told["caches"]["hub"]["path"]
