"""What `v2f-gan info` finds out: about machines, packages that are missing, broken or crash, and secrets."""

import importlib.metadata
import json
import os
import sys
from pathlib import Path

import pytest

from voice2face_gan.environment import loading, packages, places
from voice2face_gan.environment import machine as module
from voice2face_gan.environment.machine import machine
from voice2face_gan.models import inception_weights


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Function (name, code, version): a package in front of all others; with a version, it has metadata as
    pip writes them."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])

    def add(name: str, code: str, version: str | None = None) -> None:
        module = folder / name.replace("-", "_")
        module.mkdir()
        (module / "__init__.py").write_text(code)
        if version:
            about = folder / f"{module.name}-{version}.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            (about / "RECORD").write_text(f"{module.name}/__init__.py,,\n")

    return add


# Importing in another process


def test_what_does_not_load_has_a_reason_of_one_line(site):
    site("fine", "print('hello', flush=True)")
    site("linker", "raise OSError('libfoo.so: undefined symbol: _Z3foo\\nmore\\nlines')")
    site("needy", "import a_module_that_nobody_has")
    site("leaves", "raise SystemExit(3)")
    site("mute", "raise RuntimeError")
    result = loading.load(["fine", "linker", "needy", "leaves", "mute", "json"])
    assert {name: told["error"] for name, told in result.items()} == {
        "fine": None,
        "linker": "OSError: libfoo.so: undefined symbol: _Z3foo",
        "needy": "ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
        "leaves": "SystemExit: 3",
        "mute": "RuntimeError",
        "json": None,
    }
    assert "linker" not in sys.modules


def test_what_crashes_or_hangs_costs_the_others_nothing(site):
    site("crashes", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    site("quits", "import os; os._exit(7)")
    site("hangs", "import time; time.sleep(60)")
    names = ["json", "crashes", "quits", "hangs", "decimal"]
    result = loading.load(names, timeout=5)
    assert list(result) == names
    assert result["json"]["error"] is result["decimal"]["error"] is None
    assert result["crashes"]["error"] == "it ends the process (SIGSEGV)"
    assert result["quits"]["error"] == "it ends the process (exit code 7)"
    assert result["hangs"]["error"] == "it does not load within 5 s"


def test_the_current_folder_does_not_matter(tmp_path, monkeypatch):
    """A file of somebody's own that is called like a module of ours or of Python's."""
    for name in ("json.py", "queue.py", "machine.py"):
        (tmp_path / name).write_text("raise RuntimeError('mine')")
    monkeypatch.chdir(tmp_path)
    assert loading.load(["queue"])["queue"]["error"] is None


def test_facts_that_cannot_be_told_are_an_error_of_their_own(site):
    site("av", "")  # without library_versions
    (result,) = loading.load(["av"]).values()
    assert result["error"] is None and result["facts"]["error"].startswith("AttributeError: module 'av'")


# Packages


def test_every_extra_says_what_it_is_for():
    """The extras are the metadata's; their purposes are a table of ours, which must keep up."""
    declared = set(importlib.metadata.metadata(packages.NAME).get_all("Provides-Extra"))
    assert set(packages.PURPOSES) == declared - set(packages.FOR_DEVELOPERS)
    assert {r.extra for r in packages.requirements()} == {"", *packages.PURPOSES}


@pytest.mark.parametrize(
    ("line", "name", "versions", "extra"),
    [
        ("torch<2.12,>=2.11", "torch", "<2.12,>=2.11", ""),
        ("build", "build", "", ""),
        ('yt-dlp[default]>=2025.11; extra == "avspeech"', "yt-dlp", ">=2025.11", "avspeech"),
        ("onnx (>=1.19) ; extra == 'export'", "onnx", ">=1.19", "export"),
        ('x>=1; python_version < "3.13" and extra == "faces"', "x", ">=1", "faces"),
    ],
)
def test_lines_of_the_metadata(monkeypatch, line, name, versions, extra):
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda _: [line, 'voice2face-gan[test]; extra == "dev"']
    )
    assert packages.requirements() == [packages.Requirement(name, versions, extra)]


@pytest.fixture
def needs(site, monkeypatch):
    """Packages of our own as what this one needs: one fine, one too old, one broken, one missing; an extra
    that is ready and one that is not."""
    site("fine-one", "", "1.5")
    site("old-one", "", "0.9")
    site("broken-one", "raise OSError('libtorch_cuda.so: cannot open shared object file')", "2.0")
    lines = ["fine-one>=1,<2", "old-one>=1", "broken-one", "missing-one>=3"]
    lines += ['fine-one; extra == "hub"', 'absent-one>=1; extra == "faces"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)


def test_what_is_missing_broken_or_old(needs):
    told = packages.software()
    found = {e["name"]: (e["version"], e["state"], e["reason"], e["outside"]) for e in told["packages"]}
    reason = "OSError: libtorch_cuda.so: cannot open shared object file"
    assert found == {
        "fine-one": ("1.5", "ok", None, False),
        "old-one": ("0.9", "ok", None, True),
        "broken-one": ("2.0", "broken", reason, False),
        "missing-one": (None, "missing", "not installed", False),
        "absent-one": (None, "missing", "not installed", False),
    }
    assert told["extras"]["hub"]["ready"] and not told["extras"]["faces"]["ready"]
    assert told["extras"]["faces"]["install"] == "pip install 'voice2face-gan[faces]'"
    assert told["torch"] == told["ffmpeg"] == {}


def test_a_package_that_pip_did_not_install(monkeypatch):
    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", unknown)
    monkeypatch.setattr(
        packages, "load", lambda names, _: {n: {"error": None, "facts": {"of": n}} for n in names}
    )
    told = packages.software()
    assert not told["voice2face_gan"]["installed"] and told["packages"] == [] and told["extras"] == {}
    assert told["torch"] == {"of": "torch"}


# The machine


def test_this_machine():
    told = machine()
    assert told["cores"]["all"] == os.cpu_count() and 1 <= told["cores"]["usable"] <= told["cores"]["all"]
    assert told["memory"]["total"] > 2**28 and told["python"]["executable"] == sys.executable
    assert json.loads(json.dumps(told)) == told


def test_other_machines(tmp_path, monkeypatch):
    cpuinfo, group = tmp_path / "cpuinfo", tmp_path / "cgroup"
    group.mkdir()
    monkeypatch.setattr(module, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(module, "_GROUP", group)
    cpuinfo.write_text(
        "model name\t: Intel(R) Xeon(R)\nflags\t\t: fpu avx avx2 avx512f amx_bf16 amx_tile avx512_bf16\n"
    )
    (group / "cpu.max").write_text("150000 100000\n")
    (group / "memory.max").write_text("1073741824\n")
    told = machine()
    assert told["processor"] == "Intel(R) Xeon(R)"
    assert told["flags"] == ["avx", "avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16"]
    assert told["cores"]["quota"] == 1.5 and told["memory"]["limit"] == 2**30
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm\n")
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.max").write_text("max\n")
    told = machine()
    assert told["flags"] == ["sve", "bf16", "i8mm"]
    assert told["cores"]["quota"] is None and told["memory"]["limit"] is None
    cpuinfo.unlink()
    assert machine()["flags"] is None


# Places and variables


def test_where_things_are(tmp_path, monkeypatch):
    monkeypatch.setenv("V2F_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("V2F_INCEPTION", raising=False)
    told = places.places("/hub")
    assert {"default", "synthetic", "face_classifier"} <= set(told["checkpoints"])
    for checkpoint in told["checkpoints"].values():
        assert checkpoint["bytes"] == (Path(checkpoint["path"]) / "model.safetensors").stat().st_size > 1e6
    caches = told["caches"]
    assert caches["data"] == {"path": str(tmp_path), "exists": True}
    assert caches["hub"] == {"path": "/hub", "exists": False}
    assert caches["torch"]["path"] == str(tmp_path / "torch" / "hub" / "checkpoints")
    assert told["inception"]["state"] == "absent"
    file = tmp_path / "torch" / "hub" / "checkpoints" / inception_weights.NAMES[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"cut off")
    told = places.places()
    assert told["inception"]["state"] == "wrong" and "7 bytes" in told["inception"]["why"]
    assert told["caches"]["hub"] == {"path": None, "exists": False}
    monkeypatch.setattr(inception_weights, "DIGEST", inception_weights.sha256(file)[:8])
    assert places.places()["inception"] == {"path": str(file), "state": "verified", "why": None}
    monkeypatch.setenv("V2F_INCEPTION", str(tmp_path / "none.pth"))
    told = places.places()["inception"]
    assert told["state"] == "wrong" and told["why"].startswith("V2F_INCEPTION: there is no file")


def test_secrets_are_not_shown():
    shown = places.variables(
        {
            "V2F_CACHE": "/data/cache",
            "V2F_TOKEN": "abc",
            "V2F_API_KEY": "abc",
            "V2F_SOMETHING": "hf_abcdefghijklmnop",
            "HF_TOKEN": "hf_abcdefghijklmnop",
            "AWS_SECRET_ACCESS_KEY": "abc",
            "PASSWORD": "abc",
            "https_proxy": "http://me:p@ss@proxy.example:3128/",
            "HTTP_PROXY": "proxy.example:3128",
            "TORCH_HOME": "/models",
        }
    )
    assert shown == {
        "HTTP_PROXY": "proxy.example:3128",
        "TORCH_HOME": "/models",
        "V2F_API_KEY": places.HIDDEN,
        "V2F_CACHE": "/data/cache",
        "V2F_SOMETHING": places.HIDDEN,
        "V2F_TOKEN": places.HIDDEN,
        "https_proxy": "http://***@proxy.example:3128/",
    }


def test_the_home_folder_is_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert places.home_as_tilde("in /home/ann/x, /home/anna/y, /home/ann") == "in ~/x, /home/anna/y, ~"
