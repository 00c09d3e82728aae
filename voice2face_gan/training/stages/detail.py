"""The stages of an appearance model's detail: its diffusion (models/generators/detail.py) on real faces, and
then the same in fewer evaluations.

Before the first iteration face decoder, components and flow come from a checkpoint or are fitted
(training/fits/appearance_model.py), and all of these stay as they are. Each iteration draws real faces r_i
with e_i read from them; their coarse images c_i are what the model draws of their own coefficients, of the
textures' but the first k_i, k_i drawn from 0 to texture_noise: as many as noise gives the faces of voices.

    d_i = (r_i - c_i) / SPREAD                  at the texture's side
    sigma_i, n_i, m_i                           log sigma normal; n_i and m_i standard normal images
    c'_i = c_i + a_i m_i                        a_i 0 or drawn from 0 to MOVED
    e'_i = l_i e_i + E_NOISE x                  shortened and moved as for the flow: e of voices are
    L = |F(in (d_i + sigma_i n_i), c'_i, e'_i, sigma_i, a_i) - what d_i asks of F|^2

a mean over the visible pixels, which count as much as a face gets of their detail, those of heads
appearance_model.head_weight times (EDM, equation 8, with the weights that make F's target alike for all
sigma).
There is no discriminator, and nothing is read from the images. With appearance_model.portraits below 1 the
faces that are most like portraits teach alone. Faces that are mostly beyond their images' edges are left out,
and what little is hidden of the others repeats what is visible next to it: where it was
0, the network learned the edges, and drew them around every head.

A diffusion in K evaluations, at sigma_1 > ... > sigma_K, is taught by a trained one with guidance, which
takes several from each sigma_i to the next, or by one that was distilled to two before (progressive
distillation, Salimans and Ho, ICLR 2022). Faces are drawn as the model will draw them, of e of faces and of
simulated voices; x_i is the teacher's x at sigma_i:

    L = mean_i |m D(x_i, sigma_i) - D_i|    D_i what takes x_i to x_i+1 in one step, for i = K the detail;
                                            m how much of it a pixel gets, in the teacher's steps likewise
"""

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.batches.sampling import gaussian, random_source
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.models.generators.appearance_model_config import AppearanceModelConfig
from voice2face_gan.models.generators.detail import (
    MOVED,
    MOVED_SHARE,
    SIGMA_MEAN,
    SIGMA_STD,
    SMALLEST,
    SPREAD,
    drawn_sigmas,
    start,
)
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.fits.appearance_model import (
    E_NOISE,
    SHORTENED,
    coefficients_of,
    prepare_appearance_model,
    textures_of,
)
from voice2face_gan.training.fits.portraits import portraits
from voice2face_gan.training.stages.batches import Batch
from voice2face_gan.training.stages.face_decoder import check_landmarks
from voice2face_gan.training.stages.gan_base import GanStage
from voice2face_gan.training.stages.losses import detached

LEAST_VISIBLE = 0.75
"""Share of a face's pixels that lie within its image; others are not trained on."""

_NET = "diffusion."  # what its weights' names begin with


class DetailStage(GanStage):
    """The diffusion by itself; arguments and errors as in GanStage.

    Raises:
        DataError: the store kept no landmarks.
    """

    saved = ("generator", "generator_optimiser")
    compiled = ()
    any_zoom = learns_landmarks = masks_real = True
    same_identity = False

    def _build(self) -> None:
        check_landmarks(self.batches.faces.landmarks is not None)
        model = build_generator(self.config).to(device=self.device, memory_format=torch.channels_last).eval()
        model.requires_grad_(False).diffusion.requires_grad_(True)
        self._set_networks(model, [])
        more = self.recipe.appearance_model.head_weight - 1
        self.weight = model.detailed * (1 + more * model.small(model.head[None, None])[0, 0])

    def _taught_by(self, records: Store) -> Store:
        records, share = _visible(records), self.recipe.appearance_model.portraits
        return records if share == 1 else portraits(records, share)

    def prepare(self, note: Callable[[str], None]) -> None:
        prepare_appearance_model(self, note)

    def take_generator(self, weights: dict[str, Tensor], config: AppearanceModelConfig) -> bool:
        own = {k: v for k, v in self.generator.state_dict().items() if k.startswith(_NET)}
        super().take_generator(own | weights, config)
        # Most levels of noise are new to a diffusion that was distilled.
        return bool(config.detail_channels) and not config.distilled

    def step(self, iteration: int) -> dict[str, Tensor]:
        self._set_lr(iteration)
        sigma, moved, kept, length = self._drawn(iteration)
        batch = self.batches.draw(iteration)
        coarse, detail, visible = self._faces(batch, kept)
        shape = (self.settings.batch, batch.face_e.shape[1])
        change = self._mine(gaussian(shape, self.seed, "noise", iteration))
        e = length[:, None] * batch.face_e + E_NOISE * change
        shape = (self.settings.batch, *detail.shape[1:])
        noise = self._mine(gaussian(shape, self.seed, "detail noise", iteration))
        added = self._mine(gaussian(shape, self.seed, "coarse noise", iteration))
        coarse = coarse + moved[:, None, None, None] * added
        with self.autocast():
            weight = visible * self.weight
            loss = self.generator.diffusion.loss(detail, coarse, weight, e, sigma, moved, noise).mean()
        self._step_generator(loss)
        self._update_ema(iteration)
        return detached({"G_detail": loss})

    def _drawn(self, iteration: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of an iteration sigma, the standard deviation of the coarse images' noise, how many textures'
        coefficients they keep, and how much of e F is given: each (B,)."""
        source, batch = random_source(self.seed, "detail", iteration), self.settings.batch
        sigma = source.normal(SIGMA_MEAN, SIGMA_STD, batch)
        moved = source.uniform(0, MOVED, batch) * (source.random(batch) < MOVED_SHARE)
        kept = source.integers(0, self.config.texture_noise + 1, batch)
        length = source.uniform(0, 1 / SHORTENED, batch).clip(max=1)
        mine = self.streams.shard
        drawn = (torch.from_numpy(numbers[mine]) for numbers in (sigma, moved, kept, length))
        sigma, *others = (numbers.float().to(self.device) for numbers in drawn)
        return sigma.exp(), *others

    def _mine(self, whole: Tensor) -> Tensor:
        """This process's part of what was drawn for a batch."""
        return whole[self.streams.shard].to(self.device)

    @torch.no_grad()
    def _faces(self, batch: Batch, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coarse images and detail (B, 3, side, side) of real faces, and (B, 1, side, side), 1 where they are
        visible, at the texture's side.

        Args:
            kept: (B,), the textures' coefficients that coarse images are made of, the leading ones.
        """
        model, e = self.generator, batch.face_e
        faces = textures_of(model, e, batch.real, batch.visible, self.config.side * batch.landmarks)
        coefficients = coefficients_of(model, faces)
        place = torch.arange(coefficients.shape[1], device=self.device)
        coefficients = coefficients * (place < self.config.shape_components + kept[:, None])
        # Expression, moustache and glasses stay the face's own.
        coarse = model.small(model.decoded(e, coefficients, torch.ones_like(kept)).image)
        visible = 1 - F.max_pool2d(1 - batch.visible, self.config.side // self.config.texture_side)
        return coarse, repeated_beyond((model.small(batch.real) - coarse) / SPREAD, visible), visible


class DetailDistillationStage(DetailStage):
    """A diffusion of few evaluations, beginning with that of a checkpoint, which teaches it.

    Attributes:
        teacher: that of the checkpoint. taught: the sigmas where it is evaluated, ours among them, and its
            guidance.
    """

    saved = ("generator", "generator_optimiser", "teacher")

    def _build(self) -> None:
        super()._build()
        self.teacher = deepcopy(self.generator.diffusion).requires_grad_(False)
        self.limits = self.batches.limits(self.controls)
        self.sigmas = drawn_sigmas(self.config.detail_steps, self.config.detail_smallest)
        settings = self.recipe.appearance_model
        self.taught = finer(self.sigmas, settings.teacher_steps), settings.teacher_guidance

    def take_generator(self, weights: dict[str, Tensor], config: AppearanceModelConfig) -> bool:
        super().take_generator(weights, config)
        self.teacher.load_state_dict(self.generator.diffusion.state_dict())
        if config.distilled:  # it has learned guidance, and nothing of other sigmas
            self.taught = drawn_sigmas(config.detail_steps, config.detail_smallest), 1.0
        return False  # what it learns is new

    def state(self) -> dict:
        return super().state() | {"taught": self.taught}

    def load(self, state: dict) -> None:
        super().load(state)
        self.taught = state.get("taught", self.taught)

    def step(self, iteration: int) -> dict[str, Tensor]:
        self._set_lr(iteration)
        student, detailed = self.generator.diffusion, self.generator.detailed
        e, coarse, x = self._begun(iteration)
        sigmas, guidance = self.taught
        with torch.no_grad(), self.autocast():
            path = self.teacher.path(coarse, e, x, sigmas, self.generator.guidance(guidance), detailed)
        states = path[:: len(sigmas) // len(self.sigmas)]
        still = torch.zeros_like(e[:, 0])
        loss = 0.0
        for i, sigma in enumerate(self.sigmas):
            share = self.sigmas[i + 1] / sigma if i + 1 < len(self.sigmas) else 0.0
            wanted = (states[i + 1] - share * states[i]) / (1 - share)
            with self.autocast():
                found = detailed * student.denoised(states[i], coarse, e, still + sigma, still)
            loss = loss + (found - wanted).abs().mean() / len(self.sigmas)
        self._step_generator(loss)
        self._update_ema(iteration)
        return detached({"G_detail": loss})

    @torch.no_grad()
    def _begun(self, iteration: int) -> tuple[Tensor, Tensor, Tensor]:
        """e (B, embedding), the coarse images (B, 3, side, side) that are drawn of it at the texture's side,
        and x at the largest sigma. Every second face has no noise but e's own, as plain answers have."""
        model, batch = self.generator, self.batches.draw(iteration)
        e = batch.clipped_e(self.limits)
        noise = model.noise(e, self.streams.every_second_z(iteration, self.config.z_dim))
        coefficients = model.flow.draw(e, model.truncated(noise))
        coarse = model.small(model.blurred(model.decoded(e, coefficients).image))
        return e, coarse, start(model.detail_start(noise, coarse))


def finer(sigmas: list[float], steps: int) -> list[float]:
    """From each of falling sigmas as many steps to the next, and from the last to SMALLEST: their sigmas, at
    even ratios."""
    parts = [np.geomspace(a, b, steps, endpoint=False) for a, b in pairwise(sigmas)]
    return np.concatenate([*parts, np.geomspace(sigmas[-1], SMALLEST, steps)]).tolist()


def repeated_beyond(images: Tensor, visible: Tensor) -> Tensor:
    """Images (B, channels, side, side) whose hidden pixels are those next to them within the visible part.

    Args:
        visible: (B, 1, side, side), 1 in a rectangle, 0 elsewhere.
    """
    for axis in (2, 3):
        seen = visible[:, 0].amax(dim=2 if axis == 2 else 1)  # rows, then columns
        first, last = seen.argmax(dim=1), seen.shape[1] - 1 - seen.flip(1).argmax(dim=1)
        place = torch.arange(seen.shape[1], device=seen.device).expand_as(seen)
        place = place.maximum(first[:, None]).minimum(last[:, None])
        place = place[:, None, :, None] if axis == 2 else place[:, None, None, :]
        images = images.gather(axis, place.expand_as(images))
    return images


def _visible(records: Store) -> Store:
    """The records of faces that lie mostly within the images that they were taken from.

    Raises:
        DataError: there is none.
    """
    shown = records.visible_share >= LEAST_VISIBLE
    if not shown.any():
        raise DataError(
            f"{records.folder}: no face lies within its image by {100 * LEAST_VISIBLE:.0f} %, and this "
            "generator learns what is around faces; use images with more room around them."
        )
    return records.select(shown)
