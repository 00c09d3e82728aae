"""The stage that calibrates an appearance model: its faces show what their e says.

A voice's e calls for an embedding of the face space, and what the space reads in the generated image is
another one: some elements of e are drawn weakly, age most of all, and each element moves others. Expression,
skin and detail, which come after the face decoder, add to that. So e is given to the decoder by a linear map,
which is learned through all that follows and becomes part of the decoder's first layer, its stem; everything
else stays. The map has no offset, so that the average face (e = 0) stays too. Each iteration draws e_i of the
data's voices, at the strengths of face_embedding.strength_range and clipped as a checkpoint clips it, and
noise z_i, 0 for every second face as in plain answers. g_i is its face, b_i the face that it was before
training, by the recipe's settings; read(g) is an embedding and attributes(g) are sex and age, each less its
mean over plain answers before training, and what e calls for likewise; squares are means over numbers:

    L = embedding_loss (1 - cos(read(g_i), target(e_i)))
      + attribute_loss |attributes(g_i) - sex_age(e_i)|^2
      + image_loss |g_i - b_i|^2
      + fine_loss |what is finer than FINE pixels of g_i - b_i|^2

with the weights of [appearance_model]. Without the last two terms the map draws fine lines, in which a face
network sees likeness and people see faults. No identity is learned: which e a voice has is the voice
encoder's.
"""

from copy import deepcopy
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from torch.func import functional_call

from voice2face_gan.data.batches.sampling import EpochSampler
from voice2face_gan.errors import DataError
from voice2face_gan.models.conditioning import soft_clip
from voice2face_gan.models.generators.appearance_model_config import AppearanceModelConfig
from voice2face_gan.models.generators.regions import smooth_blur
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.fits.faces import spread
from voice2face_gan.training.probes.gender import embed_store
from voice2face_gan.training.stages.batches import RandomStreams
from voice2face_gan.training.stages.gan_base import GanStage
from voice2face_gan.training.stages.losses import detached, weighted_sum
from voice2face_gan.training.stages.speech2face_losses import embedding_loss

FINE = 9
"""Pixels of a running mean, taken three times: what it leaves of an image is fine."""

STEM = "decoder.stem.weight"

PLAIN = 128
"""Plain answers whose mean reading is taken away."""

MOST = 4000
"""Voices whose e are drawn, evenly spread."""

_READ = 32  # plain answers together


class CalibrationStage(GanStage):
    """The map of e before a trained model's face decoder; arguments and errors as in GanStage.

    Raises:
        DataError: there is no voice encoder.
    Attributes:
        voices: (N, embedding), e of the data's voices.
        before: the generator that training began with. map: e -> what its decoder is given.
        blur: (side, side), of a row or column of pixels.
    """

    saved = ("generator", "generator_optimiser", "before", "map")
    compiled = ()
    any_zoom = masks_real = True
    same_identity = False

    def _build(self) -> None:
        if not self.takes_voices:
            raise DataError("A model is calibrated by voices' e; give a checkpoint with a voice encoder.")
        layout = {"device": self.device, "memory_format": torch.channels_last}
        model = build_generator(self.config).to(**layout).eval()
        model.requires_grad_(False)
        self.before = deepcopy(model)
        self.map = torch.nn.Linear(self.config.embedding, self.config.embedding, bias=False).to(self.device)
        torch.nn.init.eye_(self.map.weight)
        self._set_networks(model, [], self.map)
        self.limits = self.batches.limits(self.controls)
        voices = self.records.select(self.records.has_voice)
        voices = voices.select(spread(len(voices), MOST))
        self.voices = embed_store(voices, self.encoder, self.controls, self.device).to(self.device)
        self.sampler = EpochSampler(len(voices), self.seed, "voices")
        self.blur = smooth_blur(self.config.side, FINE).to(self.device)
        own = self.recipe.appearance_model
        self.g_weights = {
            "G_embedding": own.embedding_loss,
            "G_attributes": own.attribute_loss,
            "G_image": own.image_loss,
            "G_fine": own.fine_loss,
        }

    def take_generator(self, weights: dict[str, Tensor], config: AppearanceModelConfig) -> bool:
        super().take_generator(weights, config)
        self.before.load_state_dict(weights)
        return False  # what it learns is new

    def step(self, iteration: int) -> dict[str, Tensor]:
        self._set_lr(iteration)
        e, z = self._e(self.streams, iteration), self.streams.every_second_z(iteration, self.config.z_dim)
        with torch.no_grad():
            before = self._faces({}, e, z)
        faces = self._faces({STEM: self._stem()}, e, z)
        change = faces - before
        parts = *self.space.read(faces, self.streams.zooms(iteration)), *self.space.target(e)
        parts = (part - mean for part, mean in zip(parts, self.means, strict=True))
        embedding, attributes, wanted, sex_age = parts
        losses = {
            "G_embedding": embedding_loss(embedding, wanted).mean(),
            "G_attributes": (attributes - sex_age).square().mean(),
            "G_image": change.square().mean(),
            "G_fine": (change - self.blur @ change @ self.blur.t()).square().mean(),
        }
        self._step_generator(weighted_sum(losses, self.g_weights))
        with torch.no_grad():
            self.generator.get_parameter(STEM).copy_(self._stem())
        self._update_ema(iteration)
        return detached(losses)

    @cached_property
    @torch.no_grad()
    def means(self) -> list[Tensor]:
        """Means over plain answers before training, read without shifts and zooms: an embedding (K,), sex and
        age (2,), and what e calls for, likewise."""
        # The same in all processes.
        streams, found = replace(self.streams, batch=_READ, processes=SingleProcess(self.device)), []
        for piece in range(PLAIN // _READ):
            e = self._e(streams, piece)
            found.append((*self.space.read(self._faces({}, e)), *self.space.target(e)))
        return [torch.cat(parts).mean(dim=0) for parts in zip(*found, strict=True)]

    def _e(self, streams: RandomStreams, iteration: int) -> Tensor:
        """e (B, embedding) of voices, as the generator takes it."""
        items = self.sampler.draw(iteration, streams.batch)[streams.shard]
        strength = streams.strengths(iteration, self.recipe.face_embedding.strength_range)
        return soft_clip(strength * self.voices[torch.from_numpy(items)], self.limits)

    def _stem(self) -> Tensor:
        """The weights of the stem with the map in it."""
        return self.before.get_parameter(STEM) @ self.map.weight

    def _faces(self, changed: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        """Faces (B, 3, side, side), in [-1, 1], of e and z by the generator before training, some of its
        weights changed."""
        with self.autocast():
            return functional_call(self.before, changed, inputs).float().clamp(-1, 1)
