"""The voice encoder of Wen, Raj and Singh, "Face Reconstruction from Voice using Generative Adversarial
Networks", NeurIPS 2019, Table 1.

    recipe          last convolution
    wen2019         plain                (the released code)
    wen2019-paper   BatchNorm + ReLU     (the paper's table)

Shapes: B clips, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from voice2face_gan.audio.encoder_input import LOG_MEL
from voice2face_gan.models.settings import Settings


@dataclass(frozen=True)
class ConvEncoderConfig(Settings):
    """Dimensions of the encoder; the table `encoder` of a checkpoint's config.json.

    Args:
        mel_bins: rows of the log-mel.
        embedding: size of e.
        channels: output channels of all convolutions but the last (Table 1).
        norm_last: BatchNorm and ReLU after the last convolution too (the paper's table).
    """

    table: ClassVar[str] = "encoder"
    type: ClassVar[str] = "conv"

    mel_bins: int = 64
    embedding: int = 64
    channels: tuple[int, ...] = (256, 384, 576, 864)
    norm_last: bool = False

    def __post_init__(self) -> None:
        self.make_tuples("channels")
        smallest = min((self.mel_bins, self.embedding, *self.channels))
        self.check(
            {
                "channels must not be empty": len(self.channels) > 0,
                "mel_bins, embedding and all channels must be 1 or more": smallest >= 1,
            }
        )

    @property
    def feature_size(self) -> int:
        """How many numbers the encoder's `features` are."""
        return self.channels[-1]


class ConvEncoder(nn.Module):
    """Log-mel to voice embedding (Table 1, "voice embedding network"): five 1-d convolutions of kernel 3
    and stride 2, then the average over time. 2.67 M parameters.

    forward: (B, mel_bins, T), any T >= 1 -> (B, embedding), not normalised.
    """

    takes = LOG_MEL
    recurrent = False  # it has no LSTM layers, which bfloat16 does not train on every device
    has_agreement = False  # it does not know how far the pieces of a clip agree

    def __init__(self, config: ConvEncoderConfig):
        super().__init__()
        ends = (config.embedding,) if config.norm_last else ()
        layers = _convolutions(config.mel_bins, (*config.channels, *ends))
        if not ends:
            layers += [nn.Conv1d(config.channels[-1], config.embedding, 3, stride=2, padding=1)]
        self.model = nn.Sequential(*layers)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.model(log_mel).mean(dim=2)  # (B, embedding, T / 32) -> (B, embedding)

    def features(self, log_mel: Tensor) -> Tensor:
        """Input of the last convolution, its mean over time: (B, mel_bins, T) -> (B, channels[-1]). It holds
        what training had no use for in the embedding, such as whether this is a voice at all."""
        return self._parts(log_mel)[1].mean(dim=2)

    def with_features(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `features` give, in the time of one of them."""
        last, hidden = self._parts(log_mel)
        return last(hidden).mean(dim=2), hidden.mean(dim=2)

    def frozen(self, dtype: torch.dtype) -> nn.Module:
        """The same function for training something else on it: a copy that computes in a precision."""
        return FusedEncoder(self, dtype)

    @property
    def last_name(self) -> str:
        """Of the last convolution, in the state."""
        return f"model.{self._last()}"

    def _parts(self, log_mel: Tensor) -> tuple[nn.Sequential, Tensor]:
        """The last convolution and what follows it, and its input."""
        return self.model[self._last() :], self.model[: self._last()](log_mel)

    def _last(self) -> int:
        return max(i for i, layer in enumerate(self.model) if isinstance(layer, nn.Conv1d))


class FusedEncoder(nn.Module):
    """The encoder with batch normalisation fused into the convolutions before it, in one precision, and
    channels last, which 1-d convolutions do not take: in bfloat16 on a CPU it is twice as fast.

    Args:
        encoder: in evaluation mode; it is copied, later changes to it are not seen.
        dtype: what the convolutions compute in.

    forward: (B, mel_bins, T), any T >= 1 -> (B, embedding) float32, as the encoder gives it.
    """

    def __init__(self, encoder: ConvEncoder, dtype: torch.dtype):
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


def _convolutions(mel_bins: int, channels: Sequence[int]) -> list[nn.Module]:
    """Layers from (B, mel_bins, T) to (B, channels[-1], T / 2^n): n times a convolution of kernel 3 and
    stride 2, batch normalisation and a rectifier (Table 1)."""
    layers: list[nn.Module] = []
    for before, after in zip((mel_bins, *channels), channels, strict=False):
        layers += [
            nn.Conv1d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm1d(after),
            nn.ReLU(inplace=True),
        ]
    return layers
