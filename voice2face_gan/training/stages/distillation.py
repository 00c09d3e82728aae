"""Distillation of a public speaker encoder into a voice encoder that predicts the e of a face space.

Pairs of voices and faces are few, voices alone are more, and the teacher was trained on thousands of
speakers. So the encoder is trained in two parts:

1. From the teacher's embedding t of clean, whole speech to e: ridge regression on the people with both,
   clips weighted by one over the root of their person's number (training/ridge.py). It is linear:
   e = (t - mean) W + offset.
2. From log-mels to t: a recurrent encoder, whose layers are as large as the teacher's, is trained on the
   teacher's states in each layer, on augmented crops of clips and of their speaker perturbations
   (training/stages/layerwise_distillation.py, training/augmentation/speaker_perturbation.py).

At the end W is multiplied into the last layer: the encoder then gives e. (A regression fitted anew to the
encoder's own t leaves larger residuals, and images that match less at any strength.) R2, how much of each
element is predicted of people left out, is found by cross-validation over identities and kept as
sqrt(1 - R2), the control `residual_std`: training on the face space simulates voices by it.
"""

import hashlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.audio.augment.waveform import as_loud
from voice2face_gan.data.batches.sampling import check_takes
from voice2face_gan.data.batches.speech import SpeechBank
from voice2face_gan.data.cache import cached
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.encoders.ge2e import DIMENSIONS, SAMPLE_RATE, GE2EEncoder
from voice2face_gan.models.encoders.lstm import PIECE
from voice2face_gan.models.face_embedding_space import FaceSpace
from voice2face_gan.models.registry import EncoderConfig, build_encoder
from voice2face_gan.training.augmentation.clip_augmenter import ClipAugmenter
from voice2face_gan.training.augmentation.speaker_perturbation import SpeakerPerturbation
from voice2face_gan.training.ridge import RidgeMap, fold_into_last_layer
from voice2face_gan.training.stages.distilled_layers import check_frames
from voice2face_gan.training.stages.encoder_base import EncoderStage
from voice2face_gan.training.stages.layerwise_distillation import LayerwiseDistillation

PERTURBATIONS = 25  # of each clip, beside the fixed speeds


class DistillationStage(EncoderStage):
    """Distillation of a teacher into an encoder of e; arguments as in EncoderStage.

    Raises:
        DataError: the store keeps no speech of the teacher's sampling rate, or too few people have both
            voices and faces, or these were not read into the space.
        CheckpointError: the space or the teacher is missing.
    """

    distils = True

    def _build(self) -> None:
        check_all_speech(self.voices)
        recipe, device = self.recipe, self.device
        self.encoder = self.processes.sync_batchnorm(encoder_of_t(self.config).to(device))
        check_takes(self.voices, self.encoder.takes)
        self.augmenter = ClipAugmenter(self.voices, self.settings, self.encoder.takes)
        features = self.augmenter.features
        if features.sample_rate != SAMPLE_RATE:
            raise DataError(
                f"{self.voices.folder}: its speech is at {features.sample_rate} Hz, the teacher's is at "
                f"{SAMPLE_RATE} Hz; prepare it again with that rate."
            )
        check_frames(features)
        self.space = FaceSpace.load(recipe.encoder.space)
        teacher = GE2EEncoder(recipe.encoder.teacher or None)
        targets = cached_targets(teacher, self.augmenter.speech)
        self.ridge = RidgeMap.fit(self.voices, targets, self.space)
        self.perturbation = SpeakerPerturbation(len(self.voices), self.settings.speeds, PERTURBATIONS)
        self.distillation = LayerwiseDistillation(
            self.encoder,
            teacher.to(device),
            self._speech,
            features,
            self.settings,
            self.seed,
            recipe.run.precision,
            self.processes,
        )
        self.student = self.distillation.student

    def start_from(self, encoder: nn.Module) -> None:
        """Continues from a trained encoder of e; its last layer, which holds the ridge map, is not taken."""
        last = f"{encoder.last_name}."
        below = {k: v for k, v in encoder.state_dict().items() if not k.startswith(last)}
        self.encoder.load_state_dict(below, strict=False)
        self.distillation.warm_start()

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update. Each loss is a squared error as a share of the target's variance, for example of a
        layer's states."""
        return self.distillation.step(iteration)

    def state(self) -> dict:
        return {"encoder": self.encoder.state_dict(), "distillation": self.distillation.state()}

    def load(self, state: dict) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.distillation.load(state["distillation"])

    def _speech(self, number: int) -> tuple[Tensor, Tensor]:
        """This process's part of a batch, PIECE frames (B, samples): speech, some of it augmented, and the
        same speech clean, as loud."""
        clips = self.sampler.draw(number, self.settings.batch)[self.processes.shard(self.settings.batch)]
        chosen = self.rank_random_source("perturbation", number).integers(
            self.perturbation.count, size=len(clips)
        )
        clean = self._crops(clips, chosen, self.rank_random_source("cuts", number))
        rng = self.rank_random_source("clip augmentation", number)
        augmented = self.augmenter.speech_of(clean, PIECE, self.labels[clips], rng)
        # The teacher's answer changes with the level, which an augmented crop does not show.
        clean = as_loud(clean[:, : augmented.shape[1]], augmented)
        return augmented.to(self.device), clean.to(self.device)

    def _crops(self, clips: np.ndarray, chosen: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Crops (B, samples) of clips in their chosen perturbations, long enough for augmentation to
        PIECE frames."""
        samples = self.augmenter.of_signals.samples_needed(self.augmenter.samples(PIECE))
        longest = int(np.ceil(samples * self.perturbation.max_speed)) + 64
        return self.perturbation(self.augmenter.speech.crops(clips, longest, rng), clips, chosen, samples)

    def checkpoint(self, iteration: int) -> Checkpoint:
        made = super().checkpoint(iteration)
        residual_std = tuple(round(float(r), 4) for r in self.ridge.residual_std)
        encoder = build_encoder(self.config)
        encoder.load_state_dict(fold_into_last_layer(self.encoder, self.ridge))
        info = {**made.info, "distillation": self.ridge.about, "face_space": self.space.summary()}
        return replace(
            made,
            encoder=encoder.eval(),
            controls=replace(made.controls, residual_std=residual_std),
            info=info,
            face_space=self.space.map_tensors(),
        )


def check_all_speech(voices: Store) -> None:
    """
    Raises:
        DataError: some voices' speech is not kept.
    """
    if not voices.has_speech.all():
        raise DataError(
            f"{voices.folder}: a teacher reads speech, which the store does not keep of all its voices; "
            "prepare it again with --keep-speech."
        )


def encoder_of_t(config: EncoderConfig) -> nn.Module:
    """An encoder of t, the teacher's embedding: its last layer passes t on as it is."""
    encoder = build_encoder(replace(config, embedding=DIMENSIONS))
    with torch.no_grad():
        encoder.last.weight.zero_()
        encoder.last.weight[:, :DIMENSIONS] = torch.eye(DIMENSIONS)
        encoder.last.bias.zero_()
    return encoder


def cached_targets(teacher: GE2EEncoder, speech: SpeechBank) -> Tensor:
    """The result of `compute_targets`, cached on disk: an hour of speech takes a core some twenty seconds."""
    weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in teacher.state_dict().values()))
    places = hashlib.sha256(torch.stack([speech.offset, speech.length]).numpy().tobytes())
    by = f"teacher {weights.hexdigest()} {places.hexdigest()}"
    computed = cached(by, speech.samples, lambda _: compute_targets(teacher, speech).numpy(), len(speech))
    return torch.from_numpy(computed)


@torch.no_grad()
def compute_targets(teacher: GE2EEncoder, speech: SpeechBank) -> Tensor:
    """The teacher's embedding t of each whole clip: (clips, 256)."""
    return torch.stack([teacher(speech.whole(clip)) for clip in range(len(speech))])
