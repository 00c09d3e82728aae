"""The stage of the appearance model: its refiner against a discriminator.

Before the first iteration the face decoder comes from a checkpoint (appearance_model.decoder), components and
flow are fitted (training/fits/appearance_model.py), and all of these stay as they are. Each iteration draws
real faces r_i with e_i read from them, a share of these as a voice would give them
(batches.FaceEmbeddingBatches). Faces of their own e come with their own coefficients: what is drawn of them,
c_i, is the face itself without its fine structure. The others' coefficients are drawn from the flow. g_i is
c_i refined, D a discriminator, m its maps.

    L_D = softplus(D(g_i) - D(r_i)) + gamma / 2 (R1 + R2)
    L_G = softplus(D(r_i) - D(g_i))
        + gan.l1 |g_i - r_i| + feature_matching |m(g_i) - m(r_i)|     of own coefficients
        + coarse_loss |pooled g_i - pooled c_i|                        of drawn ones
        + embedding_loss (1 - cos(read(g_i) - a, target(e_i) - a))     a the average face's

with the recipe's weights, all but the last within a window on the head (augmentation/windows.py); the
relativistic loss and its penalties are those of r3gan.py. Feature matching: Wang et al., "pix2pixHD", CVPR
2018. So half of the batch is a restoration, which is learned fast and holds the refiner to what it is given;
the other half holds it to what it will be given: faces of voices, at the strengths of
face_embedding.strength_range and clipped as a checkpoint clips them.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.models.discriminators.residual import ResidualDiscriminator
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.augmentation.windows import draw_windows
from voice2face_gan.training.fits.appearance_model import (
    coefficients_of,
    prepare_appearance_model,
    textures_of,
)
from voice2face_gan.training.stages.adversarial import AdversarialStage
from voice2face_gan.training.stages.batches import Batch
from voice2face_gan.training.stages.face_decoder import SpaceReader, check_landmarks
from voice2face_gan.training.stages.losses import (
    detached,
    discriminator_loss,
    generator_loss,
    l1,
    perceptual_loss,
    weighted_sum,
)
from voice2face_gan.training.stages.speech2face_losses import embedding_loss

POOLED = 8  # pixels a side that are averaged, where a refined image is compared with the coarse one


class AppearanceModelStage(AdversarialStage):
    """The refiner against a discriminator; arguments and errors as in GanStage.

    Raises:
        DataError: the store kept no landmarks.
    """

    saved = ("generator", "discriminator", "generator_optimiser", "discriminator_optimiser")
    compiled = ()
    any_zoom = learns_landmarks = masks_real = True
    same_identity = False

    def _build(self) -> None:
        check_landmarks(self.batches.faces.landmarks is not None)
        layout = {"device": self.device, "memory_format": torch.channels_last}
        model = build_generator(self.config).to(**layout).eval()
        model.requires_grad_(False).refiner.requires_grad_(True)
        window = min(self.recipe.appearance_model.window, self.config.side)
        self.discriminator = ResidualDiscriminator(window).to(**layout)
        self._set_networks(model, [self.discriminator])
        own = self.recipe.appearance_model
        self.limits = self.batches.limits(self.controls)
        self.g_weights = {
            "G": self.settings.g_adversarial,
            "G_l1": self.settings.l1,
            "G_features": own.feature_matching,
            "G_coarse": own.coarse_loss,
            "G_embedding": own.embedding_loss,
        }

    def prepare(self, note: Callable[[str], None]) -> None:
        prepare_appearance_model(self, note)

    def step(self, iteration: int) -> dict[str, Tensor]:
        self._set_lr(iteration)
        batch = self.batches.draw(iteration)
        with torch.no_grad():
            e, coefficients, whole = self._coarse(iteration, batch)
        # The same for all processes, whose penalties are of pairs alike.
        window = self.recipe.appearance_model.window
        part, judged = draw_windows(self.seed, iteration, self.config.side, window, self.config.face_scale)
        coarse = part.of(whole)
        with self.autocast():
            fake = self.generator.refine(e, coefficients, coarse, part.of(self.generator.refined))
        fake = fake.float()
        # What is not refined teaches nothing: the discriminator would tell images apart by it.
        shown = judged.of(batch.visible * self.generator.refined)
        real, masked_fake = judged.of(batch.real) * shown, judged.within(part).of(fake) * shown
        for_real, for_fake, for_generator = self.streams.augmentation(iteration)
        images = self.augmented(torch.cat([real, masked_fake.detach()]), torch.cat([for_real, for_fake]))
        losses = self._discriminator_phase(iteration, images)
        if iteration < self.discriminator_first:
            return detached(losses)
        self._freeze_discriminator(True)
        own = batch.own_e.float()
        g_losses = self._adversarial_losses(real, masked_fake, own, for_generator)
        if self.settings.l1:
            g_losses["G_l1"] = l1(masked_fake, real, own, self.processes)
        pooled = F.avg_pool2d(fake, POOLED), F.avg_pool2d(coarse, POOLED)
        g_losses["G_coarse"] = l1(*pooled, 1 - own, self.processes)
        if self.g_weights["G_embedding"]:
            image = whole.clone()
            part.of(image).copy_(fake)
            g_losses["G_embedding"] = self._embedding_loss(iteration, image, e)
        self._step_generator(weighted_sum(g_losses, self.g_weights))
        self._freeze_discriminator(False)
        self._update_ema(iteration)
        return detached(losses | g_losses)

    def _coarse(self, iteration: int, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """e (B, embedding), coefficients (B, z_dim) and coarse images (B, 3, side, side) of a batch: own ones
        where e is the face's own, else drawn ones."""
        model = self.generator
        e = batch.clipped_e(self.limits)
        textures = textures_of(
            model, batch.face_e, batch.real, batch.visible, self.config.side * batch.landmarks
        )
        noise = model.truncated(self.streams.z(iteration, self.config.z_dim))
        coefficients = torch.where(
            batch.own_e[:, None], coefficients_of(model, textures), model.flow.draw(e, noise)
        )
        # A face's own expression is beside the real face's; a drawn face has the one that it will be given,
        # and moustache and glasses likewise.
        return e, coefficients, model.decoded(e, coefficients, batch.own_e).image

    def _discriminator_phase(self, iteration: int, images: Tensor) -> dict[str, Tensor]:
        """One step of the discriminator on augmented images, real then generated ones; its losses."""
        with self.autocast():
            real, fake = self.discriminator(images).float().chunk(2)
        losses = {"D": discriminator_loss(real, fake, self.recipe.r3gan.loss)}
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        losses["D"].backward()
        if gamma := self.gamma(iteration):
            losses["D_penalty"] = self.backward_penalty(
                images.detach(), lambda faces, pairs: self.discriminator(faces), gamma
            )
        self._step_discriminator()
        return losses

    def _adversarial_losses(
        self, real: Tensor, fake: Tensor, own: Tensor, drawn: Tensor
    ) -> dict[str, Tensor]:
        """Losses of generated images through the discriminator, beside the real ones augmented alike.

        Args:
            real, fake: (B, 3, side, side).
            own: (B,), 1 where the i-th of both are of one face.
            drawn: as in `augmented`.
        """
        with self.autocast():
            with torch.no_grad():
                real_score, real_maps = self.discriminator.with_maps(self.augmented(real, drawn))
            score, maps = self.discriminator.with_maps(self.augmented(fake, drawn))
        losses = {"G": generator_loss(score.float(), real_score.float(), self.recipe.r3gan.loss)}
        if self.g_weights["G_features"]:
            both = ([part.float() for part in of] for of in (maps, real_maps))
            losses["G_features"] = perceptual_loss(*both, own, self.processes)
        return losses

    def _embedding_loss(self, iteration: int, fake: Tensor, e: Tensor) -> Tensor:
        """1 - cosine between what the space reads in the first of all images and what e calls for.

        Args:
            fake: this process's images (B, 3, side, side).
        """
        whole = self.settings.batch
        read = math.ceil(self.recipe.appearance_model.embedding_share * whole)
        count = len(range(read)[self.processes.shard(whole)])  # of this process's images
        total = fake.new_zeros(())
        if count:
            reader = SpaceReader(self.space, self.streams.zooms(iteration)[:count])
            wanted = self.space.target(e[:count])[0] - self.space.centre
            total = embedding_loss(reader(fake[:count]).feature, wanted).sum()
        return self.processes.masked_mean(total, torch.tensor(float(count), device=self.device))
