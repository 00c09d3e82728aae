"""ONNX graphs give what PyTorch gives, for any batch and length; one that does not is not written."""

import json
import sys

import pytest
import torch

from voice2face_gan.device import full_precision
from voice2face_gan.errors import OutputError
from voice2face_gan.models import registry
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.conditioning import Controls, condition
from voice2face_gan.models.encoders.conv import ConvEncoderConfig
from voice2face_gan.models.encoders.lstm import LstmEncoderConfig
from voice2face_gan.models.exchange import onnx as module
from voice2face_gan.models.exchange.onnx import (
    LIMIT,
    METADATA,
    Graph,
    export_onnx,
    graphs_of,
    largest_difference,
    to_onnx,
)
from voice2face_gan.models.generators.ears import Ears
from voice2face_gan.models.generators.r3gan import R3GANGeneratorConfig
from voice2face_gan.models.generators.wen2019 import Wen2019GeneratorConfig
from voice2face_gan.pipeline import VoiceToFace

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CONV = ConvEncoderConfig(channels=(8, 10), embedding=12)
WEN = {"channels": (12, 10, 8, 8, 6), "embedding": 12}
R3GAN = {"width": 4, "embedding": 12}
MODELS = {
    "paper": (
        ConvEncoderConfig(channels=(8, 10), embedding=12, norm_last=True),
        Wen2019GeneratorConfig(**WEN, kernel=3),
        Controls(normalise_embedding=False, embedding_noise_std=0.0),
    ),
    "poster": (CONV, Wen2019GeneratorConfig(**WEN, norm="batch", output="tanh"), Controls()),
    "r3gan": (CONV, R3GANGeneratorConfig(**R3GAN, z_dim=5), Controls()),
    "r3gan-128": (CONV, R3GANGeneratorConfig(**R3GAN, z_dim=0, side=128, film=False), Controls()),
    "r3gan-recurrent": (
        LstmEncoderConfig(channels=(6, 8, 8, 7), embedding=12),
        R3GANGeneratorConfig(**R3GAN, z_dim=0),
        Controls(),
    ),
}
SLOW = ("paper", "r3gan-128")  # exporting takes ten seconds each
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS]
PROBED = ("paper", "r3gan", "r3gan-recurrent")


def checkpoint_of(name: str) -> Checkpoint:
    """A net of random weights whose layers all count."""
    torch.manual_seed(5)
    first, second, controls = MODELS[name]
    encoder, generator = registry.build_encoder(first), registry.build_generator(second)
    with torch.no_grad():
        encoder(torch.randn(8, 64, 50))  # running statistics that are not those of a new net
        for tensor in generator.parameters():  # what begins at zero counts too; signals keep their size
            fan = max(tensor[0].numel(), 1) if tensor.dim() > 1 else 25
            tensor.add_(torch.randn(tensor.shape) * 0.5 / fan**0.5)
        generator(torch.randn(8, 12))
    for net in (encoder, generator):
        net.eval().requires_grad_(False)
    info = {"gender": "female", "iteration": 7}
    gender_probe, size = torch.randn(13), encoder.features(torch.zeros(1, 64, 50)).shape[1]
    own = torch.Generator().manual_seed(5)
    probes = {k: torch.randn(size + 1, generator=own) for k in ("child", "speech")} if name in PROBED else {}
    if encoder.has_agreement:
        probes["several"] = torch.tensor([-4.0, 3.0])
    return Checkpoint(first, encoder, second, generator, controls, gender_probe, info=info, probes=probes)


@pytest.fixture(autouse=True)
def exactly():
    """The graphs are compared with the nets in full precision."""
    with full_precision():
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Function (name) -> (checkpoint, folder, config); each is written once."""
    done = {}

    def export(name: str):
        if name not in done:
            checkpoint, folder = checkpoint_of(name), tmp_path_factory.mktemp("onnx") / name
            done[name] = checkpoint, folder, export_onnx(checkpoint, folder)
        return done[name]

    return export


def run(path, output, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (result,) = session.run([output], {k: v.numpy() for k, v in inputs.items()})
    return torch.from_numpy(result)


@pytest.mark.parametrize("name", EACH)
def test_both_graphs_give_what_the_pipeline_gives(exported, name):
    checkpoint, folder, config = exported(name)
    model = VoiceToFace(checkpoint, name)
    for batch, frames in ((1, 1), (1, 61), (4, 40)):
        mel = torch.randn(batch, 64, frames)
        e = run(folder / "encoder.onnx", "e", log_mel=mel)
        wanted = torch.stack([model.generator_input(row) for row in mel])
        assert wanted.shape == (batch, 12) and wanted.std() > 1e-2
        torch.testing.assert_close(e, wanted, rtol=1e-3, atol=1e-5)
        z = model.noise(batch, seed=3)
        noise = {} if z is None else {"z": z}
        with torch.inference_mode():
            faces = checkpoint.generator(wanted, *noise.values())
        assert faces.std() > 1e-2
        torch.testing.assert_close(
            run(folder / "generator.onnx", "face", e=wanted, **noise), faces, rtol=1e-3, atol=1e-4
        )
    for graph in config["graphs"].values():
        assert graph["max_abs_difference"] < 1e-4


@pytest.mark.parametrize("name", EACH)
def test_what_the_pipeline_warns_by_is_told_too(exported, name):
    checkpoint, folder, config = exported(name)
    model, names = VoiceToFace(checkpoint, name), ["speech", "child"] if name in PROBED else []
    names += ["several"] if "several" in checkpoint.probes else []
    assert list(config["graphs"]["encoder.onnx"]["outputs"]) == ["e", *names]
    for batch, frames in ((1, 1), (4, 40), (2, 500)) if names else ():
        mel = 2 * torch.randn(batch, 64, frames) - 3
        wanted = [model.encode(row)[1] for row in mel]
        for told in names:
            probability = run(folder / "encoder.onnx", told, log_mel=mel)
            assert probability.shape == (batch,)
            assert probability.tolist() == pytest.approx([x[told] for x in wanted], abs=1e-5)
    assert ("not normalised" in config["graphs"]["encoder.onnx"]["inputs"]["log_mel"]["is"]) is (
        name == "r3gan-recurrent"
    )


def test_the_config_says_how_to_use_them(exported):
    checkpoint, folder, config = exported("r3gan")
    assert json.loads((folder / "config.json").read_text()) == config
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "encoder.onnx", "generator.onnx"]
    for file, graph in config["graphs"].items():
        proto = onnx.load(folder / file)
        assert {o.version for o in proto.opset_import if not o.domain} == {18} == {config["opset"]}
        for part, values in (("inputs", proto.graph.input), ("outputs", proto.graph.output)):
            shapes = {
                v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values
            }
            assert shapes == {name: what["shape"] for name, what in graph[part].items()}
    assert list(config["graphs"]["generator.onnx"]["inputs"]) == ["e", "z"]
    assert config["features"] == checkpoint.features and checkpoint.tables().items() <= config.items()
    assert config["checkpoint"]["gender"] == "female" and config["normalise_embedding"] is True
    e, probe = torch.randn(12), config["gender_probe"]
    female = torch.sigmoid(e @ torch.tensor(probe["weights"]) + probe["bias"])
    assert float(female) == pytest.approx(VoiceToFace(checkpoint, "x").female(e), abs=1e-6)


def test_no_paths_of_this_machine_are_in_it(exported):
    _, folder, _ = exported("r3gan")
    for file in folder.glob("*.onnx"):
        content = file.read_bytes()
        assert b".py" not in content and b"site-packages" not in content


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    checkpoint, file = checkpoint_of("r3gan"), tmp_path_factory.mktemp("single") / "new" / "v2f.onnx"
    return checkpoint, file, export_onnx(checkpoint, file, opset=20)


@torch.inference_mode()
def test_one_file_from_log_mel_to_face(single):
    checkpoint, file, config = single
    assert [p.name for p in file.parent.iterdir()] == ["v2f.onnx"]
    for batch, frames in ((1, 40), (3, 77)):
        mel, z = torch.randn(batch, 64, frames), torch.randn(batch, 5)
        wanted = checkpoint.generator(condition(checkpoint.encoder(mel), checkpoint.controls), z)
        torch.testing.assert_close(run(file, "face", log_mel=mel, z=z), wanted, rtol=1e-3, atol=1e-4)
        features = checkpoint.encoder.features(mel)
        for name, probe in checkpoint.probes.items():
            told = torch.sigmoid(features @ probe[:-1] + probe[-1])
            torch.testing.assert_close(run(file, name, log_mel=mel, z=z), told, rtol=1e-4, atol=1e-5)
    proto = onnx.load(file)
    assert {p.key: json.loads(p.value) for p in proto.metadata_props} == {METADATA: config}
    assert [o.version for o in proto.opset_import if not o.domain] == [20]


# Refused


def test_the_difference_is_measured(single):
    """Against a graph of other weights it is what one computes by hand; of other shape, infinite."""
    checkpoint, file, _ = single
    (graph,) = graphs_of(checkpoint, "v2f.onnx")
    content = file.read_bytes()
    assert largest_difference(graph, content) < 1e-4
    layer = checkpoint.generator.to_rgb
    layer.bias.data += 0.25
    assert largest_difference(graph, content) == pytest.approx(0.25, abs=1e-3)
    layer.bias.data -= 0.25
    graph.net.voice.probe_child[-1] += 0.5  # of the last output alone
    assert 1e-3 < largest_difference(graph, content) < 0.2
    layer.bias.data[3] = float("nan")
    assert largest_difference(graph, content) == float("inf")
    other = checkpoint_of("r3gan-128")
    other.generator.z_dim = 0
    net = graphs_of(other, "v2f.onnx")[0].net
    graph = type(graph)(graph.file, lambda mel, z: net(mel), graph.inputs, graph.outputs)
    assert largest_difference(graph, content) == float("inf")


@pytest.mark.parametrize("difference", [2 * LIMIT, float("inf"), float("nan")])
def test_what_differs_is_not_written(tmp_path, exported, monkeypatch, difference):
    checkpoint, folder, _ = exported("r3gan")
    proto = onnx.load(folder / "encoder.onnx")
    monkeypatch.setattr(module, "to_onnx", lambda *_: proto)
    monkeypatch.setattr(module, "largest_difference", lambda *_: difference)
    for name in ("out", "out.onnx"):
        with pytest.raises(OutputError, match="differs from PyTorch's by .*; nothing was written"):
            export_onnx(checkpoint, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_net_that_cannot_be_traced_ends_in_a_sentence(tmp_path):
    checkpoint = checkpoint_of("poster")
    checkpoint.encoder.forward = lambda mel: mel.mean(dim=2) if float(mel.sum()) > 0 else mel[:, :, 0]
    with pytest.raises(
        OutputError, match=r"encoder.onnx cannot be written as ONNX of opset 18 \(.*usual\.$"
    ) as e:
        export_onnx(checkpoint, tmp_path / "out")
    assert "\n" not in str(e.value) and list(tmp_path.iterdir()) == []


def test_an_opset_of_the_future(exported):
    checkpoint, _, _ = exported("r3gan")
    with pytest.raises(OutputError, match="opset 999 is newer than what the onnx package knows"):
        to_onnx(graphs_of(checkpoint)[0], 999)


def test_without_the_packages(tmp_path, exported, monkeypatch):
    checkpoint, folder, _ = exported("r3gan")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert largest_difference(graphs_of(checkpoint)[0], (folder / "encoder.onnx").read_bytes()) is None
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(OutputError, match=r"pip install 'voice2face-gan\[export\]'"):
        export_onnx(checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_encoder_of_the_synthetic_checkpoint_takes_clips_of_any_length():
    """It repeats the last frame of short ones, which a graph cannot do for some lengths alone."""
    graph = next(iter(graphs_of(load_checkpoint("synthetic"))))
    assert largest_difference(graph, to_onnx(graph).SerializeToString()) < LIMIT


class Eared(torch.nn.Module):
    """Ears on images whose landmarks lie at any distance from a place."""

    def __init__(self):
        super().__init__()
        self.ears = Ears(32)
        self.ears.layers.copy_(torch.tensor([0.5, 0.3, 0.2, 1.0])[:, None, None].expand_as(self.ears.layers))
        self.ears.share = lambda patches, colours: torch.ones_like(patches[:, 0, 0, 0])

    def forward(self, images: torch.Tensor, away: torch.Tensor) -> torch.Tensor:
        return self.ears.whole(images, 16 + 4 * away)


def test_ears_of_any_number_of_faces():
    images = {"images": ("batch", 3, 32, 32)}
    graph = Graph("ears.onnx", Eared(), {**images, "away": ("batch", 68, 2)}, {"face": images["images"]})
    first, second = graph.example(batch=3, frames=1)
    assert (graph.net(first, second) - first).abs().max() > 0.1
    assert largest_difference(graph, to_onnx(graph).SerializeToString()) < LIMIT
