"""Types of encoders and generators, as recipes and checkpoints spell them, and how each is built.

A new network is one entry here: its type -> (class of its settings, class of the network).

    every encoder config     mel_bins (None where it takes speech), embedding, feature_size
    every encoder            takes (audio/encoder_input.py), recurrent, has_agreement, last_name, features,
                             with_features, frozen
    every generator config   embedding, side, image_side, z_dim, face_scale, outside_weights
    every generator          forward(e), and forward(e, z) where z_dim is not 0
"""

from torch import Tensor, nn

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.classifier_space import ClassifierSpace
from voice2face_gan.models.encoders.ast import AstEncoder, AstEncoderConfig
from voice2face_gan.models.encoders.conv import ConvEncoder, ConvEncoderConfig
from voice2face_gan.models.encoders.lstm import LstmEncoder, LstmEncoderConfig
from voice2face_gan.models.encoders.none import NO_VOICES, NoEncoder, NoEncoderConfig
from voice2face_gan.models.encoders.speech2face import Speech2FaceEncoder, Speech2FaceEncoderConfig
from voice2face_gan.models.encoders.statistics import StatisticsEncoder, StatisticsEncoderConfig
from voice2face_gan.models.face_embedding_space import FaceSpace
from voice2face_gan.models.face_space_base import BaseFaceSpace
from voice2face_gan.models.generators.appearance_model import AppearanceModel
from voice2face_gan.models.generators.appearance_model_config import AppearanceModelConfig
from voice2face_gan.models.generators.face_decoder import FaceDecoder, FaceDecoderConfig
from voice2face_gan.models.generators.r3gan import R3GANGenerator, R3GANGeneratorConfig
from voice2face_gan.models.generators.wen2019 import Wen2019Generator, Wen2019GeneratorConfig
from voice2face_gan.models.reader_space import ReaderSpace

ENCODERS = {
    "conv": (ConvEncoderConfig, ConvEncoder),
    "lstm": (LstmEncoderConfig, LstmEncoder),
    "statistics": (StatisticsEncoderConfig, StatisticsEncoder),
    "speech2face": (Speech2FaceEncoderConfig, Speech2FaceEncoder),
    "ast": (AstEncoderConfig, AstEncoder),
    "none": (NoEncoderConfig, NoEncoder),
}
GENERATORS = {
    "wen2019": (Wen2019GeneratorConfig, Wen2019Generator),
    "r3gan": (R3GANGeneratorConfig, R3GANGenerator),
    "face_decoder": (FaceDecoderConfig, FaceDecoder),
    "appearance_model": (AppearanceModelConfig, AppearanceModel),
}
_WITH_LANDMARKS = ("face_decoder", "appearance_model")
FACE_SPACES = (FaceSpace, ClassifierSpace, ReaderSpace)
EncoderConfig = (
    ConvEncoderConfig
    | LstmEncoderConfig
    | StatisticsEncoderConfig
    | Speech2FaceEncoderConfig
    | AstEncoderConfig
    | NoEncoderConfig
)
GeneratorConfig = Wen2019GeneratorConfig | R3GANGeneratorConfig | FaceDecoderConfig | AppearanceModelConfig


def encoder_config(settings: dict) -> EncoderConfig:
    """The configuration of an encoder from plain settings, its `type` among them.

    Raises:
        CheckpointError: unknown type or setting, or a value outside its range.
    """
    return _config("encoder", ENCODERS, settings)


def generator_config(settings: dict) -> GeneratorConfig:
    """The configuration of a generator from plain settings; errors as in `encoder_config`."""
    return _config("generator", GENERATORS, settings)


def build_encoder(config: EncoderConfig) -> nn.Module:
    return ENCODERS[config.type][1](config)


def build_generator(config: GeneratorConfig) -> nn.Module:
    return GENERATORS[config.type][1](config)


def learns_landmarks(config: GeneratorConfig) -> bool:
    """True for a generator whose training needs the landmarks of real faces."""
    return config.type in _WITH_LANDMARKS


def face_space_class(tensors: dict[str, Tensor]) -> type[BaseFaceSpace] | None:
    """The kind of face space that gave `map_tensors`; None where they are of none."""
    shapes = {name: tuple(part.shape) for name, part in tensors.items()}
    return next((kind for kind in FACE_SPACES if kind.is_map(shapes)), None)


def takes_voices(config: EncoderConfig) -> bool:
    """False for a checkpoint without a voice encoder."""
    return config.type != NoEncoderConfig.type


def check_takes_voices(config: EncoderConfig, called: str) -> None:
    """
    Args:
        called: what the checkpoint is called, at the beginning of a sentence.
    Raises:
        CheckpointError: it has no voice encoder.
    """
    if not takes_voices(config):
        raise CheckpointError(f"{called} {NO_VOICES}")


def parameters(net: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def _config(table: str, types: dict, settings: dict):
    if not isinstance(settings, dict) or "type" not in settings:
        raise CheckpointError(f"The table {table} has no type; this version knows {', '.join(types)}.")
    kind = settings["type"]
    if not isinstance(kind, str) or kind not in types:
        raise CheckpointError(f"Unknown type of {table} {kind!r}; this version knows {', '.join(types)}.")
    return types[kind][0].from_dict(settings)
