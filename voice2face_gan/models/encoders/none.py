"""No voice encoder: the entry of a checkpoint whose decoder was trained before one (Oh et al., CVPR 2019,
train the face decoder first, then a voice encoder for it)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from voice2face_gan.audio.encoder_input import LOG_MEL
from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.settings import Settings

NO_VOICES = (
    "decodes faces' features alone and has no voice encoder; train one for it with "
    "`v2f-gan train --recipe speech2face --init IT`, or give it photos with `v2f-gan reconstruct`."
)


@dataclass(frozen=True)
class NoEncoderConfig(Settings):
    """The size of e; the table `encoder` of a checkpoint's config.json.

    Args:
        embedding: numbers of the feature that the decoder takes.
    """

    table: ClassVar[str] = "encoder"
    type: ClassVar[str] = "none"
    mel_bins: ClassVar[None] = None  # it takes none

    embedding: int = 64

    def __post_init__(self) -> None:
        self.check({"embedding must be 1 or more": self.embedding >= 1})

    @property
    def feature_size(self) -> int:
        return self.embedding


class NoEncoder(nn.Module):
    """Refuses every voice; without weights.

    Raises:
        CheckpointError: whatever it is asked for.
    """

    takes = LOG_MEL
    recurrent = has_agreement = False
    last_name = ""

    def __init__(self, config: NoEncoderConfig):
        super().__init__()
        self.config = config

    def forward(self, log_mel: Tensor) -> Tensor:
        raise CheckpointError(f"This checkpoint {NO_VOICES}")

    features = with_features = forward

    def frozen(self, dtype) -> "NoEncoder":
        return self
