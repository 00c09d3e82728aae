"""The fast ways of the trunk's convolutions are PyTorch's own, forward and backward."""

import copy

import pytest
import torch
from torch import nn

from voice2face_gan.models.bf16_convolutions import DownConvolution, LastConvolution, fast_in_bf16


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Norm of the difference, relative."""
    a, b = a.detach().float(), b.detach().float()
    return float((a - b).norm() / b.norm())


# All three sides of the sizes at which it changes its ways; not square, odd; few and many channels.
@pytest.mark.parametrize("size", [(2, 2), (8, 8), (4, 14), (7, 5), (16, 16), (20, 20)])
@pytest.mark.parametrize("channels", [(16, 8), (3, 5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_in_bfloat16_it_gives_what_fp32_gives(size, channels, layout):
    torch.manual_seed(0)
    check(DownConvolution, nn.Conv2d(*channels, 4, 2, 1), (3, channels[0], *size), layout)


@pytest.mark.parametrize("size", [(4, 4), (6, 5)])
def test_the_last_layer_too(size):
    torch.manual_seed(0)
    check(LastConvolution, nn.Conv2d(6, 5, 4), (3, 6, *size), torch.channels_last)


def check(kind: type, plain: nn.Module, shape: tuple[int, ...], layout: torch.memory_format) -> None:
    fast = fast_in_bf16(copy.deepcopy(plain))
    assert type(fast) is kind
    fast.to(memory_format=layout)
    x = torch.randn(shape)
    assert torch.allclose(fast(x), plain(x), atol=1e-6)  # in fp32 both are PyTorch's
    x_fast = x.clone().contiguous(memory_format=layout).requires_grad_()
    x_plain = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = torch.nn.functional.leaky_relu(fast(x_fast), 0.2, inplace=True)  # as in the trunk
    expected = torch.nn.functional.leaky_relu(plain(x_plain), 0.2)
    assert y.dtype == torch.bfloat16 and y.shape == expected.shape and apart(y, expected) < 0.01
    # Where the value is next to zero, bfloat16 may see another sign, and so another slope.
    weight = torch.randn_like(expected) * (expected.abs() > 0.02)
    (y.float() * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in ((x_fast, x_plain), (fast.weight, plain.weight), (fast.bias, plain.bias)):
        assert apart(a.grad, b.grad) < 0.015


def test_weights_alone_or_input_alone_may_want_a_gradient():
    fast = fast_in_bf16(nn.Conv2d(8, 4, 4, 2, 1))
    for size in (8, 16, 20):
        with torch.autocast("cpu", torch.bfloat16):
            fast(torch.randn(2, 8, size, size)).sum().backward()  # the input wants none
        assert fast.weight.grad is not None and fast.bias.grad is not None
        fast.requires_grad_(False)
        fast.zero_grad()
        x = torch.randn(2, 8, size, size, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            fast(x).sum().backward()
        assert x.grad is not None and fast.weight.grad is None
        fast.requires_grad_(True)
