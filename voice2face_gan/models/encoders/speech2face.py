"""Speech2Face's voice encoder: speech, as a complex spectrogram, to the feature of a face.

Oh et al., "Speech2Face: Learning the Face Behind a Voice", CVPR 2019, Table 1 (VE_conv):

    layer          channels  stride  frequency x time, of 598 frames
    input              2                257 x 598
    conv1, conv2      64       1        254 x 595, 251 x 592
    conv3, pool      128       1        248 x 589 -> 248 x 294
    conv4, pool      128       1        245 x 291 -> 245 x 145
    conv5, pool      128       1        242 x 142 -> 242 x 71
    conv6, pool      256       1        239 x 68  -> 239 x 34
    conv7            512       1        236 x 31
    conv8            512       2        117 x 14
    conv9            512       2         57 x 6
    average over time                    57 x 1, then ReLU and BatchNorm
    fc1, fc2        4096

All convolutions are 4 x 4 without padding; each is followed by ReLU, then BatchNorm. Pools halve time alone:
pitch and formants lie along frequency. The average makes the length free. The paper does not state a ReLU
after fc2; its targets, VGG-Face's fc7, come after one, so one is the default here and `last_relu` takes it
away.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.audio.encoder_input import SPEECH
from voice2face_gan.audio.spectrogram import SpectrogramSettings, spectrograms
from voice2face_gan.errors import DataError
from voice2face_gan.models.encoders.lstm import AutocastEncoder
from voice2face_gan.models.settings import Settings

CHANNELS = (64, 64, 128, 128, 128, 256, 512, 512, 512)
STRIDES = (1, 1, 1, 1, 1, 1, 1, 2, 2)
POOLED = (2, 3, 4, 5)  # layers after which time is halved
HIDDEN = 4096
KERNEL = 4
BINS = 257


@dataclass(frozen=True)
class Speech2FaceEncoderConfig(Settings):
    """Dimensions of the encoder; the table `encoder` of a checkpoint's config.json.

    Args:
        embedding: numbers of the feature: of e, or of a face reader.
        width: of every layer but the last, as a part of the paper's.
        last_relu: the feature comes after a ReLU, as VGG-Face's fc7 does; must be off for features with
            negative numbers, such as the e of a face space.
    """

    table: ClassVar[str] = "encoder"
    type: ClassVar[str] = "speech2face"
    mel_bins: ClassVar[None] = None  # it takes speech

    embedding: int = 64
    width: float = 1.0
    last_relu: bool = True

    def __post_init__(self) -> None:
        self.check(
            {"embedding must be 1 or more": self.embedding >= 1, "width must be above 0": self.width > 0}
        )

    @property
    def feature_size(self) -> int:
        """Length of the encoder's `features`."""
        return _hidden(self.width)


class VEConv(nn.Module):
    """VE_conv: complex spectrogram to face feature.

    Args:
        embedding: numbers of the feature, those of the face reader.
        width: of every layer but the last, as a part of the paper's.
        last_relu: the feature comes after a ReLU, as VGG-Face's fc7 does; must be off for features with
            negative numbers, such as dlib's.
        bins: frequencies of the spectrogram.

    forward: (B, 2, bins, T), T >= `least_frames`, as `spectrograms` gives it -> (B, embedding).
    """

    last_name = "last"  # of the linear layer at the end, in the state

    def __init__(self, embedding: int = HIDDEN, width: float = 1.0, last_relu: bool = True, bins: int = BINS):
        super().__init__()
        self.config = {"embedding": embedding, "width": width, "last_relu": last_relu, "bins": bins}
        channels = [max(1, round(width * c)) for c in CHANNELS]
        hidden = _hidden(width)
        self.last_relu = last_relu
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, KERNEL, stride)
            for before, after, stride in zip([2, *channels[:-1]], channels, STRIDES, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        for stride in STRIDES:
            bins = (bins - KERNEL) // stride + 1
        if bins < 1:
            raise DataError(f"VE_conv needs more than {self.config['bins']} frequencies.")
        self.first = nn.Linear(channels[-1] * bins, hidden)
        self.last = nn.Linear(hidden, embedding)

    @property
    def least_frames(self) -> int:
        """Fewest frames that leave one after the last convolution: 259 (2.6 s)."""
        frames = 1
        for layer in reversed(range(len(STRIDES))):
            frames = (2 * frames if layer in POOLED else frames) * STRIDES[layer] + KERNEL - STRIDES[layer]
        return frames

    def forward(self, spectrogram: Tensor) -> Tensor:
        return self._last(self.features(spectrogram))

    def with_features(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `features` give, in the time of one of them."""
        features = self.features(spectrogram)
        return self._last(features), features

    def features(self, spectrogram: Tensor) -> Tensor:
        """What the last linear layer reads: (B, 2, bins, T) -> (B, round(4096 width)), not negative.

        Raises:
            DataError: too few frames.
        """
        x = spectrogram
        if not torch.compiler.is_exporting() and x.shape[3] < self.least_frames:
            raise DataError(
                f"A spectrogram of {x.shape[3]} frames is too short for VE_conv, which needs "
                f"{self.least_frames}; repeat the speech."
            )
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = convolution(x)
            if i == len(STRIDES) - 1:
                x = x.mean(dim=3, keepdim=True)  # before ReLU, as in Table 1
            x = norm(F.relu(x))
            if i in POOLED:
                x = F.max_pool2d(x, (1, 2))
        return F.relu(self.first(x.flatten(1)))

    def _last(self, features: Tensor) -> Tensor:
        x = self.last(features)
        return F.relu(x) if self.last_relu else x


class Speech2FaceEncoder(VEConv):
    """Speech to face feature: VE_conv on the spectrogram, which is computed where the speech lies.

    forward: (B, samples) in [-1, 1] at 16 kHz, repeated to 6 s if shorter -> (B, embedding).
    """

    takes = SPEECH
    recurrent = False  # it has no LSTM layers, which bfloat16 does not train on every device
    has_agreement = False  # it does not know how far the pieces of a clip agree

    def __init__(self, config: Speech2FaceEncoderConfig):
        self.spectrogram = SpectrogramSettings()
        super().__init__(config.embedding, config.width, config.last_relu, self.spectrogram.bins)

    def features(self, speech: Tensor) -> Tensor:
        """What the last linear layer reads: (B, samples) -> (B, round(4096 width)), not negative."""
        with torch.autocast(speech.device.type, enabled=False):
            spectrogram = spectrograms(speech, self.spectrogram)
        return super().features(spectrogram)

    def frozen(self, dtype: torch.dtype) -> nn.Module:
        """The same function for training something else on it: a copy that computes in a precision."""
        return AutocastEncoder(self, dtype)


def _hidden(width: float) -> int:
    """Numbers of the layer before the last."""
    return max(1, round(width * HIDDEN))
