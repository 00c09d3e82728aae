"""The convolutional encoder of 2019: sizes as published, shapes, its variant, and its frozen form."""

import pytest
import torch
from torch import nn

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.encoders.conv import ConvEncoder, ConvEncoderConfig
from voice2face_gan.models.registry import build_encoder, encoder_config, parameters

SIZES = {"channels": (16, 24, 16, 8), "embedding": 12}
CONFIGS = [ConvEncoderConfig(**SIZES), ConvEncoderConfig(**SIZES, norm_last=True)]


def small(**settings) -> ConvEncoderConfig:
    return ConvEncoderConfig(**{"channels": (8, 8, 8, 8)} | settings)


def test_parameter_counts():
    """Counted by hand from Table 1 of the paper: weights, biases, two numbers a normalised channel."""
    with torch.device("meta"):
        assert parameters(ConvEncoder(ConvEncoderConfig())) == 2_670_720
        # After the fifth convolution: normalisation instead of a bias, so 64 more.
        assert parameters(ConvEncoder(ConvEncoderConfig(norm_last=True))) == 2_670_784


@pytest.mark.parametrize("frames", [1, 31, 32, 300, 1000])
def test_a_voice_of_any_length_gives_one_embedding(frames):
    net = ConvEncoder(small()).eval()
    assert net(torch.randn(2, 64, frames)).shape == (2, 64)


def test_the_embedding_is_the_mean_over_time():
    net = ConvEncoder(small()).eval()
    x = torch.randn(1, 64, 320)
    assert torch.allclose(net(x), net.model(x).mean(dim=-1))
    assert net.model(x).shape == (1, 64, 10)


@pytest.mark.parametrize("norm_last", [False, True])
def test_features_are_what_the_last_convolution_reads(norm_last):
    net = ConvEncoder(small(norm_last=norm_last, channels=(8, 8, 8, 24))).eval()
    x, read = torch.randn(2, 64, 320), []
    last = [layer for layer in net.model if isinstance(layer, nn.Conv1d)][-1]
    last.register_forward_hook(lambda layer, given, made: read.append(given[0]))
    e = net(x)
    assert read[0].shape == (2, 24, 20)
    assert torch.equal(net.features(x), read[0].mean(dim=2))
    both = net.with_features(x)
    assert torch.equal(both[0], e) and torch.equal(both[1], net.features(x))


def test_the_paper_normalises_after_the_last_voice_convolution_too():
    released, paper = ConvEncoder(small()), ConvEncoder(small(norm_last=True)).eval()
    assert isinstance(released.model[-1], nn.Conv1d)
    assert isinstance(paper.model[-2], nn.BatchNorm1d) and isinstance(paper.model[-1], nn.ReLU)
    assert (paper(torch.randn(4, 64, 200)) >= 0).all()


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_frozen_it_is_the_same_function(config, dtype, error):
    torch.manual_seed(0)
    encoder = ConvEncoder(config).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):  # as after training, each channel its own
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    folded = encoder.frozen(dtype)
    for frames in (1, 7, 300, 333):
        log_mel = torch.randn(3, 64, frames)
        with torch.no_grad():
            expected = encoder(log_mel)
        e = folded(log_mel)
        assert e.dtype == torch.float32 and e.shape == (3, 12)
        assert float((e - expected).norm() / expected.norm()) < error
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


# Configuration


def test_a_configuration_survives_json():
    config = small(norm_last=True, mel_bins=40)
    assert config.to_dict()["type"] == "conv" and config.to_dict()["channels"] == [8, 8, 8, 8]
    assert encoder_config(config.to_dict()) == config


def test_the_registry_builds_what_the_configuration_says():
    config = small(embedding=32, mel_bins=40)
    encoder = build_encoder(config)
    assert isinstance(encoder, ConvEncoder) and encoder(torch.randn(2, 40, 100)).shape == (2, 32)
    assert encoder.features(torch.randn(2, 40, 100)).shape == (2, config.feature_size)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"type": "conv", "channels": []}, "encoder.channels must not be empty"),
        ({"type": "conv", "channels": [8, 0]}, "1 or more"),
        ({"type": "conv", "embedding": 0}, "1 or more"),
        ({"type": "conv", "depth": 3}, "encoder of the type 'conv' has no setting 'depth'"),
        ({"type": "max"}, "Unknown type of encoder 'max'; this version knows conv, lstm"),
        ({"channels": [8]}, "encoder has no type; this version knows conv, lstm"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(CheckpointError, match=words):
        encoder_config(settings)
