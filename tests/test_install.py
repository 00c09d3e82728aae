"""The wheel, installed without this checkout in sight."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built in an environment of its own, as an installer does; it needs a package registry."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_assets_and_recipes(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "py.typed",
        "assets/sample.wav",
        "assets/default/model.safetensors",
        "assets/default/MODEL_CARD.md",
        "assets/r3gan/model.safetensors",
        "assets/LICENSE-WEIGHTS",
        "assets/synthetic/config.json",
        "recipes/wen2019.toml",
    ):
        assert f"voice2face_gan/{name}" in names
    assert not [name for name in names if name.startswith(("tests", "assets", "experiments"))]
    assert not [name for name in names if "labbook" in name]


@pytest.mark.slow
def test_wheel_generates_and_trains_from_another_folder(wheel, tmp_path):
    # In front of everything lies the wheel's content; torch and the like are this environment's.
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    code = (
        "import runpy, sys; sys.path.insert(0, {!r}); import voice2face_gan as v;"
        "assert v.__file__.startswith(sys.path[0]); runpy.run_module('voice2face_gan', run_name='__main__')"
    )
    environment = {**os.environ, "V2F_CACHE": str(tmp_path / "cache")}

    def v2f(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", code.format(str(site)), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    v2f("generate", str(site / "voice2face_gan" / "assets" / "sample.wav"), "-o", "face.png")
    v2f("train", "--recipe", "wen2019-paper", "--data", "synthetic:20", "--iterations", "5")
    assert (tmp_path / "face.png").is_file()
    (run,) = (tmp_path / "runs").iterdir()
    v2f("generate", str(ROOT / "assets" / "sample.wav"), "-o", "trained.png", "--checkpoint", str(run))
    assert (tmp_path / "trained.png").is_file()
