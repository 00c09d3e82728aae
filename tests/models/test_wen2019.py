"""The 2019 networks: sizes as published, shapes, variants, and the two faster ways of the same sums."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.registry import build_encoder, build_generator, model_config, parameters
from voice2face_gan.models.wen2019 import (
    Discriminator,
    FaceTrunk,
    Generator,
    IdentityClassifier,
    VoiceEncoder,
    Wen2019Config,
    condition,
)

SMALL = {
    "voice_channels": (8, 8, 8, 8),
    "generator_channels": (32, 16, 16, 8, 8),
    "trunk_channels": (4, 4, 8, 8, 8),
}
VARIANTS = [
    {},
    {"kernel": 3},
    {"generator_norm": "batch", "generator_output": "tanh"},
    {"kernel": 3, "generator_norm": "batch", "generator_output": "tanh"},
]


def small(**settings) -> Wen2019Config:
    return Wen2019Config(**SMALL | settings)


def test_parameter_counts():
    """Counted by hand from Table 1 of the paper: weights, biases, two numbers a normalised channel."""
    with torch.device("meta"):
        assert parameters(VoiceEncoder(Wen2019Config())) == 2_670_720
        assert parameters(Generator(Wen2019Config())) == 12_191_875
        assert parameters(Generator(Wen2019Config(kernel=3))) == 7_317_635
        assert parameters(FaceTrunk(Wen2019Config())) == 3_310_720
        assert parameters(Discriminator(Wen2019Config())) == 65
        assert parameters(IdentityClassifier(Wen2019Config(), 924)) == 924 * 65
        # After the fifth voice convolution: normalisation instead of a bias, so 64 more.
        assert parameters(VoiceEncoder(Wen2019Config(encoder_norm_last=True))) == 2_670_784
        poster = Wen2019Config(generator_norm="batch", generator_output="tanh")
        assert parameters(Generator(poster)) == 12_191_875 + 2 * (1024 + 512 + 256 + 128 + 64)


def test_only_trainable_parameters_are_counted():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    assert parameters(net) == 6


@pytest.mark.parametrize("frames", [1, 31, 32, 300, 1000])
def test_a_voice_of_any_length_gives_one_embedding(frames):
    net = VoiceEncoder(small()).eval()
    assert net(torch.randn(2, 64, frames)).shape == (2, 64)


def test_the_embedding_is_the_mean_over_time():
    net = VoiceEncoder(small()).eval()
    x = torch.randn(1, 64, 320)
    assert torch.allclose(net(x), net.model(x).mean(dim=-1))
    assert net.model(x).shape == (1, 64, 10)


@pytest.mark.parametrize("norm_last", [False, True])
def test_features_are_what_the_last_convolution_reads(norm_last):
    net = VoiceEncoder(small(encoder_norm_last=norm_last, voice_channels=(8, 8, 8, 24))).eval()
    x, read = torch.randn(2, 64, 320), []
    last = [layer for layer in net.model if isinstance(layer, nn.Conv1d)][-1]
    last.register_forward_hook(lambda layer, given, made: read.append(given[0]))
    e = net(x)
    assert read[0].shape == (2, 24, 20)
    assert torch.equal(net.features(x), read[0].mean(dim=2))
    both = net.with_features(x)
    assert torch.equal(both[0], e) and torch.equal(both[1], net.features(x))


def test_the_paper_normalises_after_the_last_voice_convolution_too():
    released, paper = VoiceEncoder(small()), VoiceEncoder(small(encoder_norm_last=True)).eval()
    assert isinstance(released.model[-1], nn.Conv1d)
    assert isinstance(paper.model[-2], nn.BatchNorm1d) and isinstance(paper.model[-1], nn.ReLU)
    assert (paper(torch.randn(4, 64, 200)) >= 0).all()


@pytest.mark.parametrize("settings", VARIANTS)
def test_shapes(settings):
    config = small(**settings)
    faces = Generator(config)(torch.randn(3, 64))
    assert faces.shape == (3, 3, 64, 64)
    h = FaceTrunk(config)(faces)
    assert h.shape == (3, 64)
    assert Discriminator(config)(h).shape == (3,)
    assert IdentityClassifier(config, 11)(h).shape == (3, 11)


def test_the_poster_variant_normalises_and_stays_in_range():
    config = small(generator_norm="batch", generator_output="tanh")
    net = Generator(config)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in net.model) == 5
    for scale in (1, 1e4):
        faces = net(scale * torch.randn(4, 64))
        assert faces.abs().max() <= 1
    plain = Generator(small())
    assert not any(isinstance(layer, (nn.BatchNorm2d, nn.Tanh)) for layer in plain.model)
    assert plain(1e4 * torch.randn(4, 64)).abs().max() > 1  # linear: clamped only when written


@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("batch", [1, 2])
def test_the_way_for_few_faces_equals_the_layers(settings, batch):
    torch.manual_seed(0)
    net = Generator(small(**settings))
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training, not the identity
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    net.eval()
    e = torch.randn(batch, 64)
    with torch.no_grad():
        plain = e[:, :, None, None]
        for layer in net.model:
            if isinstance(layer, nn.ConvTranspose2d):
                plain = F.conv_transpose2d(
                    plain, layer.weight, layer.bias, layer.stride, layer.padding, layer.output_padding
                )
            else:
                plain = layer(plain.clone())
        few = net(e)
    assert few.std() > 1e-3
    assert torch.allclose(few, plain, atol=1e-5)


def test_a_face_does_not_depend_on_how_many_are_made_with_it():
    net = Generator(small()).eval()
    e = torch.randn(9, 64)
    with torch.no_grad():
        together = net(e)
        for some in (1, 2, 5):
            assert torch.allclose(net(e[:some]), together[:some], atol=1e-5)


def test_the_trunk_is_not_normalised_and_leaky():
    net = FaceTrunk(small())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
    slopes = [layer.negative_slope for layer in net.model if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.2] * 5


# What the generator takes


def test_a_condition_has_unit_norm():
    e = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    assert torch.allclose(condition(e, small()), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))


def test_noise_is_added_to_the_unit_embedding_and_the_sum_normalised():
    e, noise = torch.tensor([[10.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    made = condition(e, small(noise=0.05), noise)
    assert torch.allclose(made, torch.tensor([[1.0, 0.05]]) / (1 + 0.05**2) ** 0.5)
    assert torch.allclose(condition(e, small(), noise, scale=1.0), torch.full((1, 2), 0.5**0.5))


def test_the_level_of_the_noise():
    """0.05 N(0, 1) on each of 64 numbers of a unit vector: cosine 1 / sqrt(1 + 64 x 0.05^2) on average."""
    e = F.normalize(torch.randn(20_000, 64), dim=1)
    cosine = (condition(e, small(noise=0.05), torch.randn(20_000, 64)) * e).sum(dim=1)
    assert abs(float(cosine.mean()) - (1 + 63 * 0.05**2) ** -0.5) < 2e-3


def test_without_noise_nothing_is_added():
    e, noise = torch.randn(4, 64), torch.randn(4, 64)
    assert torch.equal(condition(e, small(noise=0.0), noise), condition(e, small()))
    assert torch.equal(condition(e, small(), noise, scale=0), condition(e, small()))


def test_the_papers_raw_embedding():
    config = small(normalise=False, noise=0.0)
    e, noise = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, -1.0]])
    assert torch.equal(condition(e, config), e)
    assert torch.equal(condition(e, config, noise), e)
    # A level asked for is relative to |e| = 5.
    assert torch.allclose(condition(e, config, noise, scale=0.1), torch.tensor([[3.5, 3.5]]))


# Configuration


def test_a_configuration_survives_json():
    config = small(kernel=3, noise=0.0)
    assert all(not isinstance(v, tuple) for v in config.to_dict().values())
    assert model_config("wen2019", config.to_dict()) == config
    assert dataclasses.replace(config, kernel=4) != config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kernel": 5}, "kernel must be 3 or 4"),
        ({"generator_norm": "layer"}, "generator_norm"),
        ({"generator_output": "sigmoid"}, "generator_output"),
        ({"generator_channels": [8, 8]}, "five numbers"),
        ({"trunk_channels": [8] * 6}, "five numbers"),
        ({"noise": -0.1}, "noise must not be negative"),
        ({"voice_channels": []}, "voice_channels"),
        ({"voice_channels": [8, 0]}, "1 or more"),
        ({"embedding": 0}, "1 or more"),
        ({"depth": 3}, "no setting 'depth'"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(CheckpointError, match=words):
        model_config("wen2019", settings)


def test_unknown_architectures_are_refused_with_the_known_ones():
    with pytest.raises(CheckpointError, match="'wen2020'; this version knows .*wen2019"):
        model_config("wen2020", {})


def test_the_registry_builds_what_the_configuration_says():
    config = small(embedding=32, mel_bins=40)
    assert build_encoder(config)(torch.randn(2, 40, 100)).shape == (2, 32)
    assert build_generator(config)(torch.randn(2, 32)).shape == (2, 3, 64, 64)
