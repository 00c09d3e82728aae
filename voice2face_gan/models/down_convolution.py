"""The face trunk's convolutions, written so that a CPU trains them in bfloat16 fast.

The twin of up_convolution.py, of which the stride-2 layer is the transpose: what is forward there is the
input's gradient here. oneDNN's own backward computes the bias's gradient along, which costs it the fast
kernels of the weights'; and it is slow for wide layers on small maps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from voice2face_gan.device import trains_in_bf16
from voice2face_gan.models.columns import add_windows, windows
from voice2face_gan.models.up_convolution import SMALL, in_bfloat16, weight_gradient


class DownConvolution(nn.Conv2d):
    """nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1): same weights, same result."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(channels_in, channels_out, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x) or x.shape[2] % 2 or x.shape[3] % 2:
            return super().forward(x)
        return in_bfloat16(self, x, _ByConvolution, _ByMatrixProduct)


class LastConvolution(nn.Conv2d):
    """nn.Conv2d(channels_in, channels_out, 4) of a 4 x 4 map, which it makes 1 x 1: as a matrix product."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(channels_in, channels_out, 4)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x) or x.shape[2:] != (4, 4):
            return super().forward(x)
        rows, w = x.permute(0, 2, 3, 1).flatten(1), self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(rows, w, self.bias)[:, :, None, None]  # (B, 16 C) @ (16 C, O)


class _ByMatrixProduct(torch.autograd.Function):
    """Windows as rows of a matrix, and one product."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        seen = windows(x.permute(0, 2, 3, 1))
        w = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)  # (O, 16 C)
        ctx.save_for_backward(seen if ctx.needs_input_grad[1] else None, w)
        y = (seen @ w.t()).view(batch, height // 2, width // 2, len(w))
        return y.permute(0, 3, 1, 2) + bias[:, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        seen, w = ctx.saved_tensors
        gradient = gradient.permute(0, 2, 3, 1)
        rows = gradient.reshape(-1, len(w))
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = add_windows(rows @ w, *gradient.shape[:3]).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            dw = (rows.t() @ seen).view(len(w), 4, 4, -1).permute(0, 3, 1, 2)
        return dx, dw, rows.sum(0) if ctx.needs_input_grad[2] else None


class _ByConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, 2, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = F.conv_transpose2d(gradient, weight, None, 2, 1)
        if ctx.needs_input_grad[1] and gradient.shape[2] * gradient.shape[3] > SMALL:
            dw = weight_gradient(x, gradient, weight)
        elif ctx.needs_input_grad[1]:
            rows, seen = gradient.permute(0, 2, 3, 1).reshape(-1, len(weight)), windows(x.permute(0, 2, 3, 1))
            dw = (rows.t() @ seen).view(len(weight), 4, 4, -1).permute(0, 3, 1, 2)
        return dx, dw, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
