"""What the README tells people to type is typed here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A folder with the sample clip in it, as a checkout has."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "assets").mkdir()
    shutil.copy(ROOT / "assets" / "sample.wav", folder / "assets")
    return folder


def run(command: list[str] | str, folder: Path, **options) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    options |= {"env": {**os.environ, "PATH": path, **options.get("env", {})}, "stdin": subprocess.DEVNULL}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)


def test_set_up_commands_come_first():
    setup = blocks("bash")
    assert len(setup) == 2 and all(len(block.strip().splitlines()) == 1 for block in setup)
    assert "v2f-gan generate assets/sample.wav" in setup[0] and "pytest" in setup[1]


def test_console_examples(desk):
    lines = [line.partition("#")[0].strip() for block in blocks("console") for line in block.splitlines()]
    lines = [line for line in lines if line]
    assert len(lines) >= 9
    for line in lines:
        done = run(line, desk, shell=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    made = {path.name for path in desk.rglob("*.png")}
    assert {"sample.png", "sample-1.png", "sample-4.png", "she.png"} <= made
    # Three examples start a run; --resume goes on with the newest.
    assert len(list((desk / "runs").iterdir())) == 3


def test_python_examples(desk):
    for block in blocks("python"):
        done = run([sys.executable, "-c", block], desk)
        assert done.returncode == 0, done.stderr
    assert (desk / "face.png").is_file()


@pytest.mark.slow
def test_first_command_on_a_fresh_copy(tmp_path):
    """Installs everything from the registry: minutes, gigabytes."""
    copy = tmp_path / "voice2face-gan"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(copy)], check=True)
    done = run(blocks("bash")[0], copy, shell=True, env={"V2F_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    assert (copy / "face.png").read_bytes().startswith(b"\x89PNG")
