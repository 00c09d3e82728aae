"""The recurrent encoder: its sizes, what it cuts a clip into, how loud it hears it, its place in a model."""

import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.audio.log_mel import log_mels
from voice2face_gan.device import full_precision, has_recurrent_bf16
from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.encoders import lstm as recurrent_encoder
from voice2face_gan.models.encoders.lstm import (
    LEVEL,
    PIECE,
    STEP,
    LstmEncoder,
    LstmEncoderConfig,
    cut,
    without_noise,
)
from voice2face_gan.models.registry import build_encoder, encoder_config, parameters

SMALL = LstmEncoderConfig(channels=(5, 8, 8, 6))


def small() -> LstmEncoder:
    torch.manual_seed(0)
    return build_encoder(SMALL).eval()


def test_sizes():
    """Counted by hand: bands and the signal's power; four gates of each layer, two biases each; t; e."""
    config = LstmEncoderConfig(channels=(40, 256, 256, 256, 128))
    with torch.device("meta"):
        net = LstmEncoder(config)
    lstm = 4 * 256 * (40 + 256 + 2) + 2 * 4 * 256 * (256 + 256 + 2)
    assert parameters(net) == 64 * 41 + lstm + 128 * 257 + 64 * (128 + 3 * 256 + 1)
    assert config.feature_size == 128 + 3 * 256


@pytest.mark.parametrize("frames", [1, 7, 159, 160, 300, 1000])
def test_a_voice_of_any_length_gives_one_embedding(frames):
    net, mel = small(), torch.randn(2, 64, frames) - 6
    e, features = net.with_features(mel)
    assert e.shape == (2, 64) and features.shape == (2, 22) and torch.isfinite(e).all()
    assert torch.equal(net(mel), e) and torch.equal(net.last(features), e)
    assert features[:, :6].min() >= 0
    torch.testing.assert_close(features[:, :6].norm(dim=1), torch.ones(2))
    torch.testing.assert_close(net(mel[:1]), e[:1], atol=1e-5, rtol=1e-4)


def test_pieces_are_what_lies_at_their_places():
    x = torch.arange(400.0)[None, :, None] + torch.tensor([0.0, 1000.0])
    pieces = cut(x)
    assert pieces.shape == (1, 4, PIECE, 2)
    for i in range(4):
        assert torch.equal(pieces[0, i], x[0, i * STEP : i * STEP + PIECE])
    short = cut(x[:, :70])
    assert short.shape == (1, 1, PIECE, 2)
    assert torch.equal(short[0, 0], torch.cat([x[0, :70], x[0, :70], x[0, :20]]))


def test_a_long_clip_is_its_pieces_mean():
    """t is the mean of the pieces' t, made as long as 1 again; the states are plain means."""
    net, mel = small(), torch.randn(1, 64, 320) - 4
    net.bands.weight.data[-1] = 0  # no power measured: the loudest that is raised to
    net.bands.weight.data[-1, 0] = 1e9  # ... and then none at all
    whole = net.features(mel)[0]
    each = torch.stack([net.features(mel[..., s : s + PIECE])[0] for s in (0, 80, 160)])
    torch.testing.assert_close(whole[:6], F.normalize(each[:, :6].mean(0), dim=0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(whole[6:], each[:, 6:].mean(0), atol=1e-5, rtol=1e-4)


def test_pieces_agree_as_far_as_their_t_point_one_way():
    """The mean cosine of all pairs of pieces; a clip of one piece agrees with itself."""
    net, mel = small(), torch.randn(2, 64, 400) - 4
    with full_precision():
        e, features, agreement = net.with_agreement(mel)
        pieces = without_noise(cut(net.band_power(mel)).flatten(0, 1))
        t = net._of_pieces(pieces)[:, :6].unflatten(0, (2, 4))
        cosines = t @ t.transpose(1, 2)
        wanted = (cosines.sum(dim=(1, 2)) - 4) / 12
        torch.testing.assert_close(agreement, wanted, atol=1e-5, rtol=0)
        assert torch.equal(e, net(mel)) and torch.equal(features, net.features(mel))
        one = net.with_agreement(mel[..., :200])[2]
    torch.testing.assert_close(one, torch.ones(2))


def test_long_recordings_are_heard_in_parts(monkeypatch):
    net, mel = small(), torch.randn(2, 64, 2000) - 4
    whole, most = net(mel), []
    monkeypatch.setattr(recurrent_encoder, "_AT_ONCE", 10)
    net.layers[0].register_forward_hook(lambda _, given, __: most.append(len(given[0])))
    torch.testing.assert_close(net(mel), whole, atol=1e-6, rtol=1e-5)
    assert len(most) == 5 and max(most) == 10


def test_soft_speech_is_raised_and_loud_speech_left():
    """With bins whose sum is the signal's power: 20 dB less in are the same out, where that is soft."""
    net = small()
    net.bands.weight.data.fill_(1 / 64)
    soft = torch.full((1, 64, 200), LEVEL).log() - 1
    torch.testing.assert_close(net.band_power(soft), net.band_power(soft - 4.6), atol=1e-9, rtol=1e-4)
    torch.testing.assert_close(net.band_power(soft), torch.full((1, 200, 5), LEVEL), atol=0, rtol=1e-3)
    loud = torch.full((1, 64, 200), 4 * LEVEL).log()
    torch.testing.assert_close(net.band_power(loud), torch.full((1, 200, 5), 4 * LEVEL), atol=0, rtol=1e-3)
    assert torch.isfinite(net(log_mels(torch.zeros(1, 16_000), normalised=False))).all()


def test_what_a_band_never_falls_below_is_taken_away():
    """Twice the eighth softest frame of each band and piece; two hundredths of a frame stay."""
    rising = torch.arange(PIECE).float()[torch.randperm(PIECE)]
    x = torch.stack([rising + 1, 0 * rising + 5, 100 * rising], dim=1)[None]
    clear = without_noise(torch.cat([x, 2 * x]))
    wanted = torch.stack(
        [(rising + 1 - 16).clamp(min=0), 0 * rising, (rising - 14).clamp(min=0) * 100], dim=1
    )
    wanted = torch.maximum(wanted, 0.02 * x[0])
    torch.testing.assert_close(clear, torch.stack([wanted, 2 * wanted]))


def test_a_steady_hum_is_not_heard():
    """Of speech with pauses and a hum of its mean power, less than a fifth of the hum stays."""
    torch.manual_seed(0)
    speech = torch.randn(3, PIECE, 40).mul(3).exp() * (torch.rand(3, PIECE, 1) < 0.8)
    hum = speech.mean(dim=1, keepdim=True) * (1 + 0.1 * torch.randn(3, PIECE, 40))
    left = without_noise(speech + hum) - speech
    quiet = speech < hum  # elsewhere the hum is taken away twice
    assert left[quiet].abs().mean() < 0.2 * hum[quiet].mean()


@pytest.mark.skipif(
    not has_recurrent_bf16(torch.device("cpu")), reason="this processor has no bfloat16 LSTM layers"
)
def test_where_nothing_is_learned_it_may_be_fast():
    """In bfloat16, and nearly the same; with gradients in full precision."""
    net, mel = small(), torch.randn(3, 64, 400) - 4
    net.precision = "bf16"
    exact = net(mel)
    with torch.no_grad():
        fast = net(mel)
        net.precision = "auto"
        with full_precision():
            torch.testing.assert_close(net(mel), exact, atol=1e-6, rtol=1e-5)
    assert fast.dtype == torch.float32 and not torch.equal(fast, exact)
    assert (fast - exact).norm() < 0.02 * exact.norm()


def test_its_gradient_is_finite_where_nothing_is_heard():
    net = build_encoder(SMALL)
    net(torch.full((2, 64, 40), -23.0)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_frozen_one_says_the_same():
    net, mel = small(), torch.randn(3, 64, 200) - 4
    quick = net.frozen(torch.bfloat16)
    with torch.no_grad():
        wanted = net(mel)
        assert (quick(mel) - wanted).norm() < 0.03 * wanted.norm() and quick(mel).dtype == torch.float32


def test_a_checkpoint_brings_it_back_with_its_probes(tmp_path):
    probes = {"speech": torch.randn(SMALL.feature_size + 1)}
    kept = Checkpoint(SMALL, build_encoder(SMALL).eval(), probes=probes)
    loaded = load_checkpoint(kept.save(tmp_path / "e"), need_generator=False)
    mel = torch.randn(1, 64, 180) - 4
    assert isinstance(loaded.encoder, LstmEncoder) and loaded.encoder_config == SMALL
    assert torch.equal(loaded.encoder(mel), kept.encoder(mel))
    assert torch.equal(loaded.probes["speech"], probes["speech"])


def test_settings_that_make_none_are_refused():
    with pytest.raises(CheckpointError, match="encoder.channels must be three or more"):
        encoder_config({"type": "lstm", "channels": (5, 8)})
    with pytest.raises(CheckpointError, match="'lstm' has no setting 'norm_last'"):
        encoder_config({"type": "lstm", "norm_last": True})
