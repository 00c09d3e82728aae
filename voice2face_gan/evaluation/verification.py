"""Equal error rate of a voice encoder on held-out speakers: clean clips, and clips with noise and codecs."""

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.audio.augment.log_mel import MelAugmentation
from voice2face_gan.audio.augment.policy import SignalAugmentation
from voice2face_gan.audio.encoder_input import LOG_MEL, SPEECH
from voice2face_gan.audio.log_mel import FeatureSettings, log_mels, tile_to
from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.data.batches.speech import SpeechBank, check_speech
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.evaluation.equal_error_rate import MAX_TRIALS, verification_figure
from voice2face_gan.results import Figure

_CLIPS_PER_GROUP = 16  # clips distorted together, which serve as babble for each other
_MAX_CLIP_SECONDS = 30.0  # part of a clip that is distorted: bounds memory


def verification_clips(store: Store, split: str = "val", gender: str = "all") -> Store:
    """The clips of a split's speakers.

    Raises:
        DataError: fewer than two speakers, or none with two clips.
    """
    part = store.of_gender(gender).of_split(split)
    part = part.select(part.has_voice)
    speakers, clips = np.unique(part.identity, return_counts=True)
    if len(speakers) < 2 or clips.max() < 2:
        raise DataError(
            f"{store.folder}: an equal error rate needs two speakers in the split '{split}', one of them "
            f"with two clips or more; there are {len(speakers)} speakers with {len(part)} clips."
        )
    return part


@torch.no_grad()
def verify(
    encoder: nn.Module,
    clips: Store,
    device: torch.device,
    seed: int = 0,
    max_trials: int = MAX_TRIALS,
    resamplings: int = 200,
) -> dict[str, Figure]:
    """The figures "clean" and "noisy".

    Args:
        encoder: what it takes, such as log-mels (B, bins, frames) -> e (B, width). Its training mode is left
            as it was.
        clips: see `verification_clips`.
        device: the encoder's device.
        seed: seed of the distortions, of the pairs and of resampling.
        max_trials, resamplings: see `verification_figure`.
    """
    was_training = encoder.training
    encoder.eval()
    figures, takes = {}, getattr(encoder, "takes", LOG_MEL)
    kind = "speech" if clips.has_speech.all() else "log-mels, some clips' speech not being kept,"
    for name, voices, embedded in (
        ("clean", _clean(clips, takes), "whole clips"),
        (
            "noisy",
            _noisy(clips, seed, takes),
            f"whole clips, their {kind} distorted one by one (noise, room, codec)",
        ),
    ):
        e = [None] * len(clips)
        for item, voice in voices:
            e[item] = encoder(voice[None].to(device))[0].float().cpu()
        figures[name] = verification_figure(
            torch.stack(e), clips.identity, seed, max_trials, resamplings, embedded
        )
    encoder.train(was_training)
    return figures


def _clean(clips: Store, takes: str):
    """(index, what the encoder takes, such as a log-mel (bins, frames)) of each clip."""
    bank = VoiceBank.unlabelled(clips, takes)
    for item in range(len(bank)):
        yield item, bank.whole(item)


def _noisy(clips: Store, seed: int, takes: str):
    """(index, what the encoder takes) of each clip, distorted: as speech if all have it, else as log-mel.

    Raises:
        DataError: raw log-mels or speech are wanted, and distortion of log-mels gives normalised ones.
    """
    features = FeatureSettings.from_dict(clips.about["features"])
    by_speech = bool(clips.has_speech.all())
    check_speech(clips, takes)
    speech, voices = SpeechBank(clips), VoiceBank(clips, np.zeros(len(clips), dtype=np.int64), 1)
    _, speaker = np.unique(clips.identity, return_inverse=True)
    rng = np.random.default_rng([seed, 1])
    longest = int(_MAX_CLIP_SECONDS * (features.sample_rate if by_speech else 1000 / features.hop_ms))
    for group in np.array_split(rng.permutation(len(clips)), -(-len(clips) // _CLIPS_PER_GROUP)):
        whole = [(speech if by_speech else voices).whole(int(item))[..., :longest] for item in group]
        lengths = [piece.shape[-1] for piece in whole]
        batch = torch.stack([_repeated(piece, max(lengths)) for piece in whole])
        if by_speech:
            # Not faster or slower: that changes the identity of the voice.
            batch = SignalAugmentation(speed=0.0)(
                _repeated(batch, max(lengths) + 64), max(lengths), speaker[group], features.sample_rate, rng
            )
        else:
            batch = MelAugmentation(speed=0.0)(batch, speaker[group], features, rng)
        for item, piece, length in zip(group, batch, lengths, strict=True):
            piece = piece[..., :length]
            if takes == SPEECH:
                yield int(item), piece
                continue
            mel = log_mels(piece[None], features, normalised=takes == LOG_MEL)[0] if by_speech else piece
            yield int(item), tile_to(mel, features.min_frames)


def _repeated(x: Tensor, length: int) -> Tensor:
    """The tensor, repeated along the last axis to exactly `length`."""
    return x[..., torch.arange(length) % x.shape[-1]]
