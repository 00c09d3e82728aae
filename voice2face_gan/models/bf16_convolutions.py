"""Faster training of Wen et al.'s convolutions in bfloat16 on a CPU with AMX: `fast_in_bf16(net)`.

oneDNN's bfloat16 transposed convolution spends most of its time on weight gradients of wide layers on small
maps, and on layout changes; its convolution computes the bias's gradient along, which costs it the fast
kernels of the weights'. The classes below compute the same sums with matrix products and convolutions that it
does well; they take channels last. Outside bfloat16 training on a CPU the layers stay PyTorch's own.

    up, stride 2:    y[2i - 1 + k, 2j - 1 + l] += w[:, :, k, l] . x[i, j]     x (B, C, H, W), y (B, O, 2H, 2W)
    down, stride 2:  its transpose

4 x 4 windows at stride 2, padding 1, are laid out as the rows of a matrix, and back (im2col, col2im): images
(B, 2H, 2W, C), and windows (B x H x W, 16 C), the columns in the order row, column, channel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from voice2face_gan.device import trains_in_bf16

_SMALL = 64  # map positions up to which the matrix product wins


def fast_in_bf16(net: nn.Module) -> nn.Module:
    """The network itself, each of its layers that has a faster way changed to the class that knows it. Names
    and weights of its state stay as they are."""
    for layer in net.modules():
        for kind in (UpConvolution, FirstUpConvolution, PointUpConvolution, DownConvolution, LastConvolution):
            if type(layer) is kind.__base__ and kind.fits(layer):
                layer.__class__ = kind
                break
    return net


def _is(layer: nn.Module, kernel: int, stride: int, padding: int) -> bool:
    return (layer.kernel_size, layer.stride, layer.padding) == tuple(
        (n, n) for n in (kernel, stride, padding)
    ) and layer.bias is not None


class UpConvolution(nn.ConvTranspose2d):
    """nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1): same weights, same result."""

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        return _is(layer, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x):
            return super().forward(x)
        return _in_bfloat16(self, x, _UpByConvolution, _UpByMatrixProduct)


class FirstUpConvolution(nn.ConvTranspose2d):
    """nn.ConvTranspose2d(channels_in, channels_out, 4) of a 1 x 1 map, which it makes 4 x 4: as a product."""

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        return _is(layer, 4, 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x) or x.shape[2:] != (1, 1):
            return super().forward(x)
        y = x.flatten(1) @ self.weight.permute(0, 2, 3, 1).flatten(1)  # (B, C) @ (C, 16 O)
        y = y.view(len(x), 4, 4, self.out_channels).permute(0, 3, 1, 2)
        return y + self.bias[:, None, None].to(y.dtype)


class PointUpConvolution(nn.ConvTranspose2d):
    """nn.ConvTranspose2d(channels_in, channels_out, 1). The bias is added apart: in one with it oneDNN's
    backward is three times slower."""

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        return _is(layer, 1, 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x):
            return super().forward(x)
        y = F.conv_transpose2d(x, self.weight)
        return y + self.bias[:, None, None].to(y.dtype)


class DownConvolution(nn.Conv2d):
    """nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1): same weights, same result."""

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        return _is(layer, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x) or x.shape[2] % 2 or x.shape[3] % 2:
            return super().forward(x)
        return _in_bfloat16(self, x, _DownByConvolution, _DownByMatrixProduct)


class LastConvolution(nn.Conv2d):
    """nn.Conv2d(channels_in, channels_out, 4) of a 4 x 4 map, which it makes 1 x 1: as a matrix product."""

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        return _is(layer, 4, 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        if not trains_in_bf16(x) or x.shape[2:] != (4, 4):
            return super().forward(x)
        rows, w = x.permute(0, 2, 3, 1).flatten(1), self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(rows, w, self.bias)[:, :, None, None]  # (B, 16 C) @ (16 C, O)


class _UpByMatrixProduct(torch.autograd.Function):
    """One matrix product over channels, then each window is added to where it belongs."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        w = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)  # (C, 16 O)
        ctx.save_for_backward(x, w)
        y = _add_windows(x.flatten(0, 2) @ w, *x.shape[:3])
        # The sum comes last, for it is no view: what follows may change it in place without a copy.
        return y.permute(0, 3, 1, 2) + bias[:, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, w = ctx.saved_tensors
        reached = _windows(gradient.permute(0, 2, 3, 1))
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = (reached @ w.t()).view(x.shape).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            dw = (x.flatten(0, 2).t() @ reached).view(len(w), 4, 4, -1).permute(0, 3, 1, 2)
        return dx, dw, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


class _UpByConvolution(torch.autograd.Function):
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
            dw = _weight_gradient(x=gradient, gradient=x, weight=weight)
        return dx, dw, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


class _DownByMatrixProduct(torch.autograd.Function):
    """Windows as rows of a matrix, and one product."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        seen = _windows(x.permute(0, 2, 3, 1))
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
            dx = _add_windows(rows @ w, *gradient.shape[:3]).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            dw = (rows.t() @ seen).view(len(w), 4, 4, -1).permute(0, 3, 1, 2)
        return dx, dw, rows.sum(0) if ctx.needs_input_grad[2] else None


class _DownByConvolution(torch.autograd.Function):
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
        if ctx.needs_input_grad[1] and gradient.shape[2] * gradient.shape[3] > _SMALL:
            dw = _weight_gradient(x, gradient, weight)
        elif ctx.needs_input_grad[1]:
            rows, seen = (
                gradient.permute(0, 2, 3, 1).reshape(-1, len(weight)),
                _windows(x.permute(0, 2, 3, 1)),
            )
            dw = (rows.t() @ seen).view(len(weight), 4, 4, -1).permute(0, 3, 1, 2)
        return dx, dw, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


def _in_bfloat16(layer: nn.Module, x: Tensor, large, small) -> Tensor:
    """What a layer makes of x (B, C, H, W), by one of two functions of x, weight and bias: `large` where the
    map has more than _SMALL positions."""
    function = large if x.shape[2] * x.shape[3] > _SMALL else small
    with torch.autocast("cpu", enabled=False):
        return function.apply(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())


def _weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """Of the 4 x 4, stride 2, padding 1 convolution of x. Without the bias's: with it oneDNN is slower."""
    settings = (None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])
    return torch.ops.aten.convolution_backward(gradient, x, weight, *settings)[1]


# Which kernel rows reach the even and the odd rows of the image: row 2i lies in window i at its row 1 and
# in window i - 1 at its row 3; row 2i + 1 in window i at its row 2 and in window i + 1 at its row 0. (parity,
# row, row of the neighbour, where the neighbour's share goes, where it comes from.)
_ROWS = (
    (0, 1, 3, slice(1, None), slice(None, -1)),
    (1, 2, 0, slice(None, -1), slice(1, None)),
)


def _windows(image: Tensor) -> Tensor:
    """Each window of the image: (B, 2H, 2W, C) -> (B x H x W, 16 C)."""
    batch, height, width, channels = image.shape
    padded = F.pad(image, (0, 0, 1, 1, 1, 1)).contiguous()
    b, i, j, c = padded.stride()
    shape = (batch, height // 2, width // 2, 4, 4, channels)
    return padded.as_strided(shape, (b, 2 * i, 2 * j, i, j, c)).reshape(-1, 16 * channels)


def _add_windows(values: Tensor, batch: int, height: int, width: int) -> Tensor:
    """The sum of what each window holds for a place: (B x H x W, 16 C) -> (B, 2H, 2W, C)."""
    values = values.view(batch, height, width, 4, 4, -1)
    image = values.new_empty(batch, height, 2, width, 2, values.shape[-1])
    for row, k, k_next, to_y, from_y in _ROWS:
        for column, n, n_next, to_x, from_x in _ROWS:
            part = image[:, :, row, :, column]
            part.copy_(values[:, :, :, k, n])
            part[:, to_y] += values[:, from_y, :, k_next, n]
            part[:, :, to_x] += values[:, :, from_x, k, n_next]
            part[:, to_y, to_x] += values[:, from_y, from_x, k_next, n_next]
    return image.view(batch, 2 * height, 2 * width, -1)
