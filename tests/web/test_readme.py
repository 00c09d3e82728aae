"""The README's examples of the HTTP API, typed as they stand there but for the port."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

README = "README.md"


def blocks(root, kind: str) -> list[str]:
    text = (root / README).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind} api\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def desk(root, tmp_path, monkeypatch):
    """A folder with the sample clip, without a proxy."""
    (tmp_path / "assets").mkdir()
    shutil.copy(root / "assets" / "sample.wav", tmp_path / "assets")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_curl(root, desk, studio):
    (block,) = blocks(root, "bash")
    assert block.count("curl ") == len(block.splitlines()) >= 2
    script = "set -e\n" + block.replace("7860", str(studio.port))
    subprocess.run(["bash", "-c", script], cwd=desk, check=True, capture_output=True, timeout=300)
    assert Image.open(desk / "curl.png").size == (64, 64)
    assert len(json.loads((desk / "faces.json").read_text())["faces"]) == 4


def test_python(root, desk, studio):
    pytest.importorskip("requests")
    (block,) = blocks(root, "python")
    command = [sys.executable, "-c", block.replace("7860", str(studio.port))]
    done = subprocess.run(command, cwd=desk, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Image.open(desk / "python.png").text["Seed"] == "7"
