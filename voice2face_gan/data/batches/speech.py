"""The speech of a store, cut to equal length for a batch."""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.audio.encoder_input import RAW_LOG_MEL, SPEECH, SPEECH_RATE
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError


def check_kept(store: Store, takes: str) -> None:
    """Check that a store holds the speech that an encoder takes.

    Raises:
        DataError: it takes speech, and the store keeps not that of all its voices, or at another rate.
    """
    if takes != SPEECH:
        return
    if not store.has_speech[store.has_voice].all():
        raise DataError(
            f"{store.folder}: this voice encoder takes speech, which the store does not keep of all its "
            "voices; prepare it again with --keep-speech."
        )
    rate = int(store.about["features"]["sample_rate"])
    if rate != SPEECH_RATE:
        raise DataError(
            f"{store.folder}: this voice encoder takes speech at {SPEECH_RATE} Hz, and the store's is at "
            f"{rate} Hz; prepare it again at that rate."
        )


def check_speech(store: Store, takes: str) -> None:
    """Check that voices can be distorted for an encoder.

    Raises:
        DataError: raw log-mels or speech are wanted and the store does not hold the speech of all voices.
            Distortion of log-mels (`audio.augment.log_mel`) gives normalised ones only.
    """
    check_kept(store, takes)
    if takes == RAW_LOG_MEL and not store.has_speech.all():
        raise DataError(
            f"{store.folder}: a voice encoder that takes raw log-mels is trained and tested on distorted "
            "speech, and the store does not hold the speech of all its voices; prepare it again with "
            "--keep-speech."
        )


class SpeechBank:
    """Speech beside the log-mels of a `VoiceBank` of the same records.

    Args:
        store: records with voices; `kept` says which of them have speech too.
        min_samples: shorter speech counts as repeated to this length before it is cut.

    Attributes:
        kept: bool (records,).
    """

    def __init__(self, store: Store, min_samples: int = 160_000):
        self.samples = torch.from_numpy(np.asarray(store.speech))  # (samples of all,), int16
        self.offset = torch.from_numpy(store.speech_offset)
        self.length = torch.from_numpy(store.speech_samples)
        self.kept = store.has_speech
        self.min_samples = min_samples

    def __len__(self) -> int:
        return len(self.offset)

    def crops(
        self, items: np.ndarray, samples: int, rng: np.random.Generator, mine: slice = slice(None)
    ) -> Tensor:
        """Random pieces of `samples` samples: float32 (batch, samples) in [-1, 1). Each item must be kept.

        Args:
            mine: the part of the batch that is cut; numbers are drawn for all of it.
        """
        chosen = torch.from_numpy(items[mine])
        length = self.length[chosen]
        room = (length.clamp(min=self.min_samples) - samples).clamp(min=0)
        start = (torch.from_numpy(rng.random(len(items))[mine]) * (room + 1)).long()
        within = (start[:, None] + torch.arange(samples)) % length[:, None]  # short speech is repeated
        return self.samples[self.offset[chosen][:, None] + within].float() / 32768

    def whole(self, item: int) -> Tensor:
        """float32 (samples,): the whole speech, not repeated."""
        start, length = int(self.offset[item]), int(self.length[item])
        return self.samples[start : start + length].float() / 32768
