"""The networks of Wen, Raj and Singh, "Face Reconstruction from Voice using Generative Adversarial
Networks", NeurIPS 2019, and the two variants of them in use.

    recipe          kernels  voice encoder's last conv   generator
    wen2019         4 x 4    plain                        no norm, linear output    (the released settings)
    wen2019-paper   3 x 3    BatchNorm + ReLU             no norm, linear output    (the paper's tables)
    poster2023-*    4 x 4    plain                        BatchNorm2d, tanh output  (Ain Shams poster, 2023)

Shapes: B clips, T frames, N identities. Faces are float32 in [-1, 1] (see faces/pixels.py).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.errors import CheckpointError

_STRAIGHT = 0.6  # of an element's limit: as far as it is left alone


@dataclass(frozen=True)
class Wen2019Config:
    """Dimensions of the 2019 networks; kept in a checkpoint's config.json.

    Args:
        mel_bins: rows of the log-mel the voice encoder reads.
        embedding: size of the voice embedding e, and of the face trunk's output.
        voice_channels: output channels of the voice encoder's first four convolutions (Table 1).
        encoder_norm_last: BatchNorm and ReLU after the fifth voice convolution too (the paper's table).
        voice_pool: "mean", or "recurrent" for the encoder of models/encoders/lstm.py (R3GANConfig).
        generator_channels: output channels of the generator's five up-convolutions.
        trunk_channels: output channels of the face trunk's first five convolutions.
        kernel: side of the stride-2 kernels of generator and trunk: 4 (released) or 3 (paper).
        generator_norm: "none" or "batch" (BatchNorm2d after each up-convolution).
        generator_output: "linear" (2019) or "tanh".
        normalise: the generator takes e / |e|, and e / |e| again after noise is added.
        noise: standard deviation of the Gaussian noise added to each element of e in training.
        zoom: how much larger its faces are than the template of faces/align.py lays them, as those were that
            it learned from.
    """

    mel_bins: int = 64
    embedding: int = 64
    voice_channels: tuple[int, ...] = (256, 384, 576, 864)
    encoder_norm_last: bool = False
    voice_pool: str = "mean"
    generator_channels: tuple[int, ...] = (1024, 512, 256, 128, 64)
    trunk_channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    kernel: int = 4
    generator_norm: str = "none"
    generator_output: str = "linear"
    normalise: bool = True
    noise: float = 0.05
    zoom: float = 1.0

    def __post_init__(self) -> None:
        for name in ("voice_channels", "generator_channels", "trunk_channels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        checks = {
            "kernel must be 3 or 4": self.kernel in (3, 4),
            'generator_norm must be "none" or "batch"': self.generator_norm in ("none", "batch"),
            'generator_output must be "linear" or "tanh"': self.generator_output in ("linear", "tanh"),
            "generator_channels must be five numbers (64 x 64 faces)": len(self.generator_channels) == 5,
            "trunk_channels must be five numbers (64 x 64 faces)": len(self.trunk_channels) == 5,
            "noise must not be negative": self.noise >= 0,
            **voice_checks(self),
            "zoom must be above 0": self.zoom > 0,
            "mel_bins, embedding and all channels must be 1 or more": min(
                (
                    self.mel_bins,
                    self.embedding,
                    *self.voice_channels,
                    *self.generator_channels,
                    *self.trunk_channels,
                )
            )
            >= 1,
        }
        for sentence, holds in checks.items():
            if not holds:
                raise CheckpointError(f"Model settings: {sentence}.")

    @property
    def side(self) -> int:
        """Side of the faces made and judged, in pixels."""
        return 64

    @property
    def voice_features(self) -> int:
        """How many numbers the voice encoder's `features` are."""
        return sum(self.voice_channels[1:]) if self.voice_pool == "recurrent" else self.voice_channels[-1]

    def to_dict(self) -> dict:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def voice_checks(config) -> dict[str, bool]:
    """Sentences about a configuration's voice encoder, and whether they hold."""
    return {
        'voice_pool must be "mean" or "recurrent"': config.voice_pool in ("mean", "recurrent"),
        'encoder_norm_last needs voice_pool = "mean"': not config.encoder_norm_last
        or config.voice_pool == "mean",
        "voice_channels must not be empty": len(config.voice_channels) > 0,
        'voice_pool = "recurrent" needs three voice_channels or more': len(config.voice_channels) > 2
        or config.voice_pool != "recurrent",
    }


def voice_convolutions(mel_bins: int, channels: Sequence[int]) -> list[nn.Module]:
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


class VoiceEncoder(nn.Module):
    """Log-mel to voice embedding (Table 1, "voice embedding network"): five 1-d convolutions of kernel 3
    and stride 2, then the average over time. 2.67 M parameters.

    forward: (B, mel_bins, T), any T >= 1 -> (B, embedding), not normalised.
    """

    raw_log_mel = False  # it takes normalised log-mels

    def __init__(self, config: Wen2019Config):
        super().__init__()
        ends = (config.embedding,) if config.encoder_norm_last else ()
        layers = voice_convolutions(config.mel_bins, (*config.voice_channels, *ends))
        if not ends:
            layers += [nn.Conv1d(config.voice_channels[-1], config.embedding, 3, stride=2, padding=1)]
        self.model = nn.Sequential(*layers)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.model(log_mel).mean(dim=2)  # (B, embedding, T / 32) -> (B, embedding)

    def features(self, log_mel: Tensor) -> Tensor:
        """What the last convolution reads, its mean over time: (B, mel_bins, T) -> (B, voice_channels[-1]).
        It holds what training had no use for in the embedding, such as whether this is a voice at all."""
        return self._parts(log_mel)[1].mean(dim=2)

    def with_features(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `features` give, in the time of one of them."""
        last, hidden = self._parts(log_mel)
        return last(hidden).mean(dim=2), hidden.mean(dim=2)

    @property
    def last_name(self) -> str:
        """Of the last convolution, in the state."""
        return f"model.{self._last()}"

    def _parts(self, log_mel: Tensor) -> tuple[nn.Sequential, Tensor]:
        """The last convolution and what follows it, and what it reads."""
        return self.model[self._last() :], self.model[: self._last()](log_mel)

    def _last(self) -> int:
        return max(i for i, layer in enumerate(self.model) if isinstance(layer, nn.Conv1d))


class Generator(nn.Module):
    """Voice embedding to face (Table 1, "generator"): five transposed convolutions 1 -> 4 -> ... -> 64,
    then a 1 x 1 one to RGB. 12.19 M parameters with 4 x 4 kernels, 7.32 M with 3 x 3.

    forward: (B, embedding) -> (B, 3, 64, 64), aimed at [-1, 1]; without tanh values may lie outside.
    """

    def __init__(self, config: Wen2019Config):
        super().__init__()
        kernel, channels = config.kernel, config.generator_channels
        layers: list[nn.Module] = [nn.ConvTranspose2d(config.embedding, channels[0], 4)]  # 1 -> 4
        for before, after in zip(channels, channels[1:], strict=False):
            layers += self._between(before, config)
            layers += [nn.ConvTranspose2d(before, after, kernel, 2, 1, output_padding=4 - kernel)]  # x 2
        layers += self._between(channels[-1], config)
        layers += [nn.ConvTranspose2d(channels[-1], 3, 1)]
        if config.generator_output == "tanh":
            layers += [nn.Tanh()]
        self.model = nn.Sequential(*layers)

    @staticmethod
    def _between(channels: int, config: Wen2019Config) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(channels)] if config.generator_norm == "batch" else []
        return [*norm, nn.ReLU(inplace=True)]

    def forward(self, e: Tensor) -> Tensor:
        return self.model(e[:, :, None, None])


class FaceTrunk(nn.Module):
    """Face to 64 numbers, shared by discriminator and identity classifier (Table 1, "face embedding").
    3.31 M parameters with 4 x 4 kernels.

    forward: (B, 3, 64, 64) in [-1, 1] -> (B, embedding), not normalised.
    """

    def __init__(self, config: Wen2019Config):
        super().__init__()
        channels = config.trunk_channels
        layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 1), nn.LeakyReLU(0.2, inplace=True)]
        for before, after in zip(channels, channels[1:], strict=False):  # 64 -> 32 -> 16 -> 8 -> 4
            layers += [nn.Conv2d(before, after, config.kernel, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        layers += [nn.Conv2d(channels[-1], config.embedding, 4)]
        self.model = nn.Sequential(*layers)

    def forward(self, face: Tensor) -> Tensor:
        return self.model(face).flatten(1)


class Discriminator(nn.Module):
    """Real or generated, from the trunk's output: (B, embedding) -> (B,) logits."""

    def __init__(self, config: Wen2019Config):
        super().__init__()
        self.model = nn.Linear(config.embedding, 1)

    def forward(self, h: Tensor) -> Tensor:
        return self.model(h).squeeze(1)


class IdentityClassifier(nn.Module):
    """Whose face, from the trunk's output: (B, embedding) -> (B, identities) logits."""

    def __init__(self, config: Wen2019Config, identities: int):
        super().__init__()
        self.model = nn.Linear(config.embedding, identities)

    def forward(self, h: Tensor) -> Tensor:
        return self.model(h)


def predicted(e: Tensor, config: Wen2019Config) -> Tensor:
    """What a voice says of e, from the encoder's output (B, embedding): of length 1 with `normalise`, and in
    any case before strength and limits, which serve the image."""
    return F.normalize(e, dim=1) if config.normalise else e


def condition(
    e: Tensor, config: Wen2019Config, noise: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """What the generator takes, from the encoder's output.

    Args:
        e: (B, embedding), the encoder's output.
        noise: (B, embedding), standard normal; None for none.
        scale: standard deviation to give the noise; default the configuration's. Where e is not normalised
            it is relative to |e|, so that 0.05 means the same disturbance in every variant.
    Returns:
        (B, embedding): normalise(normalise(e) + scale x noise) with `normalise`, else e' + scale |e'| noise
        with e' = strength x e, each element bent to its limit, where the configuration has these.
    """
    scale = config.noise if scale is None else scale
    e = predicted(e, config)
    if config.normalise:
        return e if noise is None or scale == 0 else F.normalize(e + scale * noise, dim=1)
    e = bent(e * getattr(config, "strength", 1.0), getattr(config, "limit", ()))
    return e if noise is None or scale == 0 else e + scale * e.norm(dim=1, keepdim=True) * noise


def bent(e: Tensor, limit: Sequence[float] | Tensor) -> Tensor:
    """Each element of e (B, embedding) as it is up to 0.6 of its limit, then smoothly towards that limit.

    Args:
        limit: (embedding,), above 0; empty for none.
    """
    if not len(limit):
        return e
    largest = torch.as_tensor(limit, device=e.device, dtype=e.dtype)
    straight, size = _STRAIGHT * largest, e.abs()
    room = largest - straight
    beyond = straight + room * torch.tanh((size - straight) / room)
    return e.sign() * torch.where(size < straight, size, beyond)
