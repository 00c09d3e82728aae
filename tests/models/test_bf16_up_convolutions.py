"""The fast ways of the generator's transposed convolutions are PyTorch's own, forward and backward."""

import pytest
import torch
from torch import nn

from voice2face_gan.models.bf16_convolutions import (
    FirstUpConvolution,
    PointUpConvolution,
    UpConvolution,
    fast_in_bf16,
)


def pair(channels_in: int, channels_out: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    fast, plain = (nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1) for _ in range(2))
    assert type(fast_in_bf16(fast)) is UpConvolution
    plain.load_state_dict(fast.state_dict())
    return fast, plain


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Norm of the difference, relative."""
    a, b = a.detach().float(), b.detach().float()
    return float((a - b).norm() / b.norm())


# Both sides of the size at which it changes its way; not square; few and many channels.
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (8, 8), (3, 7), (16, 16), (16, 5)])
@pytest.mark.parametrize("channels", [(16, 8), (3, 5)])
def test_in_bfloat16_it_gives_what_fp32_gives(size, channels):
    fast, plain = pair(*channels)
    x = torch.randn(3, channels[0], *size)
    x_fast, x_plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = fast(x_fast)
    expected = plain(x_plain)
    assert y.shape == expected.shape
    assert apart(y, expected) < 0.01  # bfloat16 has three digits
    weight = torch.randn_like(expected)
    (y.float() * weight).sum().backward()
    (expected * weight).sum().backward()
    assert apart(x_fast.grad, x_plain.grad) < 0.01
    assert apart(fast.weight.grad, plain.weight.grad) < 0.01
    assert apart(fast.bias.grad, plain.bias.grad) < 0.01


def test_in_fp32_it_is_pytorchs_own():
    fast, plain = pair(8, 4)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(fast(x), plain(x))
    assert torch.autograd.gradcheck(fast.double(), x.double().requires_grad_(), eps=1e-6)


def test_weights_alone_or_input_alone_may_want_a_gradient():
    fast, _ = pair(8, 4)
    for size in (4, 16):
        with torch.autocast("cpu", torch.bfloat16):
            fast(torch.randn(2, 8, size, size)).sum().backward()  # the input wants none
        assert fast.weight.grad is not None
        fast.requires_grad_(False)
        x = torch.randn(2, 8, size, size, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            fast(x).sum().backward()
        assert x.grad is not None
        fast.requires_grad_(True)
        fast.zero_grad()


def test_channels_last_gives_the_same():
    fast, _ = pair(16, 8)
    for size in (4, 16):
        x = torch.randn(2, 16, size, size)
        with torch.autocast("cpu", torch.bfloat16):
            a, b = fast(x), fast(x.contiguous(memory_format=torch.channels_last))
        assert torch.allclose(a.float(), b.float(), atol=0.02)


@pytest.mark.parametrize(
    ("layer", "kernel", "size"),
    [(FirstUpConvolution, 4, 1), (FirstUpConvolution, 4, 2), (PointUpConvolution, 1, 8)],
)
def test_the_first_and_the_last_layer_too(layer, kernel, size):
    torch.manual_seed(0)
    fast, plain = (nn.ConvTranspose2d(6, 5, kernel) for _ in range(2))
    assert type(fast_in_bf16(fast)) is layer
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(3, 6, size, size)
    assert torch.equal(fast(x), plain(x))
    x_fast, x_plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = fast(x_fast)
    expected = plain(x_plain)
    assert y.dtype == torch.bfloat16 and y.shape == expected.shape and apart(y, expected) < 0.01
    weight = torch.randn_like(expected)
    (y.float() * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in ((x_fast, x_plain), (fast.weight, plain.weight), (fast.bias, plain.bias)):
        assert apart(a.grad, b.grad) < 0.01
