"""The face decoder: sizes of the paper at every side, the narrow layer, gradients, the linear texture."""

from dataclasses import replace

import pytest
import torch

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.generators.face_decoder import (
    CHANNELS,
    STEM,
    FaceDecoder,
    FaceDecoderConfig,
    LinearTexture,
    count,
)


def make(embedding: int = 6, side: int = 64, texture: str = "convolutional", **more) -> FaceDecoder:
    return FaceDecoder(FaceDecoderConfig(embedding, side, texture, **more))


@pytest.mark.parametrize(("side", "first"), [(64, 4), (112, 7), (128, 8), (224, 14)])
def test_every_side_has_the_papers_maps(side, first):
    """14 x 14 x 256 at 224 pixels; each transposed convolution doubles the side: 28, 56, 112, 224."""
    decoder = make(6, side, narrow=4, boundary=1)
    head, shapes = decoder.texture_head, []
    for layer in head.up:
        layer.register_forward_hook(lambda m, i, out: shapes.append((i[0].shape[1:], out.shape[1:])))
    decoded = decoder.decoded(torch.randn(1, 6))
    assert shapes[0][0] == (256, first, first)
    assert [out for _, out in shapes] == [
        (c, first << i + 1, first << i + 1) for i, c in enumerate(CHANNELS[1:])
    ]
    assert all(layer.kernel_size == (5, 5) and layer.stride == (2, 2) for layer in head.up)
    assert head.to_rgb.kernel_size == (1, 1)
    assert decoded.texture.shape == decoded.image.shape == (1, 3, side, side)
    assert decoded.landmarks.shape == (1, 68, 2)


def test_channels_are_256_halved_down_to_32():
    assert tuple(max(256 // 2**i, 32) for i in range(5)) == CHANNELS


def test_the_narrow_layer_makes_it_fit_what_ships():
    """At most 8 M numbers with the encoder's 1.5; the full width is counted beside it."""
    heads = {
        (side, narrow): count(make(128, side, narrow=narrow, boundary=1))
        for side, narrow in ((128, 0), (128, 128))
    }
    up = 256 * 128 * 25 + 128 + 128 * 64 * 25 + 64 + 64 * 32 * 25 + 32 + 32 * 32 * 25 + 32 + 32 * 3 + 3
    assert heads[128, 0]["texture_head"] == 1001 * 16_384 + up
    assert heads[128, 128]["texture_head"] == 128 * 1000 + 129 * 16_384 + up
    assert heads[128, 128]["stem"] == 129 * STEM and sum(heads[128, 128].values()) < 6_500_000
    print({key: f"{sum(parts.values()):,}" for key, parts in heads.items()})


def test_a_new_decoder_draws_the_mean_shape():
    decoder = make(6, 64, narrow=4)
    decoded = decoder.decoded(torch.randn(2, 6))
    assert torch.allclose(decoded.landmarks, decoder.warp.mean.expand(2, -1, -1))
    assert torch.allclose(decoded.image, decoded.texture, atol=1e-5)
    assert 0.01 < decoded.texture.std() < 10, "signals neither die nor grow on the way"


@pytest.mark.parametrize("texture", ["convolutional", "linear"])
def test_every_part_learns_through_the_rendered_image(texture):
    decoder = make(6, 64, texture, narrow=4)
    torch.nn.init.normal_(decoder.landmark_head[-1].weight, std=0.02)
    decoder(torch.randn(2, 6))[:, :, :, :32].square().sum().backward()
    still = [n for n, p in decoder.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert not still


def test_the_linear_texture_is_linear_in_the_feature():
    decoder = make(6, 64, "linear", narrow=4)
    assert isinstance(decoder.texture_head, LinearTexture)
    a, b = torch.randn(2, 1, 6)
    mixed = decoder.decoded(0.3 * a + 0.7 * b).texture
    assert torch.allclose(
        mixed, 0.3 * decoder.decoded(a).texture + 0.7 * decoder.decoded(b).texture, atol=1e-5
    )
    assert make(6, 64, "linear", boundary=1).texture_head.last.weight.shape == (3 * 64**2, STEM)


def test_parts_agree_and_settings_are_kept():
    decoder = make(6, 64, narrow=4, order=1).eval()
    config = FaceDecoderConfig(6, 64, narrow=4, order=1)
    again = FaceDecoder(FaceDecoderConfig.from_dict(config.to_dict())).eval()
    again.load_state_dict(decoder.state_dict())
    feature = torch.randn(2, 6)
    stem = decoder.stem(feature)
    assert stem.shape == (2, 1000)
    for one, other in zip(again.decoded(feature), decoder.decode(stem), strict=True):
        assert torch.equal(one, other)
    assert not any("warp" in name for name in decoder.state_dict()), "the warp's constants are made, not kept"


def test_a_decoder_of_larger_faces_has_a_larger_mean_shape():
    """About the middle of the mouth, as faces/align.py zooms."""
    whole, large = make(boundary=1), make(boundary=1, face_scale=1.4)
    about = torch.tensor([0.5, 0.71])
    grown = about + 1.4 * (whole.warp.mean / 64 - about)
    assert torch.allclose(large.warp.mean / 64, grown, atol=1e-5)
    assert large.spread == pytest.approx(1.4 * whole.spread)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"side": 100}, "side must be a multiple of 16"),
        ({"texture": "mesh"}, "convolutional or linear"),
        ({"rendering": "mesh"}, "inverse or spline"),
        ({"order": 3}, "1 or 2"),
    ],
)
def test_settings_that_cannot_be(settings, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        FaceDecoderConfig(**settings)


def test_the_head_gain_is_a_factor_of_what_the_head_adds():
    torch.manual_seed(0)
    config = FaceDecoderConfig(side=64, narrow=4, linear=8)
    decoder, e = FaceDecoder(config), torch.randn(2, 64)
    torch.nn.init.normal_(decoder.texture_head.to_rgb.weight)
    textures = []
    for gain in (0.0, 0.5, 1.0):
        one = FaceDecoder(replace(config, head_gain=gain))
        one.load_state_dict(decoder.state_dict())
        with torch.no_grad():
            textures.append(one.decoded(e).texture)
    torch.testing.assert_close(textures[1], (textures[0] + textures[2]) / 2)
    assert (textures[2] - textures[0]).abs().mean() > 0.01
    with pytest.raises(CheckpointError, match="1 without a linear part"):
        FaceDecoderConfig(side=64, head_gain=0.5)


def test_a_smaller_texture_head_is_enlarged():
    """Its own side is half of the texture's: nothing finer than two pixels comes of it."""
    torch.manual_seed(0)
    half = FaceDecoder(FaceDecoderConfig(side=64, narrow=4, head_scale=2))
    whole = FaceDecoder(FaceDecoderConfig(side=64, narrow=4))
    assert count(half)["texture_head"] < count(whole)["texture_head"]
    with torch.no_grad():
        finest = []
        for decoder in (half, whole):
            texture = decoder.decoded(torch.randn(4, 64)).texture
            assert texture.shape == (4, 3, 64, 64)
            steps = texture.diff(dim=3)
            finest.append(float(steps.diff(dim=3).square().mean() / steps.square().mean()))
    assert finest[0] < 0.5 * finest[1]
    with pytest.raises(CheckpointError, match="side / head_scale must be a multiple of 16"):
        FaceDecoderConfig(side=64, head_scale=3)
