"""A voice encoder that gives the e of a face space: what a voice tells of its speaker's face.

Pairs of voices and faces are few, voices alone are more, and a public speaker encoder has heard thousands of
people. So the encoder learns in two parts:

1. From the teacher's embedding t of clean, whole speech to e: ridge regression on the people with both,
   clips weighted by one over the root of their person's number (training/ridge.py). It is linear:
   e = (t - mean) W + offset.
2. From log-mels to t: a recurrent encoder, whose layers are as large as the teacher's, learns from these
   what they do, on distorted crops of clips as they are and as other speakers would say them
   (training/stages/layerwise_distillation.py, training/augmentation/speaker_perturbation.py).

At the end W is multiplied into the last layer: the encoder then gives e. (A line fitted anew to what
the encoder says leaves larger numbers, and images that match less at any strength.) How much of each
element is predicted of unheard people, R2, is found by cross-validation over identities and kept as
sqrt(1 - R2), the control `residual_std`: training on the face space simulates voices by it.
"""

import hashlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.audio.augment.waveform import as_loud
from voice2face_gan.data.batches.speech import SpeechBank
from voice2face_gan.data.cache import cached
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.encoders.ge2e import DIMENSIONS, SAMPLE_RATE, GE2EEncoder
from voice2face_gan.models.encoders.lstm import PIECE
from voice2face_gan.models.face_embedding_space import FaceSpace
from voice2face_gan.models.registry import build_encoder
from voice2face_gan.training.augmentation.speaker_perturbation import SpeakerPerturbation
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.recipe.schema import Recipe
from voice2face_gan.training.ridge import RidgeMap, folded
from voice2face_gan.training.stages.layerwise_distillation import LayerwiseDistillation, check_frames
from voice2face_gan.training.stages.speaker_classification import Distortion, SpeakerClassificationStage

_FURTHER = 25  # guises of each clip beside the fixed speeds


class DistillationStage(SpeakerClassificationStage):
    """Distillation of a teacher into an encoder of e; arguments as in SpeakerClassificationStage.

    Raises:
        DataError: the store keeps no speech of the teacher's sampling rate, or too few people have both
            voices and faces, or these were not read into the space.
        CheckpointError: the space or the teacher is missing.
    """

    distils = True

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        processes: SingleProcess | None = None,
    ):
        voices = store.select(store.has_voice)
        if not voices.has_speech.all():
            raise DataError(
                f"{store.folder}: a teacher hears speech, which the store does not keep of all its voices; "
                "prepare it again with --keep-speech."
            )
        super().__init__(store, recipe, seed, device, processes)
        if self.distortion is None:
            self.distortion = Distortion(voices, self.settings, self.encoder.raw_log_mel)
        features = self.distortion.features
        if features.sample_rate != SAMPLE_RATE:
            raise DataError(
                f"{store.folder}: its speech is at {features.sample_rate} Hz, the teacher "
                f"hears {SAMPLE_RATE}; prepare it again with that rate."
            )
        check_frames(features)
        space = self.space = FaceSpace.load(recipe.encoder.space)
        teacher = GE2EEncoder(recipe.encoder.teacher or None)
        self.line = RidgeMap.fit(voices, remembered(teacher, self.distortion.speech), space)
        self.guises = SpeakerPerturbation(len(voices), self.settings.speeds, _FURTHER)
        self.hints = LayerwiseDistillation(
            self.encoder,
            teacher.to(device),
            self._said,
            features,
            self.settings,
            seed,
            recipe.run.precision,
            self.processes,
        )

    def _build(self, speakers: int) -> None:
        """An encoder of t: its last layer reads t, and at first does nothing to it."""
        torch.manual_seed(self.seed)
        wide = replace(self.config, embedding=DIMENSIONS)
        self.encoder = self.processes.sync_batchnorm(build_encoder(wide).to(self.device))
        last = self.encoder.last
        with torch.no_grad():
            last.weight.zero_()
            last.weight[:, :DIMENSIONS] = torch.eye(DIMENSIONS)
            last.bias.zero_()

    def start_from(self, encoder: nn.Module) -> None:
        """Go on from what a trained encoder of e does below its last layer."""
        last = f"{encoder.last_name}."
        below = {k: v for k, v in encoder.state_dict().items() if not k.startswith(last)}
        self.encoder.load_state_dict(below, strict=False)
        self.hints.go_on()

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update; the losses are shares of what the teacher's layers do that the encoder's miss."""
        return self.hints.step(iteration)

    def state(self) -> dict:
        return {"encoder": self.encoder.state_dict(), "hints": self.hints.state()}

    def load(self, state: dict) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.hints.load(state["hints"])

    def _said(self, number: int) -> tuple[Tensor, Tensor]:
        """This process's part of a batch, PIECE frames (B, samples): speech, some of it distorted, and the
        same speech as it was said, as loud."""
        clips = self.sampler.draw(number, self.settings.batch)[self.processes.shard(self.settings.batch)]
        which = self._mine("guises", number).integers(self.guises.count, size=len(clips))
        said = self._crops(clips, which, self._mine("cuts", number))
        heard = self._distorted(clips, said, self._mine("distortion", number))
        # The teacher's answer changes with the level, of which a distorted crop tells nothing.
        said = as_loud(said[:, : heard.shape[1]], heard)
        return heard.to(self.device), said.to(self.device)

    def _crops(self, clips: np.ndarray, which: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Crops (B, samples) in their guises, long enough to be distorted and cut to PIECE frames."""
        more = self.distortion.of_signals.samples_needed(self.distortion.samples(PIECE))
        longest = int(np.ceil(more * self.guises.fastest)) + 64
        return self.guises.heard(self.distortion.speech.crops(clips, longest, rng), clips, which, more)

    def _distorted(self, clips: np.ndarray, speech: Tensor, rng: np.random.Generator) -> Tensor:
        """Crops of PIECE frames (B, samples), some distorted."""
        distortion, samples = self.distortion, self.distortion.samples(PIECE)
        chosen = np.flatnonzero(rng.random(len(clips)) < distortion.share)
        if len(chosen):
            labels = self.bank.labels.numpy()[clips[chosen]]
            rate = distortion.features.sample_rate
            heard = distortion.of_signals(speech[chosen], samples, labels, rate, rng)
            speech = speech[:, :samples].clone()
            speech[chosen] = heard
        return speech[:, :samples]

    def checkpoint(self, iteration: int) -> Checkpoint:
        kept = super().checkpoint(iteration)
        residual_std = tuple(round(float(r), 4) for r in self.line.residual_std)
        encoder = build_encoder(self.config)
        encoder.load_state_dict(folded(self.encoder, self.line))
        info = {**kept.info, "distillation": self.line.about, "face_space": self.space.summary()}
        return replace(
            kept,
            encoder=encoder.eval(),
            controls=replace(kept.controls, residual_std=residual_std),
            info=info,
            face_space=self.space.map_tensors(),
        )


def remembered(teacher: GE2EEncoder, speech: SpeechBank) -> Tensor:
    """What `teach` gives, kept on disk: an hour of speech takes a core some twenty seconds."""
    weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in teacher.state_dict().values()))
    places = hashlib.sha256(torch.stack([speech.offset, speech.length]).numpy().tobytes())
    by = f"teacher {weights.hexdigest()} {places.hexdigest()}"
    return torch.from_numpy(cached(by, speech.samples, lambda _: teach(teacher, speech).numpy(), len(speech)))


@torch.no_grad()
def teach(teacher: GE2EEncoder, speech: SpeechBank) -> Tensor:
    """What the teacher says of each whole clip: (clips, 256)."""
    return torch.stack([teacher(speech.whole(clip)) for clip in range(len(speech))])
