"""FID by name: Inception's weights are downloaded once, or a stand-in says why it takes their place.

The server is on this machine, and the "weights" are a few bytes, read by a small network in Inception's
place: the figures mean nothing. tests/evaluation/test_features.py has the real network.
"""

import hashlib
import json

import pytest
import torch
from torch import nn

from voice2face_gan.evaluation import features, readers
from voice2face_gan.models import inception_weights

CONTENT = bytes(range(256)) * 100


class SmallInception(nn.Module):
    """2,048 numbers of each image, at random places of it."""

    def forward(self, x):
        at = torch.randperm(x[0].numel(), generator=torch.Generator().manual_seed(0))[:2048]
        return [x.flatten(1)[:, at, None, None]]


@pytest.fixture
def loaded(monkeypatch, judge_folder):
    """The files that were read as Inception's weights."""
    monkeypatch.setattr(readers, "resource", lambda kind, name: judge_folder)
    read = []
    monkeypatch.setattr(features, "inception", lambda path: read.append(path) or SmallInception())
    return read


@pytest.fixture
def server(file_server, monkeypatch):
    """Has the weights at the second of two addresses."""
    file_server.answers["/torch-fidelity"] = CONTENT
    addresses = tuple(file_server.url(path) for path in ("/pytorch-fid", "/torch-fidelity"))
    monkeypatch.setattr(inception_weights, "ADDRESSES", addresses)
    return file_server


@pytest.fixture
def cache(tmp_path, monkeypatch, loaded):
    """Torch's hub cache, which is not there yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("V2F_INCEPTION", raising=False)
    monkeypatch.setattr(inception_weights, "DIGEST", hashlib.sha256(CONTENT).hexdigest()[:8])
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def evaluate(cli, model_folder):
    def call(*arguments):
        return cli("evaluate", "--data", "synthetic:20", "--checkpoint", model_folder, "--json", *arguments)

    return call


def test_fid_by_name_downloads_them_once(evaluate, server, cache, loaded):
    result = evaluate("--metric", "fid")
    assert result.code == 0, result.stderr
    path = cache / inception_weights.NAMES[0]
    assert path.read_bytes() == CONTENT and list(cache.iterdir()) == [path] and set(loaded) == {path}
    assert server.asked == ["/pytorch-fid", "/torch-fidelity"]
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("Downloading")]
    assert server.host in said and "0.0 MB" in said and str(cache) in said
    figures = json.loads(result.stdout)["fid"]
    assert {"fid", "floor"} <= set(figures) and figures["fid"]["value"] > 0
    # Few images for 2,048 features.
    assert "biased upwards" in figures["fid"]["protocol"]
    assert "are fewer than the 2048 that its 2048 features need; it is biased upwards" in result.stderr
    again = evaluate("--metric", "fid", "--metric", "prdc")
    assert again.code == 0 and len(server.asked) == 2 and "Downloading" not in again.stderr
    told = json.loads(again.stdout)
    assert told["fid"] == figures and "precision" in told["prdc"]


@pytest.mark.parametrize(
    ("arguments", "downloads"),
    [
        (["--metric", "kid"], True),
        (["--metric", "l1", "--metric", "kid"], True),
        (["--feature", "inception", "--metric", "prdc"], True),
        (["--metric", "prdc"], False),
        (["--metric", "l1"], False),
        (["--metric", "l1", "--feature", "inception"], False),
        (["--metric", "fid", "--feature", "trunk"], False),
    ],
)
def test_who_downloads(evaluate, server, cache, arguments, downloads):
    result = evaluate(*arguments)
    assert result.code == 0, result.stderr
    assert bool(server.asked) == cache.exists() == downloads


def test_all_never_downloads(evaluate, server, cache, monkeypatch):
    """Nor does --metric all beside a name."""
    from voice2face_gan.cli.commands import evaluate as module

    monkeypatch.setattr(module, "METRIC_NAMES", ("fid", "kid", "l1"))
    for arguments in ([], ["--metric", "all"], ["--metric", "fid", "--metric", "all"]):
        result = evaluate(*arguments)
        assert result.code == 0 and "fid_trunk" in json.loads(result.stdout)["fid"]
        assert result.stderr.count("not on this machine): its figures end in _trunk") == 1
    assert not server.asked and not cache.exists()


def stand_in(result) -> str:
    """The one line that says why a stand-in takes the place of Inception."""
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)["fid"]
    assert "fid_trunk" in told and "fid" not in told
    (line,) = [line for line in result.stderr.splitlines() if "place of Inception" in line]
    assert "Traceback" not in result.stderr and inception_weights.NAMES[0] in line
    return line


def test_without_them_a_stand_in_says_why(evaluate, server, cache, monkeypatch):
    server.answers["/torch-fidelity"] = b"another file"
    line = stand_in(evaluate("--metric", "fid"))
    assert "answers 404" in line and "sent another file (12 bytes" in line and "https_proxy" in line
    assert not list(cache.iterdir())
    monkeypatch.setattr(inception_weights, "ADDRESSES", ("http://127.0.0.1:1/w",))
    assert "127.0.0.1:1 cannot be reached: Connection refused" in stand_in(evaluate("--metric", "fid"))
    for name in ("HF_HUB_OFFLINE", "V2F_OFFLINE"):
        monkeypatch.setenv(name, "1")
        assert f"could not be downloaded: {name} is set)" in stand_in(evaluate("--metric", "fid"))


def test_who_insists_gets_an_error(evaluate, server, cache, monkeypatch):
    monkeypatch.setenv("V2F_OFFLINE", "1")
    result = evaluate("--metric", "fid", "--feature", "inception")
    assert result.code == 2 and result.stdout == "" and not server.asked
    assert "Error: Inception is needed, but its weights could not be downloaded: V2F_OFFLINE" in result.stderr


def test_a_damaged_file_is_named_and_left(evaluate, server, cache, loaded):
    cache.mkdir(parents=True)
    path = cache / inception_weights.NAMES[1]
    path.write_bytes(CONTENT[:-1])
    result = evaluate("--metric", "fid")
    assert result.code == 2 and result.stdout == "" and not server.asked and not loaded
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert str(path) in line and "25,599 bytes" in line and line.endswith("so delete it.")
    assert path.read_bytes() == CONTENT[:-1]
    path.unlink()
    assert evaluate("--metric", "fid").code == 0


def test_a_full_disk_is_an_error(evaluate, server, cache, full_disk):
    with full_disk(10_000):
        result = evaluate("--metric", "fid")
    assert result.code == 2 and "cannot be written (File too large)" in result.stderr
    assert not list(cache.iterdir())


def test_the_environment_names_them(evaluate, server, cache, loaded, tmp_path, monkeypatch):
    own = tmp_path / "own.pth"
    own.write_bytes(CONTENT)
    monkeypatch.setenv("V2F_INCEPTION", str(own))
    assert evaluate("--metric", "fid").code == 0
    assert not server.asked and set(loaded) == {own}


def test_a_report_does_the_same(cli, run_copy, server, cache, monkeypatch):
    from voice2face_gan.evaluation.report import plots

    monkeypatch.setattr(plots, "available", lambda: False)  # drawing takes seconds

    def report(*arguments):
        return cli("report", run_copy, "--json", "--force", "--fresh", "--people", 1, *arguments)

    assert report("--metric", "l1,prdc").code == 0 and not server.asked
    monkeypatch.setenv("V2F_OFFLINE", "1")
    result = report("--metric", "fid,l1")
    assert result.stderr.count("A stand-in takes the place of Inception (its weights could not be down") == 1
    assert "could not be downloaded: V2F_OFFLINE is set" in (cli.here / "report.html").read_text()
    assert report("--metric", "fid", "--feature", "inception").code == 2
    monkeypatch.delenv("V2F_OFFLINE")
    result = report("--metric", "fid,l1")
    assert result.code == 0 and len(server.asked) == 2 and "could not" not in result.stderr
    lines = (run_copy / "evaluation.jsonl").read_text().splitlines()
    assert "fid_trunk" in lines[-2] and '"fid": {"value"' in lines[-1]
    assert [json.loads(line)["options"]["inception"] for line in lines[-2:]] == [False, True]


def test_progress_is_drawn_on_a_terminal(monkeypatch):
    """The size and the bar, of a size that is known and of one that is not."""
    import io

    from rich.console import Console

    from voice2face_gan.cli import _console, _reader_options

    text = io.StringIO()
    terminal = Console(file=text, force_terminal=True, width=100)
    monkeypatch.setattr(_console, "console", lambda: terminal)
    with _reader_options._download_bar() as (begin, progress):
        begin("a host", 95_600_000)
        progress(47_800_000)
    assert "47.8/95.6 MB" in text.getvalue()
    with _reader_options._download_bar() as (begin, progress):
        begin("a host", None)
        progress(1000)
    assert "1.0/?" in text.getvalue()


def test_help_says_it(cli):
    for command in ("evaluate", "report"):
        text = " ".join(cli(command, "--help").stdout.split())
        assert (
            "--metric fid, --metric kid and --feature inception download the weights once, about 96 MB"
            in text
        )
        assert "V2F_OFFLINE=1" in text and "V2F_INCEPTION" in text
