"""The residual discriminator: its maps, scores of the whole and of parts."""

import pytest
import torch

from voice2face_gan.models.discriminators.residual import ResidualDiscriminator


@pytest.mark.parametrize(("side", "maps"), [(32, 2), (64, 3), (128, 4)])
def test_maps_halve_down_to_four_pixels(side, maps):
    torch.manual_seed(0)
    net = ResidualDiscriminator(side)
    scores, found = net.with_maps(torch.randn(2, 3, side, side))
    assert scores.shape == (2,) and len(found) == maps
    assert [x.shape[-1] for x in found] == [side // 4 >> i for i in range(maps)]
    torch.testing.assert_close(net(torch.zeros(1, 3, side, side)), net(torch.zeros(3, 3, side, side))[:1])


def test_every_part_and_every_pixel_counts():
    torch.manual_seed(0)
    net = ResidualDiscriminator(64)
    image = torch.randn(1, 3, 64, 64, requires_grad=True)
    # A residual branch ends with weights of 0, and so holds back its first layer's.
    for name, part in net.named_parameters():
        if "second.weight" in name:
            torch.nn.init.normal_(part, std=0.1)
    net(image).sum().backward()
    assert (image.grad != 0).all()
    assert not [name for name, part in net.named_parameters() if part.grad is None or not part.grad.any()]
