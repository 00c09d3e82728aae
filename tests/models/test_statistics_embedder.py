"""Attentive statistics: what they weigh, that time's order and length do not matter to them, and sizes."""

import pytest
import torch

from voice2face_gan.audio.features import normalise
from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.registry import build_embedder, model_config, parameters
from voice2face_gan.models.statistics_embedder import AttentiveStatistics, StatisticsEmbedder

SMALL = {"voice_pool": "statistics", "voice_channels": (8, 8, 8, 12), "width": 4, "z_dim": 6}


def test_sizes():
    """Counted by hand: convolutions of kernel 3 without bias, two numbers a normalised channel, two 1 x 1
    layers of attention over three statistics, a normalisation and a linear layer of twice the channels."""
    widths = (64, 256, 384, 576, 768)
    stack = sum(3 * a * b + 2 * b for a, b in zip(widths, widths[1:], strict=False))
    attention = 128 * (3 * 768 + 1) + 768 * (128 + 1)
    end = 2 * 2 * 768 + 64 * (2 * 768 + 1)
    with torch.device("meta"):
        net = StatisticsEmbedder(64, widths[1:], 64)
    assert parameters(net) == stack + attention + end


def test_without_attention_they_are_mean_and_deviation():
    pool = AttentiveStatistics(5)
    torch.nn.init.zeros_(pool.second.weight)
    h = torch.randn(3, 5, 40)
    wanted = torch.cat([h.mean(2), h.std(2, correction=0)], dim=1)
    torch.testing.assert_close(pool(h), wanted, atol=1e-5, rtol=1e-4)


def test_attention_weighs_each_channel_by_itself():
    """A first layer that passes channel 0 on, and a second that gives channel 1 much weight where it is high:
    channel 1's mean is what it is there, channel 0's its plain mean."""
    pool = AttentiveStatistics(2)
    for layer in (pool.first, pool.second):
        torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
    pool.first.weight.data[0, 0] = 5.0
    pool.second.weight.data[1, 0] = 20.0
    h = torch.tensor([[[-1.0, -1.0, 1.0, -1.0], [3.0, 4.0, 7.0, 5.0]]])
    mean, other, deviation, of_other = pool(h)[0].tolist()
    assert mean == pytest.approx(-0.5) and deviation == pytest.approx(0.75**0.5)
    assert other == pytest.approx(7.0, abs=1e-3) and of_other == pytest.approx(0.01, abs=0.05)


@pytest.mark.parametrize("frames", [1, 16, 31, 300])
def test_a_voice_of_any_length_gives_one_embedding(frames):
    net = build_embedder(model_config("modern", SMALL)).eval()
    mel = torch.randn(2, 64, frames)
    e, features = net.with_features(mel)
    assert e.shape == (2, 64) and features.shape == (2, 24) and torch.isfinite(e).all()
    assert torch.equal(net(mel), e) and torch.equal(net.features(mel), features)
    assert torch.equal(net.last(features), e)


def test_its_gradient_is_finite_where_nothing_varies():
    net = build_embedder(model_config("modern", SMALL))
    net(torch.zeros(2, 64, 40)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_checkpoint_brings_it_back_with_its_probes(tmp_path):
    config = model_config("modern", SMALL)
    probes = {"speech": torch.randn(25)}
    kept = Checkpoint("modern", config, build_embedder(config).eval(), probes=probes)
    loaded = load_checkpoint(kept.save(tmp_path / "e"), need_generator=False)
    mel = torch.randn(1, 64, 80)
    assert isinstance(loaded.embedder, StatisticsEmbedder) and loaded.model == config
    assert torch.equal(loaded.embedder(mel), kept.embedder(mel))
    assert torch.equal(loaded.probes["speech"], probes["speech"])
    Checkpoint("modern", config, kept.embedder, probes={"speech": torch.randn(13)}).save(tmp_path / "f")
    with pytest.raises(CheckpointError, match="probe.speech has the shape"):
        load_checkpoint(tmp_path / "f", need_generator=False)


def test_levels_are_heard_beside_the_normalised_bins():
    """With a log-mel given as it was, what the first convolution takes is its normalised form and, in every
    frame, half of each bin's mean above the mean of all bins, cut off at 3."""
    net = build_embedder(model_config("modern", {**SMALL, "voice_levels": True})).eval()
    shape = 3 * torch.randn(64, 1)
    shape[5] = 40.0
    mel = shape + (0.5 + torch.rand(64, 1)) * torch.randn(64, 80) - 6
    heard = net.heard(mel[None])[0]
    torch.testing.assert_close(heard[:64], normalise(mel), atol=1e-4, rtol=1e-4)
    level = (mel.mean(1) - mel.mean()) / 2
    torch.testing.assert_close(heard[64:], level.clamp(-3, 3)[:, None].expand(64, 80), atol=1e-4, rtol=1e-4)
    assert float(heard[64 + 5, 0]) == 3 and net.model[0].in_channels == 128


def test_how_loud_a_recording_is_tells_nothing_but_its_bins_do():
    torch.manual_seed(0)
    net = build_embedder(model_config("modern", {**SMALL, "voice_levels": True})).eval()
    mel = torch.randn(1, 64, 80)
    tilted = mel + torch.linspace(-2, 2, 64)[:, None]
    e, louder, other = net(mel), net(mel + 5), net(tilted)
    torch.testing.assert_close(louder, e, atol=1e-4, rtol=1e-4)
    assert (other - e).norm() > 1e-2 * e.norm()
    plain = build_embedder(model_config("modern", SMALL))
    assert not plain.levels and plain.heard(mel) is mel


def test_settings_that_do_not_go_together():
    with pytest.raises(CheckpointError, match='voice_levels needs voice_pool = "statistics" or "recurrent"'):
        model_config("modern", {"voice_levels": True})
    with pytest.raises(CheckpointError, match='voice_pool must be "mean", "statistics" or "recurrent"'):
        model_config("modern", {"voice_pool": "max"})
    with pytest.raises(CheckpointError, match="embedder_norm_last needs voice_pool"):
        model_config("modern", {**SMALL, "embedder_norm_last": True})
