"""A voice encoder of statistics: the power of local differences of the log-mel, then one linear layer.

Jitter, tremor and breathiness, which show age, are noise between harmonics and from frame to frame. A mean
over time of a linear map of normalised log-mels loses them; the power of their differences keeps them.
Differences of log-mels over frames are Furui's dynamic features (IEEE TASSP 34(1), 1986); here they are taken
over bins too, and squared. The linear layer is fitted in closed form (training/stages/ridge_encoder.py).

Measured on 200 test people of the synthetic world, with 35 of these 80 differences: R2 of what the voice
determines .62; five 1-d convolutions trained for three minutes to predict the same .45
(experiments/labbook/synthetic-world.md).

Shapes: B clips, T frames, S statistics.
"""

import copy
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.audio.encoder_input import LOG_MEL
from voice2face_gan.models.settings import Settings

# The first kernel leaves the dimension alone. Then, over frames: first differences of lag 1, 2, 4 and 3,
# second ones of lag 1 and 2, a third one, the mean, a smoothed first difference.
OVER_TIME = (
    (0, 0, 1, 0, 0),
    (0, 1, -1, 0, 0),
    (0, 1, 0, -1, 0),
    (1, 0, 0, 0, -1),
    (0, 1, 0, 0, -1),
    (0, 1, -2, 1, 0),
    (1, 0, -2, 0, 1),
    (1, -3, 3, -1, 0),
    (0.2, 0.2, 0.2, 0.2, 0.2),
    (-1, 2, 0, -2, 1),
)
# Over bins: first differences of lag 1 and 2, second ones likewise, the mean, a third and a fourth one.
OVER_BINS = (
    (0, 0, 1, 0, 0),
    (0, 1, -1, 0, 0),
    (0, 1, 0, -1, 0),
    (0, 1, -2, 1, 0),
    (1, 0, -2, 0, 1),
    (0.2, 0.2, 0.2, 0.2, 0.2),
    (0, 1, -3, 3, -1),
    (1, -4, 6, -4, 1),
)
_REACH = 2  # frames and bins that a kernel reaches to either side
_FLOOR = 1e-3  # added to a power before its logarithm; the log-mel's own variance is 1


@dataclass(frozen=True)
class StatisticsEncoderConfig(Settings):
    """Dimensions of the encoder; the table `encoder` of a checkpoint's config.json.

    Args:
        mel_bins: rows of the log-mel.
        embedding: size of e.
    """

    table: ClassVar[str] = "encoder"
    type: ClassVar[str] = "statistics"

    mel_bins: int = 64
    embedding: int = 64

    def __post_init__(self) -> None:
        self.check({"mel_bins and embedding must be 1 or more": min(self.mel_bins, self.embedding) >= 1})

    @property
    def feature_size(self) -> int:
        """S, how many numbers the encoder's `features` are."""
        return len(OVER_TIME) * len(OVER_BINS) * self.mel_bins


class StatisticsEncoder(nn.Module):
    """Log-mel to voice embedding: log power of 80 local differences in each bin, over the loud frames of the
    clip, then a linear layer. 0.33 M parameters, zero until they are fitted.

    forward: (B, mel_bins, T), any T >= 1 -> (B, embedding), not normalised.
    """

    takes = LOG_MEL
    recurrent = False  # it has no LSTM layers, which bfloat16 does not train on every device
    has_agreement = False  # it does not know how far the pieces of a clip agree
    last_name = "last"  # of the linear layer, in the state

    def __init__(self, config: StatisticsEncoderConfig):
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.feature_size))
        self.register_buffer("std", torch.ones(config.feature_size))
        self.last = nn.Linear(config.feature_size, config.embedding)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.last(self.features(log_mel))

    def features(self, log_mel: Tensor) -> Tensor:
        """Standardised statistics: (B, mel_bins, T) -> (B, S)."""
        return (self.statistics(log_mel) - self.mean) / self.std

    def with_features(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `features` give, in the time of one of them."""
        features = self.features(log_mel)
        return self.last(features), features

    def frozen(self, dtype: torch.dtype) -> nn.Module:
        """A copy for training something else on it. It computes in float32 whatever the precision: powers of
        small differences need its digits."""
        return copy.deepcopy(self)

    def statistics(self, log_mel: Tensor) -> Tensor:
        """Log powers of the differences: (B, mel_bins, T) -> (B, S).

        A frame is loud where the mean over its normalised bins is above 0, the clip's mean.
        """
        # The last frame is repeated; clips shorter than the differences' reach count one position of that. No
        # branch on the length: exported graphs take any.
        _, bins, inner = log_mel.shape
        x = torch.cat([log_mel, log_mel[:, :, -1:].expand(-1, -1, 2 * _REACH)], dim=2)
        place = torch.arange(inner, device=x.device)
        counts = (place < inner - 2 * _REACH) | (place == 0)
        loud = x[:, :, _REACH : _REACH + inner].mean(dim=1, keepdim=True) > 0
        loud = (loud & counts).to(x.dtype)  # (B, 1, inner)
        count = loud.sum(dim=2) + 1  # the one keeps a clip without a loud frame finite
        padded = F.pad(x, (0, 0, _REACH, _REACH), mode="replicate")
        found = []
        over_bins = [_shifted_sum(padded, kernel, 1, bins) for kernel in OVER_BINS]
        for y, kernel in product(over_bins, OVER_TIME):
            difference = _shifted_sum(y, kernel, 2, inner)  # (B, mel_bins, inner)
            found.append(((difference.square() * loud).sum(dim=2) / count + _FLOOR).log())
        return torch.cat(found, dim=1)


def _shifted_sum(x: Tensor, kernel: tuple[float, ...], dim: int, size: int) -> Tensor:
    """Correlation of x with a kernel along a dimension, the valid part, of length `size`.

    Few taps are not 0: this is several times faster than a convolution of one channel."""
    return sum(weight * x.narrow(dim, i, size) for i, weight in enumerate(kernel) if weight)
