"""Linear probes of a trained voice encoder, kept in its checkpoint.

The gender probe reads the data's gender label from the embedding: `generate --gender female|male` moves an
embedding to the side asked for by it (pipeline.py). The probes of the warnings are fitted in
input_quality.py.
"""

import copy
import importlib.util
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.data.records import FEMALE, GENDERS
from voice2face_gan.data.store import Store
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import Controls, normalise_embedding
from voice2face_gan.training.probes.logistic import fit_logistic

_VOICES = 4000  # more add nothing to 65 numbers


@torch.no_grad()
def embed_store(store: Store, encoder: nn.Module, controls: Controls, device: torch.device) -> Tensor:
    """e predicted of each record's voice (all must have one): float32 (records, embedding)."""
    bank = VoiceBank.unlabelled(store, encoder.takes)
    encoder.eval()
    e = [encoder(bank.whole(i)[None].to(device)) for i in range(len(store))]
    return normalise_embedding(torch.cat(e), controls).cpu()


def gender_probe(store: Store, encoder: nn.Module, controls: Controls, device: torch.device) -> Tensor | None:
    """Logistic regression from e, as it is predicted, to "female" on the training voices.

    Returns:
        float32 (embedding + 1,): weights, then bias; None where the records are not of both genders.
    """
    labelled = store.select(store.has_voice & np.isin(store.gender, GENDERS))
    if len(np.unique(labelled.gender)) < 2:
        return None
    if len(labelled) > _VOICES:
        labelled = labelled.select(np.linspace(0, len(labelled) - 1, _VOICES).astype(np.int64))
    return probe_of(embed_store(labelled, encoder, controls, device), labelled.gender)


def probe_of(e: Tensor, gender: np.ndarray) -> Tensor | None:
    """The same of predicted e (N, embedding) and labels (N,), some of which may be unknown."""
    known = np.isin(gender, GENDERS)
    if len(np.unique(gender[known])) < 2:
        return None
    female = torch.from_numpy(gender[known] == FEMALE).double()
    return fit_logistic(e[torch.from_numpy(known)].double(), female).float()


def with_warnings(checkpoint: Checkpoint, store: Store, seed: int) -> tuple[Checkpoint, str]:
    """A checkpoint of a trained voice encoder with the probes of the warnings, where the data allow them.

    Args:
        checkpoint: as the encoder's stage gives it.
        store: the records it was trained on.
        seed: of the examples.
    Returns:
        The checkpoint, and the reason why it has no probes, "" where it has.
    """
    if not store.has_speech.any():
        return checkpoint, "the store keeps no speech; prepare it with --keep-speech"
    missing = [name for name in ("av", "webrtcvad") if importlib.util.find_spec(name) is None]
    if missing:  # training else needs neither
        return checkpoint, f"the package {missing[0]} is not installed"
    from voice2face_gan.audio.decode import SAMPLE_RATE
    from voice2face_gan.audio.log_mel import FeatureSettings
    from voice2face_gan.audio.vad import VadSettings
    from voice2face_gan.training.probes import input_quality

    features = FeatureSettings.from_dict(checkpoint.features)
    if features.sample_rate != SAMPLE_RATE:
        return checkpoint, f"the speech is at {features.sample_rate} Hz, not at {SAMPLE_RATE}"
    encoder = copy.deepcopy(checkpoint.encoder).cpu().eval()
    # A few recordings give no more information in many pieces.
    clips = min(input_quality.CLIPS, max(96, 12 * int(store.has_speech.sum())))
    sounds = input_quality.SOUND_CLIPS * clips // input_quality.CLIPS
    vad = VadSettings(**checkpoint.vad)
    probes = input_quality.fit_quality_probes(encoder, features, store, vad, clips, sounds, seed=seed)
    return replace(checkpoint, probes=probes), ""
