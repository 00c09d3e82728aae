"""A frozen voice encoder for training something else on it: the same function with less work."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from voice2face_gan.device import has_recurrent_bf16
from voice2face_gan.models.encoders.lstm import LstmEncoder
from voice2face_gan.models.wen2019 import VoiceEncoder


def frozen(encoder: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The encoder, in evaluation mode, as it is quickest in a precision; itself where the device has no such
    layers."""
    if not isinstance(encoder, LstmEncoder):
        return FusedEncoder(encoder, dtype)
    return (
        AutocastEncoder(encoder, dtype) if has_recurrent_bf16(next(encoder.parameters()).device) else encoder
    )


class AutocastEncoder(nn.Module):
    """The encoder in another precision where PyTorch thinks that safe; arguments as in FusedEncoder.

    forward: (B, mel_bins, T), any T >= 1 -> (B, embedding) float32.
    """

    def __init__(self, encoder: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.encoder, self.dtype = copy.deepcopy(encoder), dtype

    @torch.no_grad()
    def forward(self, log_mel: Tensor) -> Tensor:
        with torch.autocast(log_mel.device.type, self.dtype):
            return self.encoder(log_mel).float()


class FusedEncoder(nn.Module):
    """The encoder with batch normalisation folded into the convolutions before it, in one precision, and
    channels last, which 1-d convolutions do not take: in bfloat16 on a CPU it is twice as fast.

    Args:
        encoder: in evaluation mode; it is copied, later changes to it are not seen.
        dtype: what the convolutions compute in.

    forward: (B, mel_bins, T), any T >= 1 -> (B, embedding) float32, as the encoder gives it.
    """

    def __init__(self, encoder: VoiceEncoder, dtype: torch.dtype):
        super().__init__()
        self.layers: list[
            tuple[Tensor, Tensor, bool]
        ] = []  # weight (O, C, 1, 3), bias, whether a ReLU follows
        modules = list(encoder.model)
        for i, module in enumerate(modules):
            if not isinstance(module, nn.Conv1d):
                continue
            after = modules[i + 1 : i + 3]
            normalised = bool(after) and isinstance(after[0], nn.BatchNorm1d)
            conv = fuse_conv_bn_eval(module, after[0]) if normalised else module
            weight = conv.weight.detach()[:, :, None].to(dtype, memory_format=torch.channels_last)
            self.layers.append((weight, conv.bias.detach().to(dtype), normalised))

    @torch.no_grad()
    def forward(self, log_mel: Tensor) -> Tensor:
        x = log_mel[:, :, None].to(self.layers[0][0].dtype, memory_format=torch.channels_last)
        for weight, bias, rectified in self.layers:
            x = F.conv2d(x, weight, bias, (1, 2), (0, 1))  # (B, C, 1, T) -> (B, O, 1, T / 2)
            x = x.relu_() if rectified else x
        return x[:, :, 0].float().mean(dim=2)
