"""Architecture names, as recipes and checkpoints spell them, and how each is built."""

from dataclasses import fields

from torch import nn

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models import r3gan, wen2019
from voice2face_gan.models.encoders.lstm import LstmEncoder

ARCHITECTURES = {"wen2019": wen2019.Wen2019Config, "r3gan": r3gan.R3GANConfig}
ModelConfig = wen2019.Wen2019Config | r3gan.R3GANConfig


def model_config(architecture: str, settings: dict) -> ModelConfig:
    """The configuration object of an architecture from plain settings.

    Raises:
        CheckpointError: unknown architecture or setting, or a value outside its range.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise CheckpointError(f"Unknown architecture '{architecture}'; this version knows {known}.")
    kind = ARCHITECTURES[architecture]
    unknown = sorted(set(settings) - {f.name for f in fields(kind)})
    if unknown:
        raise CheckpointError(f"Architecture '{architecture}' has no setting '{unknown[0]}'.")
    return kind(**settings)


def build_encoder(config: ModelConfig) -> nn.Module:
    if config.voice_pool == "recurrent":
        return LstmEncoder(config.mel_bins, config.voice_channels, config.embedding)
    return wen2019.VoiceEncoder(config)


def build_generator(config: ModelConfig) -> nn.Module:
    return r3gan.Generator(config) if isinstance(config, r3gan.R3GANConfig) else wen2019.Generator(config)


def parameters(net: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
