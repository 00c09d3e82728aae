"""What the GAN stages share: data, frozen voice encoder, optimisers, EMA, learning rate, state, image grid.

A stage (wen2019.py, r3gan.py) builds its networks and has a `step`; batches come from batches.py, losses from
losses.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.data.batches.people import fixed_clips, fixed_faces, with_both
from voice2face_gan.data.batches.sampling import FaceBank, VoiceBank, classes
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast, keep_freed_memory, uses_bf16
from voice2face_gan.errors import DataError
from voice2face_gan.faces.pixels import to_grid, to_uint8
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import Controls, condition
from voice2face_gan.models.reader_space import ReaderSpace
from voice2face_gan.models.registry import GeneratorConfig, build_generator, takes_voices
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.probes.gender import gender_probe
from voice2face_gan.training.recipe.schema import GanRecipe, Recipe
from voice2face_gan.training.stages.batches import (
    FaceEmbeddingBatches,
    RandomStreams,
    VoiceFaceBatches,
    labels_of_known,
)
from voice2face_gan.training.stages.face_embedding import (
    embeddings_of_faces,
    open_space,
    predicted_variance,
)

# Iterations in which a new discriminator beside a trained generator is trained alone: before it separates
# real faces from generated ones, its gradient is random and damages the generator.
DISCRIMINATOR_FIRST = 100
# Learning rate of a generator from a checkpoint (--init), as a share of gan.lr; the discriminator's rate is
# gan.lr. At the whole rate 48 iterations on 13 faces undid the default: a detector found 51 faces in 64
# images, for 64 before.
FINE_TUNE_RATE = 0.1


class GanStage:
    """A generator against a discriminator, on a frozen voice encoder.

    Args:
        store: training records. Identities with both voices and faces are the classes of the identity
            classifier; without a face space the others are left out. Without a voice encoder all with faces
            are taken.
        held_out: records whose clips, or faces, are shown in the image grids.
        encoder: a pretrained one, as a checkpoint; of the type "none" for a decoder of faces' e alone.
        recipe: see GanRecipe. With face_embedding.space the stage trains on e read from faces, else on e of
            voices.
        seed: of weights and batches.
        device: where it computes.
        processes: those that train together; default: this one alone.
        note: called with a sentence for the user where faces are read for long.
    Attributes:
        same_identity: without a face space, the real faces of a batch are of its voices' identities.
        discriminator_first: iterations without a step of the generator.
        fine_tunes: whether the generator came from a checkpoint.
        space: the face space, or None.
        probe: of gender, on the encoder's e of the training voices; None where genders are unknown.
    Raises:
        DataError: fewer than two identities have both voices and faces; the faces were not read into the
            space, or the encoder is of no space or of another.
        CheckpointError: the space is missing or damaged.
    """

    name = "gan"
    saved: tuple[str, ...]  # networks and optimisers that a resumed run needs
    compiled: tuple[str, ...]  # networks, with run.compile
    schedule_was_fitted = False  # to the time that there is, by `fit_schedule`
    any_zoom = False  # faces keep the store's zoom, and the face space is moved to it
    learns_landmarks = False  # batches have them
    any_reader = False  # e may be the feature of a face reader, without sex and age
    masks_real = False  # real faces lack the pixels beyond the edges of their images

    def __init__(
        self,
        store: Store,
        held_out: Store,
        encoder: Checkpoint,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        processes: SingleProcess | None = None,
        note: Callable[[str], None] | None = None,
    ):
        self.processes = processes or SingleProcess(device)
        self.recipe, self.settings, self.seed, self.device = recipe, recipe.gan, seed, device
        self.iterations = self.settings.iterations
        self.discriminator_first, self.fine_tunes = 0, False
        # The generator is the recipe's, the encoder its own checkpoint's, which may be of another recipe.
        self.config = replace(
            recipe.model.generator, embedding=encoder.encoder_config.embedding, face_scale=store.zoom
        )
        self.controls = controls_of(recipe.model.controls, encoder.controls)
        self.given = encoder  # its probes and its face space go into every checkpoint
        if device.type == "cpu":
            keep_freed_memory()
        self.encoder = encoder.encoder.to(device).eval().requires_grad_(False)
        self.takes_voices = takes_voices(encoder.encoder_config)
        self.records = with_both(store) if self.takes_voices else store.select(store.has_face)
        self.known = classes(self.records)[0]  # the classifier's classes
        self.data = self.records.summary()
        self.streams = RandomStreams(seed, self.settings.batch, self.processes, device)
        self.space = None
        if recipe.face_embedding.space:
            self.batches = self._face_embedding_batches(store, note)
        else:
            self.batches = self._voice_face_batches()
        if self.takes_voices:
            self._grid_voices, self._grid_faces = fixed_clips(held_out, self.encoder.takes)
        else:
            self._grid_voices, self._grid_faces = [], fixed_faces(held_out)
        torch.manual_seed(seed + 1)
        self._build()

    @property
    def same_identity(self) -> bool:
        raise NotImplementedError

    def _build(self) -> None:
        """Makes the networks, on the device and from the current random state, and gives them to
        `_set_networks`."""
        raise NotImplementedError

    def _voice_face_batches(self) -> VoiceFaceBatches:
        records, device = self.records, self.device
        labels, takes = classes(records)[1], self.encoder.takes
        voice, face = records.has_voice, records.has_face
        shortest = records.about["features"]["min_frames"]
        voices = VoiceBank(records.select(voice), labels[voice], shortest, device, takes)
        faces = FaceBank(records.select(face), labels[face], device, self.masks_real)
        encoder = self.encoder
        if uses_bf16(self.recipe.run.precision, device):
            encoder = encoder.frozen(torch.bfloat16)
        size, controls = self.config.embedding, self.controls
        return VoiceFaceBatches(
            voices, faces, encoder, size, controls, self.recipe, self.streams, self.same_identity
        )

    def _face_embedding_batches(
        self, store: Store, note: Callable[[str], None] | None
    ) -> FaceEmbeddingBatches:
        name = self.recipe.face_embedding.space
        self.space = open_space(name, self.given).to(device=self.device, memory_format=torch.channels_last)
        if self.any_zoom:
            self.space.at_zoom(store.zoom)
        if isinstance(self.space, ReaderSpace) and not self.any_reader:
            raise DataError(
                f"{name} is a face reader, whose feature a face decoder alone takes as e "
                "(model.generator.type = 'face_decoder'); make a face space with v2f-gan face-space."
            )
        records = self._taught_by(store.select(store.has_face))
        e = torch.from_numpy(embeddings_of_faces(records, self.space, name, note))
        if isinstance(self.space, ReaderSpace):
            self.space.fit(e)
        self._keep_space()
        r2 = predicted_variance(self.given, self.space, name)
        self.data = {**self.data, "faces": len(records)}
        faces = FaceBank(records, labels_of_known(records, self.known), self.device, self.masks_real)
        visible = np.flatnonzero(records.fully_visible)
        people = np.unique(records.identity, return_inverse=True)[1]
        simulation = self.given.voice_simulation
        return FaceEmbeddingBatches(
            *(faces, visible, people, e, r2, self.recipe, self.streams, simulation),
            landmarks=self.learns_landmarks,
        )

    def _taught_by(self, records: Store) -> Store:
        """Of the records with faces those that are trained on, where there is a face space."""
        return records

    def _keep_space(self) -> None:
        """A checkpoint keeps the space that its generator was trained on. That of its voice encoder is there
        already, with what the encoder's stage said of it."""
        if isinstance(self.space, ReaderSpace) or not self.given.face_space:
            info = {**self.given.info, "face_space": self.space.summary()}
            self.given = replace(self.given, face_space=self.space.map_tensors(), info=info)

    def _set_networks(
        self, generator: nn.Module, discriminator: Sequence[nn.Module], learns: nn.Module | None = None
    ) -> None:
        """Takes the networks, which are on the device, of the discriminator none or more; makes their
        optimisers and the generator's EMA.

        Args:
            learns: whose weights are learned instead of the generator's own.
        """
        self.generator = generator
        self.discriminator_parameters = [p for net in discriminator for p in net.parameters()]
        self.generator_parameters = [p for p in (learns or generator).parameters() if p.requires_grad]
        self.generator_optimiser = adam(self.generator_parameters, self.settings)
        self.discriminator_optimiser = None
        if self.discriminator_parameters:
            self.discriminator_optimiser = adam(self.discriminator_parameters, self.settings)
        self.generator_ema = None
        if self.settings.ema_decay:
            ema = build_generator(self.config).to(self.device, memory_format=torch.channels_last)
            ema.load_state_dict(generator.state_dict())
            self.generator_ema = ema.eval().requires_grad_(False)
        if self.recipe.run.compile:
            for name in self.compiled:
                getattr(self, name).compile()  # in place: their states keep their names

    @cached_property
    def probe(self) -> Tensor | None:
        # Fitted when the first checkpoint is saved: a checkpoint that training starts from brings its own.
        if not self.takes_voices:
            return None
        return gender_probe(self.records, self.encoder, self.controls, self.device)

    def autocast(self):
        return autocast(self.recipe.run.precision, self.device)

    @property
    def schedule_fits_time(self) -> bool:
        """True where the schedule has an end that makes a difference: then --minutes moves it."""
        return self.settings.lr_decay > 0

    def fit_schedule(self, iterations: int, done: int) -> None:
        """Moves the schedule's end.

        Args:
            iterations: how many there is time for.
            done: how many are.
        """
        self.schedule_was_fitted = True
        self.iterations = max(done, iterations)

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update of the discriminator and one of the generator; losses as tensors, so that the device is
        not waited for."""
        raise NotImplementedError

    def sample(self, generator: nn.Module, e: Tensor) -> Tensor:
        """Faces of e (N, embedding) for the image grid, always the same for the same weights."""
        return generator(e)

    def _set_lr(self, iteration: int) -> None:
        decaying = self.settings.lr_decay * self.iterations
        left = min(1.0, (self.iterations - iteration) / decaying) if decaying else 1.0
        share = FINE_TUNE_RATE if self.fine_tunes else 1.0
        discriminator = self.settings.d_lr_factor
        for optimiser, factor in (
            (self.discriminator_optimiser, discriminator),
            (self.generator_optimiser, share),
        ):
            for group in optimiser.param_groups if optimiser else ():
                group["lr"] = factor * self.settings.lr * max(left, 0.0)

    def _step_discriminator(self) -> None:
        """One step down the gradients that the losses have left."""
        self.processes.average(self.discriminator_parameters)
        self.discriminator_optimiser.step()

    def _step_generator(self, loss: Tensor) -> None:
        """One step of the generator down a loss."""
        self.generator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average(self.generator_parameters)
        self.generator_optimiser.step()

    def _freeze_discriminator(self, frozen: bool) -> None:
        for parameter in self.discriminator_parameters:
            parameter.requires_grad_(not frozen)

    @torch.no_grad()
    def _update_ema(self, iteration: int) -> None:
        """Moves the EMA towards the generator, faster early in training."""
        if self.generator_ema is None:
            return
        decay = self.settings.ema_decay
        if not self.fine_tunes:
            decay = min(decay, 1 - 9 / (10 + iteration))
        ema, generator = self.generator_ema, self.generator
        torch._foreach_lerp_(list(ema.parameters()), list(generator.parameters()), 1 - decay)
        for averaged, current in zip(ema.buffers(), generator.buffers(), strict=True):
            averaged.copy_(current)

    def _saved(self) -> tuple[str, ...]:
        return self.saved if self.generator_ema is None else (*self.saved, "generator_ema")

    def take_generator(self, weights: dict[str, Tensor], config: GeneratorConfig) -> bool:
        """Begins with the weights of a trained generator, of that config.

        Returns:
            Whether it goes on with what they have learned.
        """
        self.generator.load_state_dict(weights)
        if self.generator_ema is not None:
            self.generator_ema.load_state_dict(weights)
        return True

    def state(self) -> dict:
        return {
            **{name: getattr(self, name).state_dict() for name in self._saved()},
            **({"iterations": self.iterations} if self.schedule_was_fitted else {}),
            "discriminator_first": self.discriminator_first,
            "fine_tunes": self.fine_tunes,
        }

    def load(self, state: dict) -> None:
        self.schedule_was_fitted = "iterations" in state
        self.iterations = state.get("iterations", self.iterations)
        self.discriminator_first = state.get("discriminator_first", 0)
        self.fine_tunes = state.get("fine_tunes", False)
        for name in self._saved():
            getattr(self, name).load_state_dict(state[name])

    def checkpoint(self, iteration: int) -> Checkpoint:
        info = {
            "recipe": self.recipe.to_dict(),
            "stage": self.name,
            "iteration": iteration,
            "gender": self.recipe.data.gender,
            "data": self.data,
        }
        if "face_space" in self.given.info:
            info["face_space"] = self.given.info["face_space"]
        return Checkpoint(
            encoder_config=self.given.encoder_config,
            encoder=self.encoder,
            generator_config=self.config,
            generator=self.generator if self.generator_ema is None else self.generator_ema,
            controls=self.controls,
            gender_probe=self.probe,
            features=self.given.features,
            vad=self.given.vad,
            info=info,
            probes=self.given.probes,
            face_space=self.given.face_space,
            voice_simulation=self.given.voice_simulation,
        )

    def image(self):
        """PIL image: the fixed clips' own faces above, what is generated from their voices below; without a
        voice encoder what is generated from e of the faces themselves."""
        generator = self.generator if self.generator_ema is None else self.generator_ema
        was_training = generator.training
        generator.eval()
        with torch.no_grad():
            if self.takes_voices:
                e = torch.cat([self.encoder(v[None].to(self.device)) for v in self._grid_voices])
                e = condition(e, self.controls)
            else:
                e = self.space.encode_faces(self._grid_faces).to(self.device)
            faces = to_uint8(self.sample(generator, e)).cpu()
        generator.train(was_training)
        return to_grid(torch.cat([self._grid_faces, faces]), columns=len(faces))


def adam(parameters, settings: GanRecipe) -> torch.optim.Adam:
    """Adam with one fused kernel for all parameters where the device has it."""
    parameters = list(parameters)
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, lr=settings.lr, betas=settings.betas, fused=fused)


def controls_of(own: Controls, encoder: Controls) -> Controls:
    """A recipe's controls with what was found with the voice encoder; all of that is of an e that is not
    normalised."""
    if own.normalise_embedding:
        return own
    found = {"strength": encoder.strength, "soft_clip": encoder.soft_clip}
    return replace(own, **found, residual_std=encoder.residual_std)
