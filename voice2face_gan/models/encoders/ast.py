"""The Audio Spectrogram Transformer as a voice encoder: speech, as a filterbank, to the feature of a face.

Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021: patches of 16 x 16 with a step
of 10, 12 x 101 of 128 bins and 1024 frames, two further tokens, twelve layers of 768. The network is Hugging
Face's ASTModel (extra `speech2face`), from a folder with its config.json and model.safetensors, or from a
name on the hub. Its pooled output goes through a layer norm and a linear layer, as AST's own classifier has
it. First the head alone is trained, then everything (`train_only_head`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from voice2face_gan.audio.encoder_input import SPEECH
from voice2face_gan.audio.fbank import NORMS, fbanks
from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.models.encoders.lstm import AutocastEncoder
from voice2face_gan.models.settings import Settings

PUBLISHED = "MIT/ast-finetuned-audioset-10-10-0.4593"


_WIDTH = 768  # of the published network
_OF_FILES = ("transformers_version", "architectures", "model_type", "dtype", "_name_or_path")


@dataclass(frozen=True)
class AstEncoderConfig(Settings):
    """Dimensions of the encoder; the table `encoder` of a checkpoint's config.json.

    Args:
        embedding: numbers of the feature: of e, or of a face reader.
        last_relu: the feature comes after a ReLU, as VGG-Face's fc7 does; must be off for features with
            negative numbers, such as the e of a face space.
        ast: settings of transformers' ASTConfig that differ from the published network's.
        norms: which filterbank it takes: a name in `audio.fbank.NORMS`; bins and frames are the network's.
    """

    table: ClassVar[str] = "encoder"
    type: ClassVar[str] = "ast"
    mel_bins: ClassVar[None] = None  # it takes speech

    embedding: int = 64
    last_relu: bool = True
    ast: dict[str, Any] = field(default_factory=dict)
    norms: str = "audioset"

    def __post_init__(self) -> None:
        self.check(
            {
                "embedding must be 1 or more": self.embedding >= 1,
                "ast must be a table of ASTConfig's settings": isinstance(self.ast, dict),
                f"norms must be {', '.join(NORMS)}": self.norms in NORMS,
            }
        )

    @property
    def feature_size(self) -> int:
        """Length of the encoder's `features`."""
        return self.ast.get("hidden_size", _WIDTH)


class AstNet(nn.Module):
    """Filterbank to face feature.

    Args:
        embedding: numbers of the feature, those of the face reader.
        settings: of ASTConfig, as `config["ast"]` keeps them; {} for the published network's.
        last_relu: the feature comes after a ReLU, as VGG-Face's fc7 does.

    forward: (B, n_mels, frames), as `audio.fbank.fbanks` gives it, with the network's own number of frames ->
        (B, embedding).

    Raises:
        CheckpointError: the extra is missing, or the settings are not ASTConfig's.
    """

    last_name = "last"  # of the linear layer at the end, in the state

    def __init__(self, embedding: int, settings: dict[str, Any] | None = None, last_relu: bool = False):
        super().__init__()
        transformers = _transformers()
        if unknown := sorted(set(settings or {}) - set(transformers.ASTConfig().to_dict())):
            raise CheckpointError(f"An AST has no setting '{unknown[0]}'.")
        try:
            self._build(
                transformers.ASTModel(transformers.ASTConfig(**(settings or {}))), embedding, last_relu
            )
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"These settings of an AST cannot be ({first_line(error)}).") from error

    @classmethod
    def from_pretrained(cls, source: str | Path, embedding: int, last_relu: bool = False) -> AstNet:
        """An encoder with a trained AST and a new head.

        Args:
            source: a local folder, or a name on the Hugging Face hub, such as PUBLISHED; a name is downloaded
                once, unless $V2F_OFFLINE is set.
            embedding, last_relu: as of the class.
        Raises:
            CheckpointError: the extra is missing, or the source is not an AST.
        """
        transformers = _transformers()
        if not Path(source).is_dir() and (
            str(source).startswith((".", "/", "~")) or str(source).count("/") > 1
        ):
            raise CheckpointError(
                f"There is no folder {source} with an AST's config.json and model.safetensors."
            )
        try:
            model, report = transformers.ASTModel.from_pretrained(
                str(source),
                local_files_only=Path(source).is_dir() or bool(os.environ.get("V2F_OFFLINE")),
                use_safetensors=True,
                output_loading_info=True,
            )
        except Exception as error:  # of the hub, of json, of safetensors: each library raises its own
            raise CheckpointError(
                f"{source}: not an AST that can be loaded ({first_line(error)})."
            ) from error
        if missing := sorted(report["missing_keys"]):
            raise CheckpointError(
                f"{source}: not an AST, {len(missing)} tensors are missing, the first is '{missing[0]}'."
            )
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        encoder._build(model, embedding, last_relu)
        return encoder

    def _build(self, model: nn.Module, embedding: int, last_relu: bool) -> None:
        config = model.config
        own = {k: v for k, v in config.to_diff_dict().items() if k not in _OF_FILES}
        self.config = {"embedding": embedding, "last_relu": last_relu, "ast": own}
        self.n_mels, self.frames, self.last_relu = config.num_mel_bins, config.max_length, last_relu
        self.ast = model
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.last = nn.Linear(config.hidden_size, embedding)

    def train_only_head(self, only: bool = True) -> AstNet:
        """Whether only norm and last layer learn, or everything; returns itself."""
        self.ast.requires_grad_(not only)
        return self

    def parameters_to_train(self) -> list[nn.Parameter]:
        """The parameters that learn now."""
        return [p for p in self.parameters() if p.requires_grad]

    def train(self, mode: bool = True) -> AstNet:
        """As of every module, but a transformer that does not learn has no dropout either."""
        super().train(mode)
        if not any(p.requires_grad for p in self.ast.parameters()):
            self.ast.eval()
        return self

    def forward(self, fbank: Tensor) -> Tensor:
        return self._last(self.features(fbank))

    def with_features(self, fbank: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `features` give, in the time of one of them."""
        features = self.features(fbank)
        return self._last(features), features

    def features(self, fbank: Tensor) -> Tensor:
        """What the last linear layer reads: (B, n_mels, frames) -> (B, 768).

        Raises:
            CheckpointError: another number of bins or frames than the network's.
        """
        if fbank.shape[1:] != (self.n_mels, self.frames):
            raise CheckpointError(
                f"An AST of {self.n_mels} bins and {self.frames} frames cannot take {tuple(fbank.shape[1:])}."
            )
        # The mean of the two further tokens, cls and distillation, after the last layer norm.
        return self.norm(self.ast(input_values=fbank.transpose(1, 2)).pooler_output)

    def _last(self, features: Tensor) -> Tensor:
        x = self.last(features)
        return x.relu() if self.last_relu else x


class AstEncoder(AstNet):
    """Speech to face feature: AST on the filterbank, which is computed where the speech lies. The first
    10.26 s of speech are used, at 1024 frames.

    forward: (B, samples) in [-1, 1] at 16 kHz -> (B, embedding).
    """

    takes = SPEECH
    recurrent = False  # it has no LSTM layers, which bfloat16 does not train on every device
    has_agreement = False  # it does not know how far the pieces of a clip agree

    def __init__(self, config: AstEncoderConfig):
        super().__init__(config.embedding, config.ast, config.last_relu)
        self.fbank = replace(NORMS[config.norms], frames=self.frames, n_mels=self.n_mels)

    def features(self, speech: Tensor) -> Tensor:
        """What the last linear layer reads: (B, samples) -> (B, 768)."""
        with torch.autocast(speech.device.type, enabled=False):
            fbank = fbanks(speech.float(), self.fbank)
        return super().features(fbank)

    def frozen(self, dtype: torch.dtype) -> nn.Module:
        """The same function for training something else on it: a copy that computes in a precision."""
        return AutocastEncoder(self, dtype)


def pretrained_ast(config: AstEncoderConfig, source: str | Path) -> tuple[AstEncoderConfig, AstEncoder]:
    """An encoder with a trained AST and a new head, and its configuration with that AST's settings.

    Args:
        config: of what is not the source's.
        source: as of `AstNet.from_pretrained`.
    Raises:
        CheckpointError: as there.
    """
    net = AstNet.from_pretrained(source, config.embedding, config.last_relu)
    config = replace(config, ast=net.config["ast"])
    encoder = AstEncoder(config)
    encoder.load_state_dict(net.state_dict())
    return config, encoder


def _transformers():
    try:
        import transformers
    except ImportError as error:
        raise CheckpointError(
            "An Audio Spectrogram Transformer needs transformers: pip install 'voice2face-gan[speech2face]'."
        ) from error
    return transformers
