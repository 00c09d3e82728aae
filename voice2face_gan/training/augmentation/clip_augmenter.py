"""Augmentation of training clips: of their speech where it is kept, else of their log-mels."""

import numpy as np
from torch import Tensor

from voice2face_gan.audio.augment.log_mel import MelAugmentation
from voice2face_gan.audio.augment.policy import SignalAugmentation
from voice2face_gan.audio.encoder_input import LOG_MEL, SPEECH
from voice2face_gan.audio.log_mel import FeatureSettings, log_mels
from voice2face_gan.data.batches.speech import SpeechBank, check_speech
from voice2face_gan.data.store import Store
from voice2face_gan.training.recipe.schema import EncoderRecipe


class ClipAugmenter:
    """Augments some clips of a batch: their speech, where the store keeps it, else their log-mels.

    An augmented crop is normalised over itself, as a recording of its length is; the others are pieces of
    log-mels that are normalised over the whole clip. Several processes draw for their own clips alone.

    Args:
        voices: the records of a `VoiceBank`.
        settings: share and strength.
        takes: what the encoder takes (audio/encoder_input.py).
    Raises:
        DataError: raw log-mels or speech are wanted and the speech is not all kept (see `check_speech`).
    """

    def __init__(self, voices: Store, settings: EncoderRecipe, takes: str = LOG_MEL):
        check_speech(voices, takes)
        self.share = settings.augment
        self.features = FeatureSettings.from_dict(voices.about["features"])
        self.speech = SpeechBank(voices, self.samples(self.features.min_frames))
        self.of_signals = SignalAugmentation(speed=settings.augment_speed, snr_db=settings.augment_snr)
        self.of_mels = MelAugmentation(speed=settings.augment_speed)
        self.takes = takes

    def samples(self, frames: int) -> int:
        """The number of samples that this number of frames is computed from."""
        return (frames - 1) * self.features.hop + self.features.window

    def __call__(
        self, taken: Tensor, items: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """The batch with some clips augmented.

        Args:
            taken: what the encoder takes, float32 (batch, mel bins, frames) or (batch, samples); changed in
                place.
            items: int64 (batch,), the records.
            labels: int64 (batch,), the speakers.
            rng: makes every choice.
        """
        chosen = rng.random(len(items)) < self.share
        with_speech = np.flatnonzero(chosen & self.speech.kept[items])
        if len(with_speech):
            spoken = self.takes == SPEECH
            samples = taken.shape[1] if spoken else self.samples(taken.shape[2])
            speech = self.speech.crops(items[with_speech], self.of_signals.samples_needed(samples), rng)
            speech = speech.to(taken.device)
            rate = self.features.sample_rate
            speech = self.of_signals(speech, samples, labels[with_speech], rate, rng)
            if not spoken:
                speech = log_mels(speech, self.features, normalised=self.takes == LOG_MEL)
            taken[with_speech] = speech
        without = np.flatnonzero(chosen & ~self.speech.kept[items])
        if len(without):
            taken[without] = self.of_mels(taken[without], labels[without], self.features, rng)
        return taken

    def speech_of(self, speech: Tensor, frames: int, labels: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The same of waveforms: crops of `frames` frames (B, samples), some of them augmented.

        Args:
            speech: (B, samples), `of_signals.samples_needed` at least.
            labels: int64 (B,), the speakers.
        """
        samples = self.samples(frames)
        chosen = np.flatnonzero(rng.random(len(speech)) < self.share)
        if len(chosen):
            rate = self.features.sample_rate
            augmented = self.of_signals(speech[chosen], samples, labels[chosen], rate, rng)
            speech = speech[:, :samples].clone()
            speech[chosen] = augmented
        return speech[:, :samples]
