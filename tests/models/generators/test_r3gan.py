"""The R3GAN networks: sizes, shapes, that noise and voice both matter, and what is zero at the start."""

import pytest
import torch

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.discriminators.r3gan import FaceTrunk, Heads
from voice2face_gan.models.encoders.conv import ConvEncoder, ConvEncoderConfig
from voice2face_gan.models.generators.r3gan import R3GANGenerator, R3GANGeneratorConfig
from voice2face_gan.models.registry import build_generator, generator_config, parameters
from voice2face_gan.models.residual import Residual

SMALL = {"width": 4, "z_dim": 6}


def test_sizes():
    """Counted by hand: a 4 x 4 start of 4 W maps, blocks of two convolutions, 1 x 1 between, 12 maps."""

    def by_hand(width, latent):
        block = lambda c: 2 * (9 * c * c + c) + (latent + 1) * c  # noqa: E731
        blocks = 2 * block(4 * width) + block(2 * width) + block(width)
        between = 4 * width * 2 * width + 2 * width * width
        return (latent + 1) * 64 * width + blocks + between + 9 * 12 * width + 12

    with torch.device("meta"):
        for width in (32, 48, 64):
            assert parameters(R3GANGenerator(R3GANGeneratorConfig(width=width))) == by_hand(width, 128)
        wen = parameters(R3GANGenerator(R3GANGeneratorConfig(width=126)))
        assert wen == by_hand(126, 128) and 11e6 < wen < 13e6  # as large as Wen's 12.19 M


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("fine", [False, True])
def test_shapes(side, fine):
    config = R3GANGeneratorConfig(**SMALL, side=side, full_res_block=fine)
    face = R3GANGenerator(config)(torch.randn(3, 64), torch.randn(3, 6))
    assert face.shape == (3, 3, side, side) and face.dtype == torch.float32
    h = FaceTrunk(config)(face)
    heads = Heads(config, 5)
    assert h.shape == (3, 16)
    assert heads.score(h, torch.randn(3, 64)).shape == (3,)
    assert heads.identity(h).shape == (3, 5) and heads.read(h).shape == (3, 64)


def test_a_fine_generator_paints_single_pixels_and_leaves_no_grid():
    """Its last block and layer are at the face's side, with half the channels of the stage before; without
    it four pixels hang together, which shows as the same change in every other row and column."""
    torch.manual_seed(0)
    plain, fine = (
        R3GANGenerator(R3GANGeneratorConfig(**SMALL, full_res_block=wanted)) for wanted in (False, True)
    )
    assert plain.to_rgb.out_channels == 12 and fine.to_rgb.out_channels == 3
    assert [blocks[0].first.in_channels for blocks in fine.blocks] == [16, 16, 8, 4, 2]
    for net, grid in ((plain, True), (fine, False)):
        torch.nn.init.normal_(net.to_rgb.weight)
        with torch.no_grad():
            net.to_rgb.bias.copy_(torch.arange(len(net.to_rgb.bias)).float())
            face = net(torch.randn(64, 64), torch.zeros(64, 6))[..., 4:-4, 4:-4]  # edges are another matter
        even, odd = face[..., ::2].mean(dim=(0, 2, 3)), face[..., 1::2].mean(dim=(0, 2, 3))
        apart = (even - odd).abs()
        assert apart.min() > 0.2 if grid else apart.max() < 0.05
    with pytest.raises(CheckpointError, match="full_res_block needs a width"):
        R3GANGeneratorConfig(width=2, side=128, z_dim=2, full_res_block=True)


def test_voice_and_noise_both_move_the_face():
    torch.manual_seed(0)
    net = R3GANGenerator(R3GANGeneratorConfig(**SMALL))
    e, z = torch.randn(2, 64), torch.randn(2, 6)
    first = net(e, z)
    assert not torch.allclose(first, net(e.flip(0), z)) and not torch.allclose(first, net(e, z.flip(0)))
    assert torch.equal(net(e), net(e, torch.zeros(2, 6)))
    deaf = R3GANGenerator(R3GANGeneratorConfig(**SMALL | {"z_dim": 0}))
    assert torch.equal(deaf(e), deaf(e, None))


def test_the_rim_repeats_what_is_next_to_it():
    torch.manual_seed(0)
    plain, rimmed = (R3GANGenerator(R3GANGeneratorConfig(**SMALL, replicate_border=rim)) for rim in (0, 2))
    rimmed.load_state_dict(plain.state_dict())
    e = torch.randn(2, 64)
    painted, face = plain(e), rimmed(e)
    assert torch.equal(face[..., 2:-2, 2:-2], painted[..., 2:-2, 2:-2])
    for edge in (
        face[..., :2, :],
        face.flip(-2)[..., :2, :],
        face.mT[..., :2, :],
        face.mT.flip(-2)[..., :2, :],
    ):
        assert torch.equal(edge[..., 0, :], edge[..., 1, :]) and not torch.equal(edge, painted[..., :2, :])
    assert torch.equal(face[..., 0, 0], painted[..., 2, 2])
    with pytest.raises(CheckpointError, match="replicate_border must be 0 to 8"):
        R3GANGeneratorConfig(**SMALL, replicate_border=9)


def test_a_new_block_changes_nothing():
    """Its second convolution is zero, so the net starts as if it were shallow; its gradient is not zero."""
    block, x, latent = Residual(4, 3), torch.randn(2, 4, 5, 5), torch.randn(2, 3)
    assert torch.equal(block(x, latent), x)
    block(x, latent).square().mean().backward()
    assert block.second.weight.grad.abs().sum() > 0


def test_the_score_depends_on_the_voice_only_with_projection():
    h, e = torch.randn(4, 16), torch.randn(4, 64)
    with_it = Heads(R3GANGeneratorConfig(**SMALL), 3)
    assert not torch.allclose(with_it.score(h, e), with_it.score(h, e.flip(0)))
    without = Heads(R3GANGeneratorConfig(**SMALL, projection=False), 3)
    assert torch.equal(without.score(h, e), without.score(h, e.flip(0)))


@pytest.mark.parametrize(
    "settings",
    [
        {"side": 96},
        {"width": 3},
        {"width": 0},
        {"z_dim": -1},
        {"embedding": 0},
        {"face_scale": 0.0},
    ],
)
def test_settings_that_make_no_net(settings):
    with pytest.raises(CheckpointError, match=r"^generator\.\w+ (must|needs)"):
        generator_config({"type": "r3gan", **settings})


def test_a_checkpoint_of_it_is_read_back(tmp_path):
    config, encoder = R3GANGeneratorConfig(**SMALL, replicate_border=1), ConvEncoderConfig(channels=(8, 8))
    torch.manual_seed(1)
    net = build_generator(config)
    Checkpoint(encoder, ConvEncoder(encoder), config, net).save(tmp_path / "c")
    again = load_checkpoint(tmp_path / "c")
    assert again.generator_config == config
    e, z = torch.randn(2, 64), torch.randn(2, 6)
    assert torch.equal(again.generator(e, z), net(e, z))
