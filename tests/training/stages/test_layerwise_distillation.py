"""Layer-wise distillation: targets of the teacher's layers, zero loss of an encoder like it, and learning."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from voice2face_gan.audio.log_mel import FeatureSettings, log_mels
from voice2face_gan.errors import DataError
from voice2face_gan.models.encoders import lstm
from voice2face_gan.models.encoders.ge2e import HOP, WINDOW, GE2EEncoder
from voice2face_gan.models.encoders.lstm import PIECE, LstmEncoder, LstmEncoderConfig, without_noise
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.recipe.schema import EncoderRecipe
from voice2face_gan.training.stages import layerwise_distillation as module
from voice2face_gan.training.stages.distilled_layers import (
    WhitenedLinear,
    check_frames,
    fit_bands,
    teacher_states,
)
from voice2face_gan.training.stages.layerwise_distillation import SEGMENT_FRAMES, LayerwiseDistillation

SAMPLES = (PIECE - 1) * HOP + WINDOW
SIZES = (40, 256, 256, 256, 256)


def babble(number: int, batch: int = 3) -> torch.Tensor:
    """Noise of many colours that swells and fades: float32 (batch, SAMPLES)."""
    random = torch.Generator().manual_seed(number)
    spectrum = torch.fft.rfft(torch.randn(batch, SAMPLES, generator=random))
    tilt = torch.rand(batch, 1, generator=random)
    wave = torch.fft.irfft(spectrum * torch.linspace(1, 100, spectrum.shape[1]) ** -tilt, n=SAMPLES)
    swell = torch.sin(torch.linspace(0, 30, SAMPLES) + 6 * torch.rand(batch, 1, generator=random)).abs()
    wave = wave * swell
    return wave / wave.abs().amax(dim=1, keepdim=True) * 10 ** -torch.rand(batch, 1, generator=random)


def plain(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of which pupil and teacher hear the same."""
    return (babble(number),) * 2


@pytest.fixture(scope="module")
def teacher(teacher_file):
    """Of large weights: one of small ones says the same at all times."""
    teacher = GE2EEncoder(teacher_file)
    for name, weight in teacher.lstm.named_parameters():
        weight.mul_(4 if "weight" in name else 1)
    return teacher


@pytest.fixture
def make_distillation(teacher, monkeypatch):
    def make(iterations: int = 40, lr: float = 2e-3, speech=plain) -> LayerwiseDistillation:
        monkeypatch.setattr(module, "PREPARATION_BATCHES", 2)
        monkeypatch.setattr(module, "ECHO_BATCHES", 2)
        torch.manual_seed(1)
        encoder = LstmEncoder(LstmEncoderConfig(channels=SIZES))
        settings = EncoderRecipe(iterations=iterations, lr=lr, betas=(0.9, 0.98))
        return LayerwiseDistillation(encoder, teacher, speech, FeatureSettings(), settings)

    return make


def test_a_whitened_layer_is_a_linear_layer():
    torch.manual_seed(0)
    x = torch.randn(500, 6) @ torch.randn(6, 6) + 3
    layer = WhitenedLinear(6, 4)
    layer.whiten(x, SingleProcess("cpu"))
    weight, bias = torch.randn(4, 6), torch.randn(4)
    layer.set_plain(weight, bias)
    torch.testing.assert_close(layer.plain(), (weight, bias), atol=1e-4, rtol=1e-4)
    white = (x - layer.mean) @ layer.whitening
    torch.testing.assert_close(white.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(white.t() @ white / 500, torch.eye(6), atol=0.02, rtol=0)
    wanted = white @ layer.weight.t() + layer.bias
    torch.testing.assert_close(F.linear(x, *layer.plain()), wanted, atol=1e-5, rtol=1e-4)


def test_bands_are_the_teachers(teacher):
    """Of sounds that nothing was fitted to, and where the sound is soft too."""
    encoder = LstmEncoder(LstmEncoderConfig(channels=SIZES))
    fit_bands(encoder, teacher, torch.cat([babble(n, 8) for n in range(3)]), FeatureSettings())
    assert encoder.bands.weight.min() >= 0
    for loud in (1.0, 0.05):
        speech = loud * babble(9, 8)
        with torch.no_grad():
            ours = encoder.band_power(log_mels(speech, FeatureSettings(), normalised=False))
        theirs = teacher.bands(speech)
        assert ours.shape == theirs.shape == (8, PIECE, 40)
        inner = slice(2, 38)  # the outermost reach beyond our bins
        missed = (ours - theirs)[..., inner].square().sum() / theirs[..., inner].square().sum()
        assert missed < 0.02


def test_the_teachers_bands_are_its_own_but_for_the_place_of_frames(teacher):
    """Frames that are not centred: those of speech that begins half a window later."""
    speech = babble(3, 1)
    centred = teacher.mel(speech * teacher.gain(speech)[:, None])[0].t()
    shifted = F.pad(speech, (WINDOW // 2, 0))[:, : speech.shape[1]]
    gain = teacher.gain(speech) / teacher.gain(shifted)
    ours = teacher.bands(shifted)[0] * gain**2
    torch.testing.assert_close(ours, centred[: len(ours)], atol=1e-6, rtol=1e-3)


def test_a_piece_has_the_same_t_as_the_teachers(teacher, monkeypatch):
    """The layers one by one, and the encoder with the teacher's weights and bands: its t."""
    bands = teacher.bands(babble(5))
    x = bands
    for layer in teacher.layers():
        x, _ = layer(x)
    torch.testing.assert_close(x, teacher.lstm(bands)[0])
    encoder = LstmEncoder(LstmEncoderConfig(channels=SIZES))
    for mine, theirs in zip(encoder.layers, teacher.layers(), strict=True):
        mine.load_state_dict(theirs.state_dict())
    encoder.projection.load_state_dict(teacher.linear.state_dict())
    encoder.band_power = lambda mel: bands
    monkeypatch.setattr(lstm, "_NOISE", 0.0)
    t = encoder.features(torch.zeros(3, 64, PIECE))[:, :256]
    wanted = F.normalize(teacher.linear(teacher.lstm(bands)[0][:, -1]).relu(), dim=1)
    torch.testing.assert_close(t, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frames", SEGMENT_FRAMES)
def test_segments_start_where_the_ones_before_ended(teacher, frames):
    bands, layers = teacher.bands(babble(2)), teacher.layers()
    for i, states in enumerate(teacher_states(layers, bands, frames, "fp32")):
        whole = teacher_states(layers, bands, PIECE, "fp32")[i]
        torch.testing.assert_close(states.h, whole.h)
        runs = PIECE // frames
        assert states.c_after.shape == (3 * runs, 256)
        before = states.h.reshape(3, runs, frames, 256)[:, :-1, -1]
        torch.testing.assert_close(states.h_before.reshape(3, runs, 256)[:, 1:], before)
        ends = states.c_after.reshape(3, runs, 256)
        torch.testing.assert_close(states.c_before.reshape(3, runs, 256)[:, 1:], ends[:, :-1])
        assert not states.h_before.reshape(3, runs, 256)[:, 0].any()
        torch.testing.assert_close(ends[:, -1], whole.c_after)


def copy_teacher(distillation: LayerwiseDistillation, teacher: GE2EEncoder) -> None:
    """Gives the student the teacher's weights."""
    distillation._prepare()
    wanted = [
        (torch.cat([x.weight_ih_l0, x.weight_hh_l0], dim=1), x.bias_ih_l0 + x.bias_hh_l0)
        for x in teacher.layers()
    ]
    wanted.append((teacher.linear.weight, teacher.linear.bias))
    for layer, known in zip(distillation.student.weights, wanted, strict=True):
        layer.set_plain(*known)


@pytest.mark.parametrize("frames", [4, PIECE])
@torch.no_grad()
def test_a_student_with_the_teachers_weights_has_no_loss(make_distillation, teacher, frames):
    distillation = make_distillation()
    copy_teacher(distillation, teacher)
    encoder = distillation.encoder
    bands = teacher.bands(babble(7))
    targets = teacher_states(teacher.layers(), bands, frames, "fp32")
    losses = distillation._separate_losses(bands, targets, frames)
    if frames == PIECE:
        losses |= {f"stacked {k}": v for k, v in distillation._stacked_losses(bands, targets).items()}
    assert max(losses.values()) < 1e-3, losses
    distillation.student.copy_to(encoder)
    torch.testing.assert_close(encoder.projection.weight, teacher.linear.weight, atol=1e-3, rtol=1e-2)
    wrong = distillation._separate_losses(bands.roll(1, dims=0), targets, frames)
    assert wrong["h1_missed"] > 0.01


class Small(GE2EEncoder):
    """A teacher of two layers of twelve."""

    def __init__(self, other: GE2EEncoder):
        nn.Module.__init__(self)
        torch.manual_seed(0)
        self.lstm, self.linear = nn.LSTM(40, 12, 2, batch_first=True), nn.Linear(12, 6)
        for weight in self.parameters():
            weight.data.mul_(3)
        self.mel = other.mel
        self.requires_grad_(False)


def test_it_learns(teacher, monkeypatch):
    """From nothing, in the two parts: what is missed falls in each."""
    monkeypatch.setattr(module, "SEGMENT_FRAMES", (4, 40))
    monkeypatch.setattr(module, "ECHO_BATCHES", 2)
    encoder = LstmEncoder(LstmEncoderConfig(channels=(40, 12, 12, 6)))
    settings = EncoderRecipe(iterations=240, lr=5e-3, betas=(0.9, 0.98))
    distillation = LayerwiseDistillation(encoder, Small(teacher), plain, FeatureSettings(), settings)
    losses = [distillation.step(i) for i in range(240)]
    for name in ("h1_missed", "h2_missed"):
        assert losses[0][name] > 0.4 and losses[143][name] < 0.25 and losses[239][name] < 0.05, name
    assert losses[0]["t_missed"] > 0.8 and losses[239]["t_missed"] < 0.05
    assert "c1_missed" in losses[143] and "c1_missed" not in losses[144], (
        "separate, then on top of each other"
    )
    assert distillation.optimiser.param_groups[0]["lr"] < 1e-4
    given, mine = encoder.layers[0].weight_ih_l0, distillation.student.lstm_weights(0)["weight_ih_l0"]
    assert torch.equal(given, mine)


def test_the_teacher_reads_clean_speech_and_the_student_augmented_speech(make_distillation):
    """So the loss of a student with the teacher's weights is that of the augmentation alone."""
    distillation = make_distillation(speech=lambda n: (babble(n + 100), babble(n)))
    distillation._prepare()
    student, clean = distillation._bands(0)
    assert student.shape == clean.shape == (3, PIECE, 40) and not torch.allclose(student, clean, rtol=0.1)
    same = make_distillation()
    same._prepare()
    student, clean = same._bands(0)
    torch.testing.assert_close(
        student, without_noise(clean)
    )  # from the same speech; the student's noise is subtracted
    mels = log_mels(babble(5), FeatureSettings(), normalised=False)
    pair = make_distillation(speech=lambda n: (babble(5), babble(6)))
    torch.testing.assert_close(pair._log_mels(0)[0], mels)


def test_a_warm_start_begins_with_the_encoders_weights(make_distillation):
    """On top of each other from the first step on, and at first with the same outputs."""
    distillation = make_distillation()
    encoder = distillation.encoder
    before = copy.deepcopy(encoder.state_dict())
    distillation.warm_start()
    distillation._prepare()
    distillation.student.copy_to(encoder)
    assert torch.equal(encoder.bands.weight, before["bands.weight"])
    mine, was = encoder.layers[1], before["layers.1.bias_ih_l0"] + before["layers.1.bias_hh_l0"]
    torch.testing.assert_close(mine.weight_hh_l0, before["layers.1.weight_hh_l0"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mine.bias_ih_l0 + mine.bias_hh_l0, was, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder.projection.weight, before["projection.weight"], atol=1e-5, rtol=1e-4)
    assert "c1_missed" not in distillation.step(0)
    other = make_distillation()
    other.load(distillation.state())
    assert other.separate_iterations == 0 and "c1_missed" not in other.step(1), "and so when it is resumed"


def test_a_resumed_one_goes_on_alike(make_distillation):
    one, other = make_distillation(), make_distillation()
    for i in range(2):
        one.step(i)
    other.load(copy.deepcopy(one.state()))
    other.encoder.load_state_dict(one.encoder.state_dict())
    a, b = one.step(2), other.step(2)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(one.student.weights[1].weight, other.student.weights[1].weight)


def test_other_frames_than_the_teachers_are_refused():
    check_frames(FeatureSettings())
    with pytest.raises(DataError, match="400 samples every 160, those of the log-mels of 400 every 192"):
        check_frames(FeatureSettings(hop_ms=12))
