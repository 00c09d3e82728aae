"""`v2f-gan convert wen`: from two files to an image."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from voice2face_gan.audio.vad import VadSettings
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.face_readers.vggface import VggFace, VggFaceReader

FILES = "voice_embedding.pth", "generator.pth"


class Net(nn.Module):
    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.model = nn.Sequential(*layers)


@pytest.fixture
def nets(cli):
    """A voice encoder and a generator in plain PyTorch; their files lie in the current folder."""
    torch.manual_seed(8)
    layers, width = [], 64
    for out in (8, 8, 12, 12):
        layers += [nn.Conv1d(width, out, 3, 2, 1, bias=False), nn.BatchNorm1d(out), nn.ReLU()]
        width = out
    voice = Net(*layers, nn.Conv1d(width, 24, 3, 2, 1)).eval()
    layers, width = [nn.ConvTranspose2d(24, 16, 4), nn.ReLU()], 16
    for out in (16, 12, 12, 8):
        layers += [nn.ConvTranspose2d(width, out, 4, 2, 1), nn.ReLU()]
        width = out
    faces = Net(*layers, nn.ConvTranspose2d(width, 3, 1)).eval()
    for layer in faces.model:
        if isinstance(layer, nn.ConvTranspose2d):  # so that faces fill their range
            nn.init.normal_(layer.weight, std=(2 / (layer.in_channels * 4)) ** 0.5)
    for name, net in zip(FILES, (voice, faces), strict=True):
        torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, cli.here / name)
    return voice.model, faces.model


@torch.no_grad()
def test_a_converted_pair_generates_what_the_plain_nets_do(cli, nets, clips):
    done = cli("convert", "wen", *FILES, "-o", "wen", "--json")
    assert done.code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["checkpoint"] == "wen" and said["encoder"]["embedding"] == 24
    assert len(said["converted_from"]["generator"]["sha256"]) == 64
    assert "64 -> 8 -> 8 -> 12 -> 12 -> 24" in done.stderr and "4 x 4, no norm, linear" in done.stderr
    assert "licence" in done.stderr

    done = cli("generate", clips[1], "--checkpoint", "wen", "-o", "face.png")
    assert done.code == 0, done.stderr
    voice, faces = nets
    mel = voice_features(clips[1], vad=VadSettings(padding_ms=50)).encoder_input  # as the released code
    e = nn.functional.normalize(voice(mel[None]).mean(dim=2))
    wanted = (faces(e[:, :, None, None])[0].permute(1, 2, 0) * 127.5 + 127.5).clamp(0, 255).numpy()
    assert wanted.std() > 5
    with Image.open(cli.here / "face.png") as image:
        assert np.abs(np.asarray(image).astype(float) - wanted).max() < 0.51


def one_sentence(cli, *arguments) -> str:
    done = cli("convert", "wen", *arguments)
    assert done.code == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and line.endswith(".")
    return line


def left(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_mistakes_end_in_a_sentence_and_write_nothing(cli, nets):
    voice, generator = FILES
    assert "give the voice encoder first" in one_sentence(cli, generator, voice, "-o", "wen")
    assert "nowhere.pth cannot be read" in one_sentence(cli, "nowhere.pth", generator, "-o", "wen")
    content = (cli.here / generator).read_bytes()
    (cli.here / generator).write_bytes(content[: len(content) // 2])
    assert "generator.pth cannot be read as PyTorch weights" in one_sentence(cli, *FILES, "-o", "wen")
    torch.save({"x": Bomb(cli.here / "fired")}, cli.here / generator)
    assert "could run code" in one_sentence(cli, *FILES, "-o", "wen")
    assert left(cli.here) == sorted(FILES)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_what_exists_is_kept(cli, nets):
    assert cli("convert", "wen", *FILES, "-o", "wen").code == 0
    assert "add --force" in one_sentence(cli, *FILES, "-o", "wen")
    assert cli("convert", "wen", *FILES, "-o", "wen", "--force", "--tanh", "--raw").code == 0
    made = load_checkpoint(cli.here / "wen")
    assert made.generator_config.output == "tanh" and not made.controls.normalise_embedding
    # --force is for checkpoints: a folder of something else, or a file, is nobody's to remove.
    (cli.here / "photos").mkdir()
    (cli.here / "photos" / "a.png").write_bytes(b"")
    (cli.here / "notes").write_text("x")
    for name in ("photos", "notes"):
        assert "holds no config.json" in one_sentence(cli, *FILES, "-o", name, "--force")
    assert (cli.here / "photos" / "a.png").exists() and (cli.here / "notes").read_text() == "x"
    assert left(cli.here) == sorted([*FILES, "notes", "photos", "wen"])


def test_vggface_becomes_a_reader(cli):
    net = VggFace((2, 2, 2, 2, 2), 8, 5)
    torch.save(net.state_dict(), cli.here / "vgg_face_dag.pth")
    done = cli("convert", "vggface", "vgg_face_dag.pth", "-o", "vggface", "--json")
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["reader"], told["preset"], told["size"], told["classes"]) == ("vggface", "matconvnet", 8, 5)
    assert told["converted_from"]["file"] == "vgg_face_dag.pth" and "licence" in done.stderr
    faces = torch.rand(1, 3, 64, 64)
    reader = VggFaceReader.load(cli.here / "vggface")
    assert torch.equal(reader(faces).feature, VggFaceReader(net, "matconvnet")(faces).feature)

    again = cli("convert", "vggface", "vgg_face_dag.pth", "-o", "vggface", "--preset", "rgb-unit")
    assert again.code == 2 and "--force" in again.stderr
    again = cli("convert", "vggface", "vgg_face_dag.pth", "-o", "vggface", "--preset", "rgb-unit", "--force")
    assert again.code == 0 and VggFaceReader.load(cli.here / "vggface").preset == "rgb-unit"


@pytest.mark.parametrize("content", [b"", b"no weights at all", None])
def test_what_is_no_vggface_is_one_sentence_and_leaves_nothing(cli, content):
    if content is None:
        torch.save({"conv1_1.weight": torch.zeros(2, 3, 3, 3)}, cli.here / "other.pth")
    else:
        (cli.here / "other.pth").write_bytes(content)
    done = cli("convert", "vggface", "other.pth", "-o", "vggface")
    assert done.code == 2 and done.stderr.count("\n") == 1 and "other.pth" in done.stderr
    assert not (cli.here / "vggface").exists()
