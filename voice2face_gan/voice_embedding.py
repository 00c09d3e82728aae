"""A recording's voice embedding with what was found in the recording, and the mean of several recordings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.audio.voice import VoiceFeatures
from voice2face_gan.errors import VoiceToFaceError


@dataclass
class VoiceEmbedding:
    """The voice embedding of one recording, or of several recordings of one speaker.

    Attributes:
        name: the recording, as messages call it.
        embedding: float32 (embedding,), the e that the voice encoder predicts, before the strength; of unit
            norm where the model's embeddings are.
        voice: seconds, seconds of speech and variation; its log-mel is empty.
        told: probabilities of the checkpoint's probes ("speech", "child", "several"); {} without probes.
        warning: a sentence about the recording, or "".
    """

    name: str
    embedding: Tensor
    voice: VoiceFeatures
    told: dict[str, float] = field(default_factory=dict)
    warning: str = ""

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.voice.seconds

    @property
    def speech_seconds(self) -> float:
        """Length of the speech found in it."""
        return self.voice.speech_seconds


def without_log_mel(voice: VoiceFeatures) -> VoiceFeatures:
    """The same without the log-mel, which takes 256 bytes a frame: thousands may be kept."""
    return replace(voice, log_mel=voice.log_mel[:, :0].clone())


def mean_embedding(voices: Sequence[VoiceEmbedding], unit_norm: bool) -> VoiceEmbedding:
    """One voice embedding from several recordings of one speaker, weighted by their seconds of speech.

    A longer recording predicts e better. Measured with the default model on 120 speakers of its training
    corpora (on average 3.8 pieces of 0.6 to 3.3 s of speech, against e of another whole recording), the mean
    squared error is 0.0161 with these weights, 0.0168 with equal ones (difference 0.0007, standard error
    0.0002) and 0.0225 for the longest piece alone; on 37 people of VoxCeleb 0.0184, 0.0192 and 0.0254.

    Args:
        voices: at least one.
        unit_norm: scale the mean to length 1, as `normalise` of the model's configuration says.
    Returns:
        `seconds` and `speech_seconds` are sums; the probabilities and the variation are weighted means. The
        warning is empty.
    Raises:
        VoiceToFaceError: no voices.
    """
    if not voices:
        raise VoiceToFaceError("there is no recording to take the mean of; give at least one with speech.")
    seconds = torch.tensor([voice.speech_seconds for voice in voices])
    weights = seconds / seconds.sum()
    e = weights @ torch.stack([voice.embedding for voice in voices])
    if unit_norm:
        e = F.normalize(e, dim=0)
    told = {
        key: float(weights @ torch.tensor([voice.told[key] for voice in voices])) for key in voices[0].told
    }

    def mean(name: str) -> float:
        return float(weights @ torch.tensor([getattr(voice.voice, name) for voice in voices]))

    found = [voice.voice.speech_level_db for voice in voices]
    levels = torch.tensor([-math.inf if level is None else level for level in found])
    power = float(weights @ 10 ** (levels / 10))
    features = replace(
        voices[0].voice,
        seconds=sum(voice.seconds for voice in voices),
        speech_seconds=float(seconds.sum()),
        speech_level_db=10 * math.log10(power) if power else None,
        **{name: mean(name) for name in ("variation", "variety", "bands")},
    )
    more = f" and {len(voices) - 1} more" if len(voices) > 1 else ""
    return VoiceEmbedding(voices[0].name + more, e, features, told)
