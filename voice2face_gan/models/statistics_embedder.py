"""A voice embedder that weighs what it hears: Wen's convolutions, then attentive statistics for a mean.

    log-mel -> four 1-d convolutions of stride 2 -> h (B, C, T / 16)
    a = softmax over time of W2 tanh(W1 [h, mean of h, deviation of h])      for every channel
    s = [sum of a h, root of (sum of a h^2 - (sum of a h)^2)]                (B, 2 C)
    e = linear of the batch-normalised s

With levels it takes a log-mel as it is and normalises it itself, and hears beside each normalised bin how
loud the bin is on the clip's average, which normalisation takes away: the long-term spectrum tells of a
throat as well as of a microphone, and training distorts the second.

Okabe, Koshinaka and Shinoda, "Attentive statistics pooling for deep speaker embedding", Interspeech 2018
(equations 4 to 6), with a weight for every channel and the context of the whole clip, as ECAPA-TDNN has them
(Desplanques et al., Interspeech 2020, section 3.2).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.models.wen2019 import voice_convolutions

_HIDDEN = 128  # of the attention
_LEAST = 1e-4  # variance, below which a deviation's gradient would grow without bound
_QUIET = 1e-2  # nats; a bin that varies less is noise of rounding
_NATS, _LOUDEST = 2.0, 3.0  # of bins' levels: what counts as 1, and where they are cut off


class AttentiveStatistics(nn.Module):
    """Weighted mean and standard deviation over time of each channel.

    forward: (B, C, T), any T >= 1 -> float32 (B, 2 C).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv1d(3 * channels, _HIDDEN, 1)
        self.second = nn.Conv1d(_HIDDEN, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        h = h.float()  # differences of squares
        mean = h.mean(dim=2, keepdim=True)
        deviation = _root((h - mean).square().mean(dim=2, keepdim=True))
        context = torch.cat([h, mean.expand_as(h), deviation.expand_as(h)], dim=1)
        weight = F.softmax(self.second(torch.tanh(self.first(context))).float(), dim=2)
        mean = (weight * h).sum(dim=2)
        return torch.cat([mean, _root((weight * h.square()).sum(dim=2) - mean.square())], dim=1)


class StatisticsEmbedder(nn.Module):
    """Log-mel to voice embedding.

    Args:
        mel_bins, channels, embedding: sizes.
        levels: hear the bins' levels too.

    forward: (B, mel_bins, T), any T >= 1, normalised or, with levels, as `log_mel` gives it ->
        (B, embedding), not normalised.
    """

    last_name = "last"  # of the linear layer at the end, in the state

    def __init__(self, mel_bins: int, channels: tuple[int, ...], embedding: int, levels: bool = False):
        super().__init__()
        self.levels = levels
        self.model = nn.Sequential(*voice_convolutions(mel_bins * (1 + levels), channels))
        self.pool = AttentiveStatistics(channels[-1])
        self.norm = nn.BatchNorm1d(2 * channels[-1])
        self.last = nn.Linear(2 * channels[-1], embedding)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.last(self.features(log_mel))

    def features(self, log_mel: Tensor) -> Tensor:
        """What the linear layer reads: (B, mel_bins, T) -> (B, 2 x the last channels). It holds what training
        had no use for in the embedding, such as whether this is a voice at all."""
        return self.norm(self.pool(self.model(self.heard(log_mel))))

    def heard(self, log_mel: Tensor) -> Tensor:
        """What the first convolution takes: the log-mel, or with levels (B, 2 mel_bins, T), each bin
        normalised over time, then how far its mean is above that of all bins."""
        if not self.levels:
            return log_mel
        x = log_mel.float()  # differences of large numbers
        mean = x.mean(dim=2, keepdim=True)
        away = x - mean
        spread = away.square().mean(dim=2, keepdim=True).sqrt().clamp(min=_QUIET)
        level = ((mean - mean.mean(dim=1, keepdim=True)) / _NATS).clamp(-_LOUDEST, _LOUDEST)
        return torch.cat([away / spread, level.expand_as(x)], dim=1)

    def with_features(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `features` give, in the time of one of them."""
        features = self.features(log_mel)
        return self.last(features), features


def _root(variance: Tensor) -> Tensor:
    return variance.clamp(min=_LEAST).sqrt()
