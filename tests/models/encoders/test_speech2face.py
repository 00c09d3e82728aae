"""VE_conv of Table 1: its sizes layer by layer, its numbers counted, its pools along time, any length."""

import pytest
import torch
from torch import nn

from voice2face_gan.errors import DataError
from voice2face_gan.models.encoders.speech2face import VEConv

# Frequency x time after each convolution, of 257 x 598 (Table 1; three public codes agree).
SIZES = [(254, 595), (251, 592), (248, 589), (245, 291), (242, 142), (239, 68), (236, 31), (117, 14), (57, 6)]
PUBLISHED = 148.07  # millions of numbers, weights 148,058,368 and 9,216 of BatchNorm


@pytest.fixture(scope="module")
def full():
    with torch.device("meta"):
        return VEConv().eval()


def sizes(net, frames: int) -> list[tuple[int, ...]]:
    found = []
    hooks = [
        c.register_forward_hook(lambda m, i, out: found.append(tuple(out.shape[1:])))
        for c in net.convolutions
    ]
    net(torch.zeros(1, 2, 257, frames))
    for hook in hooks:
        hook.remove()
    return found


def test_every_layer_has_the_papers_channels(full):
    assert [c.out_channels for c in full.convolutions] == [64, 64, 128, 128, 128, 256, 512, 512, 512]
    assert [c.stride for c in full.convolutions] == [(1, 1)] * 7 + [(2, 2)] * 2
    assert all(c.kernel_size == (4, 4) and c.padding == (0, 0) for c in full.convolutions)
    assert full.first.in_features == 512 * 57 == 29_184
    assert full.first.out_features == full.last.out_features == 4096


def test_the_full_width_has_148_07_million_numbers(full):
    weights = sum(
        p.numel() for m in full.modules() if not isinstance(m, nn.BatchNorm2d) for p in m.parameters(False)
    )
    norms = sum(v.numel() for m in full.norms for v in m.state_dict().values() if v.dim())
    print(f"VE_conv: {weights:,} + {norms:,} = {(weights + norms) / 1e6:.2f} M; published {PUBLISHED} M")
    assert (weights, norms) == (148_058_368, 9_216)
    assert round((weights + norms) / 1e6, 2) == PUBLISHED
    assert full.first.weight.numel() == 119_537_664


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return VEConv(embedding=128, width=1 / 32, last_relu=False)


def test_pools_shorten_time_alone(small):
    """Frequencies would be 248 -> 124 after a pool along them; time is 589 -> 294."""
    assert [s[1:] for s in sizes(small.eval(), 598)] == SIZES
    assert sizes(small, 601)[-1][1:] == (57, 6), "librosa's centred frames end in the same size"


def test_any_length_of_time_is_averaged(small):
    small.eval()
    assert small.least_frames == 259
    for frames in (259, 598, 731):
        assert small(torch.randn(2, 2, 257, frames)).shape == (2, 128)
    with pytest.raises(DataError, match="258 frames is too short .* needs 259"):
        small(torch.zeros(1, 2, 257, 258))


def test_the_average_comes_before_the_last_relu(small):
    """ReLU after the mean over time: what follows conv9 is relu(mean), not mean(relu)."""
    small.train()  # so that conv9 varies about zero
    seen = {}
    hooks = [
        small.convolutions[-1].register_forward_hook(lambda m, i, out: seen.update(conv9=out)),
        small.norms[-1].register_forward_hook(lambda m, i, out: seen.update(into=i[0])),
    ]
    small(torch.randn(2, 2, 257, 598, generator=torch.Generator().manual_seed(1)))
    for hook in hooks:
        hook.remove()
    wanted = seen["conv9"].mean(dim=3, keepdim=True).relu()
    assert torch.allclose(seen["into"], wanted)
    assert not torch.allclose(seen["into"], seen["conv9"].relu().mean(dim=3, keepdim=True))


def test_the_last_relu_is_an_option_and_parts_agree(small):
    small.eval()
    x = torch.randn(4, 2, 257, 300, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        e, features = small.with_features(x)
        assert e.min() < 0 and torch.equal(e, small(x)) and torch.equal(features, small.features(x))
        assert features.shape == (4, 128) and features.min() >= 0
        with_relu = VEConv(**{**small.config, "last_relu": True}).eval()
        with_relu.load_state_dict(small.state_dict())
        assert torch.allclose(with_relu(x), e.relu())
        assert VEConv(embedding=4096, width=1 / 32).last_relu


def test_every_layer_learns(small):
    small.train()
    small(torch.randn(2, 2, 257, 300)).square().sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().max() > 0 for n, p in small.named_parameters() if "weight" in n
    )
