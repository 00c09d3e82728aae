"""Generator and discriminator of 2019: sizes as published, shapes, variants."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.discriminators.wen2019 import Discriminator, FaceTrunk, IdentityClassifier
from voice2face_gan.models.generators.wen2019 import Wen2019Generator, Wen2019GeneratorConfig
from voice2face_gan.models.registry import build_generator, generator_config, parameters

SMALL = {
    "channels": (32, 16, 16, 8, 8),
    "trunk_channels": (4, 4, 8, 8, 8),
}
VARIANTS = [
    {},
    {"kernel": 3},
    {"norm": "batch", "output": "tanh"},
    {"kernel": 3, "norm": "batch", "output": "tanh"},
]


def small(**settings) -> Wen2019GeneratorConfig:
    return Wen2019GeneratorConfig(**SMALL | settings)


def test_parameter_counts():
    """Counted by hand from Table 1 of the paper: weights, biases, two numbers a normalised channel."""
    with torch.device("meta"):
        assert parameters(Wen2019Generator(Wen2019GeneratorConfig())) == 12_191_875
        assert parameters(Wen2019Generator(Wen2019GeneratorConfig(kernel=3))) == 7_317_635
        assert parameters(FaceTrunk(Wen2019GeneratorConfig())) == 3_310_720
        assert parameters(Discriminator(Wen2019GeneratorConfig())) == 65
        assert parameters(IdentityClassifier(Wen2019GeneratorConfig(), 924)) == 924 * 65
        poster = Wen2019GeneratorConfig(norm="batch", output="tanh")
        assert parameters(Wen2019Generator(poster)) == 12_191_875 + 2 * (1024 + 512 + 256 + 128 + 64)


def test_only_trainable_parameters_are_counted():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    assert parameters(net) == 6


@pytest.mark.parametrize("settings", VARIANTS)
def test_shapes(settings):
    config = small(**settings)
    faces = Wen2019Generator(config)(torch.randn(3, 64))
    assert faces.shape == (3, 3, 64, 64)
    h = FaceTrunk(config)(faces)
    assert h.shape == (3, 64)
    assert Discriminator(config)(h).shape == (3,)
    assert IdentityClassifier(config, 11)(h).shape == (3, 11)


def test_the_poster_variant_normalises_and_stays_in_range():
    config = small(norm="batch", output="tanh")
    net = Wen2019Generator(config)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in net.model) == 5
    for scale in (1, 1e4):
        faces = net(scale * torch.randn(4, 64))
        assert faces.abs().max() <= 1
    plain = Wen2019Generator(small())
    assert not any(isinstance(layer, (nn.BatchNorm2d, nn.Tanh)) for layer in plain.model)
    assert plain(1e4 * torch.randn(4, 64)).abs().max() > 1  # linear: clamped only when written


@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("batch", [1, 2])
def test_the_way_for_few_faces_equals_the_layers(settings, batch):
    torch.manual_seed(0)
    net = Wen2019Generator(small(**settings))
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
    net = Wen2019Generator(small()).eval()
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


# Configuration


def test_a_configuration_survives_json():
    config = small(kernel=3)
    assert all(not isinstance(v, tuple) for v in config.to_dict().values())
    assert generator_config(config.to_dict()) == config
    assert dataclasses.replace(config, kernel=4) != config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kernel": 5}, "kernel must be 3 or 4"),
        ({"norm": "layer"}, "generator.norm must be"),
        ({"output": "sigmoid"}, "generator.output must be"),
        ({"channels": [8, 8]}, "five numbers"),
        ({"trunk_channels": [8] * 6}, "five numbers"),
        ({"trunk_channels": [8, 8, 8, 8, 0]}, "1 or more"),
        ({"face_scale": 0}, "face_scale must be above 0"),
        ({"embedding": 0}, "1 or more"),
        ({"depth": 3}, "no setting 'depth'"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(CheckpointError, match=words):
        generator_config({"type": "wen2019", **settings})


def test_unknown_types_are_refused_with_the_known_ones():
    with pytest.raises(CheckpointError, match="'wen2020'; this version knows .*wen2019"):
        generator_config({"type": "wen2020"})


def test_the_registry_builds_what_the_configuration_says():
    config = small(embedding=32)
    assert build_generator(config)(torch.randn(2, 32)).shape == (2, 3, 64, 64)
