"""What the voice encoder's stages share: records, settings, random numbers, checkpoint."""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.data.batches.sampling import EpochSampler, VoiceBank, classes, random_source
from voice2face_gan.data.store import Store
from voice2face_gan.device import check_recurrent
from voice2face_gan.errors import RecipeError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.registry import ENCODERS
from voice2face_gan.training.augmentation.clip_augmenter import ClipAugmenter
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.recipe.schema import Recipe


class EncoderStage:
    """A stage that trains `encoder`, which each kind of stage builds.

    Args:
        store: training records; those with a voice are used.
        recipe: see EncoderRecipe.
        seed: of weights and batches.
        device: where it computes.
        processes: those that train together; default: this one alone.
    Raises:
        RecipeError: the recipe is for another stage.
        DeviceError: a recurrent encoder cannot be trained in the recipe's precision there.
    """

    name = "encoder"
    distils = False  # a teacher, into an encoder of a face space
    on_space = False  # of a face space that it fits, on which the generator is trained
    pairs = False  # on pairs of voices and faces, beside a face decoder that is given

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        processes: SingleProcess | None = None,
    ):
        if bool(recipe.encoder.space) != self.distils or bool(recipe.face_embedding.space) > self.on_space:
            trained = "distils a teacher" if self.distils else "classifies speakers"
            wanted = "needs encoder.space" if self.distils else "goes without encoder.space"
            raise RecipeError(
                f"Recipe {recipe.name} is not for the stage of the voice encoder that {trained}: that stage "
                f"{wanted} and goes without face_embedding.space."
            )
        if recipe.pairs != self.pairs:
            needs = "needs" if self.pairs else "goes without"
            raise RecipeError(
                f"Recipe {recipe.name}: this stage of the voice encoder {needs} speech2face.pairing."
            )
        self.processes = processes or SingleProcess(device)
        self.recipe, self.settings, self.seed, self.device = recipe, recipe.encoder, seed, device
        self.iterations = self.settings.iterations
        self.store, self.voices = store, store.select(store.has_voice)
        self.speakers, self.labels = classes(self.voices)
        self.config = recipe.model.encoder
        if ENCODERS[self.config.type][1].recurrent:
            check_recurrent(recipe.run.precision, device)
        self.sampler = EpochSampler(len(self.voices), seed, "clips")
        self.features, self.vad, self.data = store.about["features"], store.vad, self.voices.summary()
        torch.manual_seed(seed)
        self._build()

    def _build(self) -> None:
        """Makes the encoder and what trains it, on the device and from the current random state."""
        raise NotImplementedError

    def _open_clips(self) -> None:
        """Makes what `_draw_clips` draws from, as `encoder` takes its input."""
        takes = self.encoder.takes
        self.bank = VoiceBank(self.voices, self.labels, self.features["min_frames"], takes=takes)
        self.augmenter = ClipAugmenter(self.voices, self.settings, takes) if self.settings.augment else None

    def _draw_clips(self, iteration: int) -> tuple[np.ndarray, Tensor, Tensor]:
        """A batch: the clips drawn (whole batch,); of this process's part random crops as the encoder takes
        them, log-mels (B, mel bins, frames) or speech (B, samples), some augmented, on the device, and the
        speakers (B,)."""
        crops = random_source(self.seed, "cuts", iteration)
        frames = int(crops.integers(self.settings.crop_frames[0], self.settings.crop_frames[1] + 1))
        items = self.sampler.draw(iteration, self.settings.batch)
        mine = self.processes.shard(self.settings.batch)
        voices, labels = self.bank.crops(items, frames, crops, mine)
        voices = voices.to(self.device)
        if self.augmenter is not None:
            rng = self.rank_random_source("clip augmentation", iteration)
            voices = self.augmenter(voices, items[mine], labels.numpy(), rng)
        return items, voices, labels

    def rank_random_source(self, stream: str, step: int) -> np.random.Generator:
        """The random numbers of a stream for this process's clips alone."""
        rng = random_source(self.seed, stream, step)
        return rng.spawn(self.processes.size)[self.processes.rank] if self.processes.size > 1 else rng

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
        """None: these stages make no images."""
        return None
