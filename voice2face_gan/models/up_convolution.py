"""The generator's transposed convolutions, written so that a CPU trains them in bfloat16 fast.

oneDNN's bfloat16 transposed convolution spends most of its time on weight gradients of wide layers on small
maps, and on layout changes. The ways below compute the same sums with matrix products and convolutions that
it does well; they take channels last. Anywhere else the layers are PyTorch's own.

    stride 2:  y[2i - 1 + k, 2j - 1 + l] += w[:, :, k, l] . x[i, j]      x (B, C, H, W), y (B, O, 2H, 2W)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from voice2face_gan.device import trains_in_bf16
from voice2face_gan.models.columns import add_windows, windows

SMALL = 64  # map positions up to which the matrix product wins


class UpConvolution(nn.ConvTranspose2d):
    """nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1): same weights, same result."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(channels_in, channels_out, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x):
            return super().forward(x)
        return in_bfloat16(self, x, _ByConvolution, _ByMatrixProduct)


class FirstUpConvolution(nn.ConvTranspose2d):
    """nn.ConvTranspose2d(channels_in, channels_out, 4) of a 1 x 1 map, which it makes 4 x 4: as a product."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(channels_in, channels_out, 4)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x) or x.shape[2:] != (1, 1):
            return super().forward(x)
        y = x.flatten(1) @ self.weight.permute(0, 2, 3, 1).flatten(1)  # (B, C) @ (C, 16 O)
        y = y.view(len(x), 4, 4, self.out_channels).permute(0, 3, 1, 2)
        return y + self.bias[:, None, None].to(y.dtype)


class PointUpConvolution(nn.ConvTranspose2d):
    """nn.ConvTranspose2d(channels_in, channels_out, 1). The bias is added apart: in one with it oneDNN's
    backward is three times slower."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x):
            return super().forward(x)
        y = F.conv_transpose2d(x, self.weight)
        return y + self.bias[:, None, None].to(y.dtype)


class _ByMatrixProduct(torch.autograd.Function):
    """One matrix product over channels, then each window is added to where it belongs."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        w = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)  # (C, 16 O)
        ctx.save_for_backward(x, w)
        y = add_windows(x.flatten(0, 2) @ w, *x.shape[:3])
        # The sum comes last, for it is no view: what follows may change it in place without a copy.
        return y.permute(0, 3, 1, 2) + bias[:, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, w = ctx.saved_tensors
        reached = windows(gradient.permute(0, 2, 3, 1))
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = (reached @ w.t()).view(x.shape).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            dw = (x.flatten(0, 2).t() @ reached).view(len(w), 4, 4, -1).permute(0, 3, 1, 2)
        return dx, dw, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


class _ByConvolution(torch.autograd.Function):
    """Backward as the stride-2 convolution that the layer is the transpose of: of x, and of its weights."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv_transpose2d(x, weight, bias, 2, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = F.conv2d(gradient, weight, None, 2, 1)
        if ctx.needs_input_grad[1]:
            dw = weight_gradient(x=gradient, gradient=x, weight=weight)
        return dx, dw, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


def in_bfloat16(layer: nn.Module, x: Tensor, large, small) -> Tensor:
    """What a layer makes of x (B, C, H, W), by one of two functions of x, weight and bias: `large` where the
    map has more than SMALL positions."""
    function = large if x.shape[2] * x.shape[3] > SMALL else small
    with torch.autocast("cpu", enabled=False):
        return function.apply(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())


def weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """Of the 4 x 4, stride 2, padding 1 convolution of x. Without the bias's: with it oneDNN is slower."""
    settings = (None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])
    return torch.ops.aten.convolution_backward(gradient, x, weight, *settings)[1]
