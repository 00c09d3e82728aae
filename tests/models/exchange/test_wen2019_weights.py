"""Weights of Wen et al.'s layout become a checkpoint that does what a plain PyTorch net of them does."""

import hashlib
import io
import os
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.models.exchange.wen2019_weights import convert_wen

VOICE, FACES, SIZE = (6, 8, 10, 12), (16, 14, 12, 10, 8), 16


class Net(nn.Module):
    """Gives tensors the names they have in the released files, model.0.weight, ..."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


def liven(net: Net) -> Net:
    """Random BatchNorm statistics, as training leaves them."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, 0.2)
            nn.init.normal_(layer.bias, 0, 0.2)
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
            layer.num_batches_tracked += 5
    return net.eval()


def voice_net(norm_last: bool = False, size: int = SIZE, widths=VOICE) -> Net:
    layers, width = [], 64
    for out in widths:
        layers += [nn.Conv1d(width, out, 3, 2, 1, bias=False), nn.BatchNorm1d(out), nn.ReLU()]
        width = out
    last = nn.Conv1d(width, size, 3, 2, 1, bias=not norm_last)
    return liven(Net(*layers, last, *([nn.BatchNorm1d(size), nn.ReLU()] if norm_last else [])))


def face_net(kernel: int = 4, norm: bool = False, tanh: bool = False, widths=FACES) -> Net:
    layers, width = [], SIZE
    for i, out in enumerate(widths):
        how = {"kernel_size": 4} if i == 0 else {"kernel_size": kernel, "stride": 2, "padding": 1}
        if i and kernel == 3:
            how["output_padding"] = 1
        layers += [nn.ConvTranspose2d(width, out, **how), *([nn.BatchNorm2d(out)] if norm else []), nn.ReLU()]
        width = out
    return liven(Net(*layers, nn.ConvTranspose2d(width, 3, 1), *([nn.Tanh()] if tanh else [])))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(4)


@pytest.fixture
def pair(tmp_path):
    """Function (voice, faces) -> two files; each a net or what is saved in its place."""

    def write(voice=None, faces=None, **how):
        files = tmp_path / "voice_embedding.pth", tmp_path / "generator.pth"
        for file, what, net in zip(files, (voice, faces), (voice_net, face_net), strict=True):
            what = net() if what is None else what
            torch.save(what.state_dict() if isinstance(what, nn.Module) else what, file, **how)
        return files

    return write


@torch.no_grad()
def same(checkpoint, voice: Net, faces: Net, normalise: bool = True) -> None:
    """The checkpoint's nets give what the plain ones give."""
    for batch, frames in ((3, 100), (1, 333)):
        mel = torch.randn(batch, 64, frames)
        e = voice(mel).mean(dim=2)
        assert e.std() > 1e-3
        torch.testing.assert_close(checkpoint.encoder(mel), e, rtol=1e-4, atol=1e-5)
        e = F.normalize(e) if normalise else e
        wanted = faces(e[:, :, None, None])
        assert wanted.std() > 1e-3 and wanted.shape == (batch, 3, 64, 64)
        torch.testing.assert_close(checkpoint.generator(e), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("norm_last", [False, True])
def test_every_variant_is_told_by_its_shapes(pair, tmp_path, kernel, norm, norm_last):
    voice, faces = voice_net(norm_last), face_net(kernel, norm, tanh=norm)
    folder = convert_wen(*pair(voice, faces)).save(tmp_path / "ckpt")
    loaded = load_checkpoint(folder)
    same(loaded, voice, faces)
    encoder, generator, controls = loaded.encoder_config, loaded.generator_config, loaded.controls
    assert (generator.kernel, generator.norm, encoder.norm_last) == (
        kernel, "batch" if norm else "none", norm_last,
    )  # fmt: skip
    assert (encoder.channels, generator.channels) == (VOICE, FACES)
    assert encoder.embedding == generator.embedding == SIZE
    assert generator.output == ("tanh" if norm else "linear")
    assert controls.normalise_embedding and controls.embedding_noise_std == 0.05


def test_what_the_tensors_do_not_show_can_be_told(pair):
    voice, faces = voice_net(), face_net(tanh=True)
    checkpoint = convert_wen(*pair(voice, faces), tanh=True, normalise=False)
    same(checkpoint, voice, faces, normalise=False)
    assert checkpoint.controls == Controls(normalise_embedding=False, embedding_noise_std=0.0)
    same(convert_wen(*pair(voice, plain := face_net(norm=True)), tanh=False), voice, plain)


def test_other_depths_and_released_sizes(pair):
    voice = voice_net(widths=(256, 384, 576, 864), size=SIZE)
    checkpoint = convert_wen(*pair(voice, face_net()))
    assert checkpoint.encoder_config.channels == (256, 384, 576, 864)
    shallow = voice_net(widths=(8, 8))
    same(convert_wen(*pair(shallow, faces := face_net())), shallow, faces)


def prefixed(state):
    return OrderedDict((f"module.{k}", v) for k, v in state.items())


def renamed(state):
    """Other names in the same order: model.0.weight -> layer_a.weight."""
    stems = list(dict.fromkeys(k.rpartition(".")[0] for k in state))
    letter = {stem: f"layer_{chr(122 - i)}" for i, stem in enumerate(stems)}
    return {letter[k.rpartition(".")[0]] + "." + k.rpartition(".")[2]: v for k, v in state.items()}


FORMS = {
    "DataParallel": prefixed,
    "in net": lambda state: {"net": prefixed(state), "epoch": 3},
    "in state_dict": lambda s: {
        "state_dict": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}, "it": 7,
    },
    "under another name, once": lambda state: {"generator_ema": dict(state)},
    "twice": lambda state: {"model": {"net": state}},
    "sorted by name": lambda state: dict(sorted(state.items())),
    "named otherwise": renamed,
    "before 0.4.1": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    "parameters": lambda s: {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()},
    "double": lambda state: {k: v.double() if v.is_floating_point() else v for k, v in state.items()},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_file(pair, form):
    voice, faces = voice_net(), face_net(norm=True, tanh=True)
    states = [FORMS[form](net.state_dict()) for net in (voice, faces)]
    same(convert_wen(*pair(*states)), voice, faces)


def test_files_of_old_pytorch(pair):
    voice, faces = voice_net(), face_net()
    same(convert_wen(*pair(voice, faces, _use_new_zipfile_serialization=False)), voice, faces)


def test_it_says_where_it_came_from(pair):
    files = pair()
    checkpoint = convert_wen(*files)
    source = checkpoint.info["converted_from"]
    for role, file in zip(("voice_encoder", "generator"), files, strict=True):
        assert source[role] == {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert checkpoint.info["recognised"] == {
        "voice_encoder": "64 -> 6 -> 8 -> 10 -> 12 -> 16, last one plain",
        "generator": "16 -> 16 -> 14 -> 12 -> 10 -> 8 -> 3, kernels 4 x 4, no norm, linear output, "
        "takes e / |e|",
    }
    assert checkpoint.vad["padding_ms"] == 50 and checkpoint.vad["target_level_db"] is None
    assert checkpoint.features["n_mels"] == 64


# Refused


def refused(files, *words: str) -> str:
    with pytest.raises(CheckpointError) as error:
        convert_wen(*files)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    for word in words:
        assert word in text, text
    return text


def test_the_wrong_way_round(pair):
    voice, faces = pair()
    refused((faces, voice), f"{faces} holds a generator and {voice} a voice encoder", "encoder first")
    refused((voice, voice), f"{voice}: the tensor 'model.0.weight' (6, 64, 3)", "generator")
    refused((faces, faces), f"{faces}: the tensor 'model.0.weight' (16, 16, 4, 4)", "voice encoder")


def changed(net: Net, **entries) -> dict:
    """A net's state dict with some of its tensors replaced; None takes one out."""
    state = net.state_dict() | {k.replace("__", "."): v for k, v in entries.items()}
    return {k: v for k, v in state.items() if v is not None}


ODD = torch.ones
VOICES = {
    "kernel 5": ({"model__3__weight": ODD(8, 6, 5)}, "'model.3.weight' (8, 6, 5)", "(channels, 6, 3)"),
    "40 mels": ({"model__0__weight": ODD(6, 40, 3)}, "'model.0.weight' (6, 40, 3)", "(channels, 64, 3)"),
    "a bias": ({"model__0__bias": ODD(6)}, "'model.0.bias' (6,)", "without bias"),
    "short norm": ({"model__4__running_var": ODD(7)}, "'model.4.running_var' (7,)", "BatchNorm of 8"),
    "no last bias": ({"model__12__bias": None}, "'model.12.weight'", "no 'bias' beside it"),
    "a count": ({"model__1__num_batches_tracked": ODD(9)}, "'model.1.num_batches_tracked' (9,)"),
    "whole numbers": ({"model__3__weight": ODD(8, 6, 3).long()}, "'model.3.weight'"),
    "more": ({"model__13__weight": ODD(3, 16), "model__13__bias": ODD(3)}, "'model.13.weight' (3, 16)"),
    "a norm more": ({f"model__13__{k}": ODD(9) for k in ("weight", "bias", "running_mean", "running_var")},
                    "'model.13.weight' (9,)", "no layer comes after"),
    "not finite": ({"model__6__weight": ODD(10, 8, 3) / 0}, "'model.6.weight'", "not finite"),
    "unknown": ({"model__3__weight_g": ODD(8, 1, 1)}, "'model.3.weight_g'"),
    "no tensor": ({"model__3__scale": 2.0}, "'model.3.scale' is no plain tensor"),
    "blown up": ({"model__3__weight": ODD(1, 1, 1).expand(2**30, 6, 2**10)}, "'model.3.weight' is no plain"),
}  # fmt: skip


@pytest.mark.parametrize("case", VOICES)
def test_the_first_tensor_that_does_not_fit_a_voice_encoder_is_named(pair, case):
    entries, *words = VOICES[case]
    files = pair(voice=changed(voice_net(), **entries))
    refused(files, str(files[0]), *words)


GENERATORS = {
    "kernel 5": ({"model__2__weight": ODD(16, 14, 5, 5)}, "'model.2.weight'", "4, 4 or 3, 3"),
    "kernels mixed": ({"model__4__weight": ODD(14, 12, 3, 3)}, "'model.4.weight'", "(14, channels, 4, 4)"),
    "start of 3": ({"model__0__weight": ODD(16, 16, 3, 3)}, "'model.0.weight'", "(16, channels, 4, 4)"),
    "embedding": ({"model__0__weight": ODD(20, 16, 4, 4)}, "'model.0.weight' (20, 16, 4, 4)"),
    "grey": (
        {"model__10__weight": ODD(8, 1, 1, 1), "model__10__bias": ODD(1)},
        "'model.10.weight'",
        "(8, 3, 1",
    ),
    "bias": ({"model__6__bias": ODD(9)}, "'model.6.bias' (9,)"),
    "no bias": ({"model__6__bias": None}, "'model.6.weight'", "no 'bias'"),
    "missing": ({"model__10__weight": None, "model__10__bias": None}, "ends before", "(8, 3, 1, 1)"),
    "more": ({"model__12__weight": ODD(3)}, "'model.12.weight' (3,)", "no layer comes after"),
}


@pytest.mark.parametrize("case", GENERATORS)
def test_the_first_tensor_that_does_not_fit_a_generator_is_named(pair, case):
    entries, *words = GENERATORS[case]
    files = pair(faces=changed(face_net(), **entries))
    refused(files, str(files[1]), *words)


def test_one_norm_of_five_is_missing(pair):
    state = {k: v for k, v in face_net(norm=True).state_dict().items() if not k.startswith("model.4.")}
    refused(pair(faces=state), "'model.6.weight'", "BatchNorm of 14")


@pytest.mark.parametrize("old", [False, True])
def test_files_cut_short(pair, old):
    for which in (0, 1):
        files = pair(_use_new_zipfile_serialization=not old)
        content = files[which].read_bytes()
        for kept in (0, 7, 100, len(content) // 2, len(content) - 1):
            files[which].write_bytes(content[:kept])
            refused(files, str(files[which]), "cannot be read", "damaged")


@pytest.mark.parametrize("content", [b"hello\n" * 50, b"{}", b"\x80\x02N.", b"\x00" * 999])
def test_files_that_are_something_else(pair, content):
    files = pair()
    files[0].write_bytes(content)
    text = refused(files, str(files[0]))
    assert "weights_only" not in text


@pytest.mark.parametrize("what", [{}, [1, 2], {"net": {}}, {"epoch": 3}, torch.ones(3), None, 7])
def test_files_without_a_net(tmp_path, pair, what):
    files = pair()
    torch.save(what, files[0])
    refused(files, f"{files[0]} holds no state dict")


def test_a_missing_file(pair, tmp_path):
    voice, _ = pair()
    refused((voice, tmp_path / "none.pth"), "none.pth cannot be read (No such file or directory)")
    refused((tmp_path, voice), "cannot be read (Is a directory)")


class Bomb:
    """Its pickle makes a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("old", [False, True])
def test_code_is_not_run(pair, tmp_path, old):
    fired = tmp_path / "fired"
    for state in ({"bomb": Bomb(fired)}, {**voice_net().state_dict(), "epoch": Bomb(fired)}, Bomb(fired)):
        files = pair(voice=state, _use_new_zipfile_serialization=not old)
        refused(files, f"{files[0]} holds more than tensors (posix.mkdir)", "was not opened", "state_dict()")
    assert not fired.exists()
    torch.load(io.BytesIO(files[0].read_bytes()), weights_only=False)
    assert fired.exists()  # the bomb works


def test_a_whole_pickled_net_is_refused(pair, tmp_path):
    files = pair()
    torch.save(nn.Sequential(nn.Conv1d(2, 2, 3)), files[0])
    refused(files, "more than tensors (torch.nn.modules.container.Sequential)")
