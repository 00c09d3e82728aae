"""The voice encoder's pretraining: who of the training identities speaks?"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.audio.augment.log_mel import MelAugmentation
from voice2face_gan.audio.augment.policy import SignalAugmentation
from voice2face_gan.audio.log_mel import FeatureSettings, log_mels
from voice2face_gan.data.batches.sampling import EpochSampler, VoiceBank, classes, generator
from voice2face_gan.data.batches.speech import SpeechBank, check_speech
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast, check_recurrent
from voice2face_gan.errors import RecipeError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.registry import ENCODERS, build_encoder
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.recipe.schema import EncoderRecipe, Recipe


class SpeakerClassificationStage:
    """Speaker classification with cross-entropy on random crops, some of them distorted.

    Args:
        store: training records; those with a voice are used.
        recipe: see EncoderRecipe.
        seed: of weights and batches.
        device: where it computes.
        processes: those that train together; default: this one alone.
    Raises:
        RecipeError: the recipe is for another stage.
        DeviceError: a recurrent encoder cannot learn in the recipe's precision there.
    """

    name = "encoder"
    distils = False  # a teacher, into an encoder of a face space

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        processes: SingleProcess | None = None,
    ):
        if bool(recipe.encoder.space) != self.distils or recipe.face_embedding.space:
            raise RecipeError(f"Recipe {recipe.name} trains no voice encoder that tells speakers apart.")
        self.processes = processes or SingleProcess(device)
        self.recipe, self.settings, self.seed, self.device = recipe, recipe.encoder, seed, device
        self.iterations = self.settings.iterations
        voices = store.select(store.has_voice)
        speakers, labels = classes(voices)
        self.config = recipe.model.encoder
        if ENCODERS[self.config.type][1].recurrent:
            check_recurrent(recipe.run.precision, device)
        self._build(len(speakers))
        raw_log_mel = self.encoder.raw_log_mel
        self.bank = VoiceBank(voices, labels, store.about["features"]["min_frames"], raw_log_mel=raw_log_mel)
        self.sampler = EpochSampler(len(self.bank), seed, "clips")
        self.features, self.vad = store.about["features"], store.vad
        self.distortion = Distortion(voices, self.settings, raw_log_mel) if self.settings.augment else None
        self.data = voices.summary()

    def _build(self, speakers: int) -> None:
        """The nets, on the device, and their optimiser."""
        torch.manual_seed(self.seed)
        self.encoder = self.processes.sync_batchnorm(build_encoder(self.config).to(self.device))
        # The head is thrown away afterwards.
        self.head = self.processes.sync_batchnorm(self._head(speakers).to(self.device))
        self.weights = [*self.encoder.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(
            self.weights,
            lr=self.settings.lr,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
        )

    def start_from(self, encoder: nn.Module) -> None:
        """Go on from a trained encoder of the same net; who spoke to it is forgotten."""
        self.encoder.load_state_dict(encoder.state_dict())

    def _head(self, speakers: int) -> nn.Module:
        # Raw embeddings start near zero and a linear layer on them learns for hundreds of iterations next to
        # nothing: normalised per batch they do (synthetic world, 500 iterations: equal error rate 0.19).
        return nn.Sequential(
            nn.BatchNorm1d(self.config.embedding, affine=False), nn.Linear(self.config.embedding, speakers)
        )

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update; returns losses as tensors, so that the device is not waited for."""
        crops = generator(self.seed, "cuts", iteration)
        frames = int(crops.integers(self.settings.crop_frames[0], self.settings.crop_frames[1] + 1))
        items = self.sampler.draw(iteration, self.settings.batch)
        mine = self.processes.shard(self.settings.batch)
        mel, labels = self.bank.crops(items, frames, crops, mine)
        mel = mel.to(self.device)
        if self.distortion is not None:
            mel = self.distortion(mel, items[mine], labels.numpy(), self._mine("distortion", iteration))
        labels = labels.to(self.device)
        self._set_rate(iteration)
        self.encoder.train()
        with autocast(self.recipe.run.precision, self.device):
            e = self.encoder(mel)
        logits = self.head(e.float())
        loss = F.cross_entropy(logits, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average(self.weights)
        self.optimiser.step()
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return {"cross_entropy": loss.detach(), "accuracy": accuracy}

    def _mine(self, stream: str, step: int) -> np.random.Generator:
        """The numbers of a stream for this process's clips alone."""
        rng = generator(self.seed, stream, step)
        return rng.spawn(self.processes.size)[self.processes.rank] if self.processes.size > 1 else rng

    def _set_rate(self, iteration: int) -> None:
        done = min(iteration / self.iterations, 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.lr * 0.5 * (1 + math.cos(math.pi * done))

    def state(self) -> dict:
        return {
            "encoder": self.encoder.state_dict(),
            "head": self.head.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state: dict) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.head.load_state_dict(state["head"])
        self.optimiser.load_state_dict(state["optimiser"])

    def checkpoint(self, iteration: int) -> Checkpoint:
        info = {
            "recipe": self.recipe.to_dict(),
            "stage": self.name,
            "iteration": iteration,
            "data": self.data,
        }
        return Checkpoint(
            encoder_config=self.config,
            encoder=self.encoder,
            controls=self.recipe.model.controls,
            features=self.features,
            vad=self.vad,
            info=info,
        )

    def image(self):
        """This stage makes no images."""
        return None


class Distortion:
    """Distorts some clips of a batch: their speech, where the store keeps it, else their log-mels.

    A distorted crop is normalised over itself, as a recording of its length is; the others are pieces of
    log-mels that are normalised over the whole clip. Several processes draw for their own clips alone.

    Args:
        voices: the records of a `VoiceBank`.
        settings: share and strength.
        raw_log_mel: log-mels are not normalised.

    Raises:
        DataError: raw log-mels are wanted and the speech is not all kept (see `check_speech`).
    """

    def __init__(self, voices: Store, settings: EncoderRecipe, raw_log_mel: bool = False):
        check_speech(voices, raw_log_mel)
        self.share = settings.augment
        self.features = FeatureSettings.from_dict(voices.about["features"])
        self.speech = SpeechBank(voices, self.samples(self.features.min_frames))
        self.of_signals = SignalAugmentation(speed=settings.augment_speed, snr_db=settings.augment_snr)
        self.of_mels = MelAugmentation(speed=settings.augment_speed)
        self.raw_log_mel = raw_log_mel

    def samples(self, frames: int) -> int:
        """What so many frames are made of."""
        return (frames - 1) * self.features.hop + self.features.window

    def __call__(
        self, mel: Tensor, items: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """The batch with some clips distorted.

        Args:
            mel: float32 (batch, mel bins, frames).
            items: int64 (batch,), the records.
            labels: int64 (batch,), who speaks.
            rng: makes every choice.
        """
        chosen = rng.random(len(items)) < self.share
        heard = np.flatnonzero(chosen & self.speech.kept[items])
        if len(heard):
            samples = self.samples(mel.shape[2])
            speech = self.speech.crops(items[heard], self.of_signals.samples_needed(samples), rng)
            speech = speech.to(mel.device)
            speech = self.of_signals(speech, samples, labels[heard], self.features.sample_rate, rng)
            mel[heard] = log_mels(speech, self.features, normalised=not self.raw_log_mel)
        seen = np.flatnonzero(chosen & ~self.speech.kept[items])
        if len(seen):
            mel[seen] = self.of_mels(mel[seen], labels[seen], self.features, rng)
        return mel
