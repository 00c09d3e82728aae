"""Architecture names, as recipes and checkpoints spell them, and how each is built."""

from dataclasses import fields

from torch import nn

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models import modern, wen2019
from voice2face_gan.models.encoders.lstm import RecurrentEmbedder

ARCHITECTURES = {"wen2019": wen2019.Wen2019Config, "modern": modern.ModernConfig}
ModelConfig = wen2019.Wen2019Config | modern.ModernConfig


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


def build_embedder(config: ModelConfig) -> nn.Module:
    if config.voice_pool == "recurrent":
        return RecurrentEmbedder(config.mel_bins, config.voice_channels, config.embedding)
    return wen2019.VoiceEmbedder(config)


def build_generator(config: ModelConfig) -> nn.Module:
    return modern.Generator(config) if isinstance(config, modern.ModernConfig) else wen2019.Generator(config)


def parameters(net: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
