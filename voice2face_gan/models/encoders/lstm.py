"""A recurrent voice encoder: mel power through LSTM layers, whose last states identify the speaker.

    log-mel (B, bins, T) -> power, made as loud as speech is on average -> bands (B, T, K)
    pieces of 1.6 s, every 0.8 s, without the noise that is there all the time
    -> LSTM layers -> the last layer's last state h
    t = rectified projection of h, of length 1; the mean over the pieces, again of length 1
    e = linear of t and of the mean states of every layer

Wan, Wang, Papir and Lopez Moreno, "Generalized end-to-end loss for speaker verification", ICASSP 2018: three
LSTM layers on 40 bands, pieces of 1.6 s, embeddings of length 1 (sections 2 and 3). The layers
take the power itself, not its logarithm, as in Resemblyzer's encoder, so that such an encoder can teach each
layer (training/stages/layerwise_distillation.py). In power noise is a sum, so that the level that a band
never falls below can be subtracted (Boll, "Suppression of acoustic noise in speech using spectral
subtraction", 1979).
"""

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.audio.encoder_input import RAW_LOG_MEL
from voice2face_gan.device import autocast, has_recurrent_bf16
from voice2face_gan.models.encoders import ge2e
from voice2face_gan.models.settings import Settings

PIECE, STEP = 160, 80  # frames of 10 ms
LEVEL = 1e-3  # mean square: -30 dB of full scale, to which softer speech is raised
_SILENCE = 1e-10
# The noise of a band: so many times the power of the eighth softest of a piece's frames; so much of each
# frame is left at least. Chosen on validation people: share of e missed in white noise at 10 dB .52 -> .34,
# without noise .133 -> .129.
_QUIET, _NOISE, _LEFT = 8, 2.0, 0.02
_AT_ONCE = 256  # pieces


@dataclass(frozen=True)
class LstmEncoderConfig(Settings):
    """Dimensions of the encoder; the table `encoder` of a checkpoint's config.json.

    Args:
        mel_bins: rows of the log-mel.
        embedding: size of e.
        channels: bands, then the size of each LSTM layer, then that of t; those of GE2E by default.
    """

    table: ClassVar[str] = "encoder"
    type: ClassVar[str] = "lstm"

    mel_bins: int = 64
    embedding: int = 64
    channels: tuple[int, ...] = ge2e.CHANNELS

    def __post_init__(self) -> None:
        self.make_tuples("channels")
        self.check(
            {
                "channels must be three or more: bands, LSTM layers, speaker embedding": len(self.channels)
                > 2,
                "mel_bins, embedding and all channels must be 1 or more": min(
                    (self.mel_bins, self.embedding, *self.channels)
                )
                >= 1,
            }
        )

    @property
    def feature_size(self) -> int:
        """Length of the encoder's `features`."""
        return sum(self.channels[1:])


class LstmEncoder(nn.Module):
    """Log-mel to voice embedding.

    forward: (B, mel_bins, T), any T >= 1, as `log_mel` gives it and not normalised -> (B, embedding), not
        normalised.
    """

    last_name = "last"  # of the linear layer at the end, in the state
    takes = RAW_LOG_MEL
    recurrent = True  # bfloat16 does not train its layers on every device
    has_agreement = True  # it knows how far the pieces of a clip agree (`with_agreement`)
    precision = "auto"  # of the layers where nothing is learned, as in `device.autocast`

    def __init__(self, config: LstmEncoderConfig):
        super().__init__()
        bands, *sizes, projected = config.channels
        # The last output is the mean square of the signal.
        self.bands = nn.Linear(config.mel_bins, bands + 1, bias=False)
        self.layers = nn.ModuleList(
            nn.LSTM(below, size, batch_first=True)
            for below, size in zip([bands, *sizes[:-1]], sizes, strict=True)
        )
        self.projection = nn.Linear(sizes[-1], projected)
        self.last = nn.Linear(projected + sum(sizes), config.embedding)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.last(self.features(log_mel))

    def with_features(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of `forward` and of `features`, in the time of one of them."""
        return self.with_agreement(log_mel)[:2]

    def with_agreement(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of `forward` and of `features`, and how far the clip's pieces agree: the mean cosine (B,)
        between the t of two different ones, from 0 to 1; 1 where there is one piece."""
        features, agreement = self._all(log_mel)
        return self.last(features), features, agreement

    def frozen(self, dtype: torch.dtype) -> nn.Module:
        """The same function for training something else on it: a copy that computes in a precision where the
        device has such layers, else the encoder itself."""
        return AutocastEncoder(self, dtype) if has_recurrent_bf16(next(self.parameters()).device) else self

    def features(self, log_mel: Tensor) -> Tensor:
        """Input of the last linear layer: (B, mel_bins, T) -> t (B, channels[-1]) beside the states of each
        layer, averaged over all frames."""
        return self._all(log_mel)[0]

    def _all(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Features and agreement."""
        pieces = cut(self.band_power(log_mel))
        batch, count = pieces.shape[:2]
        pieces = without_noise(pieces.flatten(0, 1))
        if self.training or torch.compiler.is_exporting() or len(pieces) <= _AT_ONCE:
            each = self._of_pieces(pieces)
        else:  # an hour of speech is 4,500 pieces, and gigabytes of states
            each = torch.cat([self._of_pieces(some) for some in pieces.split(_AT_ONCE)])
        each = each.unflatten(0, (batch, count)).mean(dim=1)
        projected = self.projection.out_features
        t, states = each.split([projected, each.shape[1] - projected], dim=1)
        # Of n vectors of length 1 the squared length of the mean is 1 / n + (1 - 1 / n) x that cosine.
        apart = (1 - t.square().sum(dim=1)) * count / max(count - 1, 1)
        return torch.cat([F.normalize(t, dim=1), states], dim=1), 1 - apart

    def _of_pieces(self, x: Tensor) -> Tensor:
        """(N, PIECE, bands) -> t of each, of length 1, beside the mean states of its layers."""
        means = []
        with self._fast(x.device):
            for layer in self.layers:
                x = layer(x)[0]
                means.append(x.float().mean(dim=1))
            t = self.projection(x[:, -1])
        return torch.cat([F.normalize(t.float().relu(), dim=1), *means], dim=1)

    def _fast(self, device: torch.device):
        """Where a processor multiplies bfloat16 and no gradients are wanted: in a third of the time, a clip's
        e then is 0.0004 of the variance of e away."""
        fast = device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_exporting()
        return autocast(self.precision if fast else "fp32", device)

    def band_power(self, log_mel: Tensor) -> Tensor:
        """Input of the first layer: (B, mel_bins, T) -> the power of each band (B, T, bands). Soft speech is
        raised to LEVEL."""
        with torch.autocast(log_mel.device.type, enabled=False):  # powers span ten decades
            power = self.bands(log_mel.float().exp().transpose(1, 2))
            square = power[..., -1].mean(dim=1).clamp(min=_SILENCE)
            return power[..., :-1] * (LEVEL / square).clamp(min=1.0)[:, None, None]


class AutocastEncoder(nn.Module):
    """The encoder in another precision where PyTorch holds that for safe.

    Args:
        encoder: in evaluation mode; it is copied, later changes to it are not seen.
        dtype: what its layers compute in.

    forward: what the encoder takes -> (B, embedding) float32.
    """

    def __init__(self, encoder: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.encoder, self.dtype = copy.deepcopy(encoder), dtype

    @torch.no_grad()
    def forward(self, voice: Tensor) -> Tensor:
        with torch.autocast(voice.device.type, self.dtype):
            return self.encoder(voice).float()


def without_noise(x: Tensor) -> Tensor:
    """Power of pieces (N, PIECE, bands) without that of the noise below all of the piece."""
    noise = x.topk(_QUIET, dim=1, largest=False).values.amax(dim=1, keepdim=True)
    return torch.maximum(x - _NOISE * noise, _LEFT * x)


def cut(x: Tensor) -> Tensor:
    """Pieces of 1.6 s, every 0.8 s: (B, T, K) -> (B, pieces, PIECE, K). What is shorter is repeated; what is
    left over at the end is not used."""
    frames = x.shape[1]
    starts = torch.arange(0, max(frames - PIECE, 0) + 1, STEP, device=x.device)
    x = x.repeat(1, (PIECE - 1) // frames + 1, 1)  # ONNX divides towards zero
    return x[:, starts[:, None] + torch.arange(PIECE, device=x.device)]
