"""`v2f-gan export onnx`: what is said and what is left where."""

import json

import pytest
import torch

from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.encoders.conv import ConvEncoder, ConvEncoderConfig
from voice2face_gan.models.generators.wen2019 import Wen2019Generator, Wen2019GeneratorConfig

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ENCODER = ConvEncoderConfig(channels=(8,), embedding=12)
GENERATOR = Wen2019GeneratorConfig(embedding=12, channels=(12, 10, 8, 8, 6))


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(2)
    encoder, generator = ConvEncoder(ENCODER), Wen2019Generator(GENERATOR)
    return Checkpoint(ENCODER, encoder, GENERATOR, generator).save(tmp_path / "model")


def one_sentence(cli, *arguments) -> str:
    done = cli("export", "onnx", *arguments)
    assert done.code == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and line.endswith(".")
    return line


def test_a_folder_of_two_graphs(cli, checkpoint):
    done = cli("export", "onnx", checkpoint, "-o", "web", "--json")
    assert done.code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("output") == "web"
    assert said == json.loads((cli.here / "web" / "config.json").read_text())
    first, second = done.stderr.splitlines()
    assert first.startswith("encoder.onnx: log_mel (batch, 64, frames) -> e (batch, 12); ")
    assert second.startswith("generator.onnx: e (batch, 12) -> face (batch, 3, 64, 64); ")
    assert first.endswith(" from PyTorch at most") and said["compared_with"].startswith("onnxruntime ")
    for file, graph in said["graphs"].items():
        assert 0 <= graph["max_abs_difference"] < 1e-5
        onnxruntime.InferenceSession(str(cli.here / "web" / file), providers=["CPUExecutionProvider"])
    assert "add --force" in one_sentence(cli, checkpoint, "-o", "web")
    assert "holds no encoder.onnx" in one_sentence(cli, checkpoint, "-o", checkpoint, "--force")
    assert "is a folder" in one_sentence(
        cli, checkpoint, "-o", (cli.here / "web").rename("x.onnx"), "--force"
    )


def test_a_file_is_replaced_when_asked(cli, checkpoint, monkeypatch):
    from voice2face_gan.models.exchange import onnx as module

    (cli.here / "v2f.onnx").write_bytes(b"mine")
    assert "add --force" in one_sentence(cli, checkpoint, "-o", "v2f.onnx")
    monkeypatch.setattr(module, "largest_difference", lambda *_: None)  # as without ONNX Runtime
    monkeypatch.setattr(module, "_runtime", lambda: None)
    done = cli("export", "onnx", checkpoint, "-o", "v2f.onnx", "--force")
    assert done.code == 0, done.stderr
    assert "log_mel (batch, 64, frames) -> face (batch, 3, 64, 64); not compared" in done.stderr
    assert "onnxruntime is missing" in done.stderr
    assert onnxruntime.InferenceSession(str(cli.here / "v2f.onnx")).get_inputs()[0].name == "log_mel"


def test_what_has_no_generator_or_is_no_checkpoint(cli, tmp_path):
    folder = Checkpoint(ENCODER, ConvEncoder(ENCODER)).save(tmp_path / "encoder")
    assert "voice encoder alone" in one_sentence(cli, folder, "-o", "web")
    assert "no such checkpoint" in one_sentence(cli, "nowhere", "-o", "web")
    assert cli("export", "onnx", "-o", "web", "--opset", 9).code == 2
    assert list(cli.here.iterdir()) == []
