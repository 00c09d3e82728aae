"""The GAN stage of the R3GAN networks, and the stage of the default model.

Without a face space each iteration draws voices v_i with identities y_i, a real face r_i of the same
identity, and noise z_i:

    e_i = noisy(encoder(v_i)),  g_i = G(e_i, z_i),  s = D's score of a face and e_i
    L_D = softplus(s(g_i) - s(r_i)) + gamma / 2 (R1 + R2) + CE(C(r_i), y_i) + (1 - cos(read(r_i), e_i))
    L_G = softplus(s(r_i) - s(g_i)) + CE(C(g_i), y_i)     + (1 - cos(read(g_i), e_i)) + |g_i - r_i|

with the recipe's weights before the last terms (gan.d_identity, gan.g_identity, r3gan.embedding_loss,
gan.l1). A term of weight 0 is not computed: in the recipes r3gan and default neither CE term is, in r3gan
the L1 term is not. The losses are functions in losses.py. The relativistic loss and the two zero-centred
gradient penalties R1 (real faces) and R2 (generated ones) are those of Huang et al. (NeurIPS 2024); the
penalties are computed on a share of each batch. `read` is a head of the discriminator that regresses e
from a face; it is trained on real faces alone. The discriminator sees augmented faces (DiffAugment).

With a face space (face_embedding.space, as in the recipe r3gan-face-embedding) it draws real faces r_i with
or without a voice, and e_i read from them, a share of these as a voice would give them
(batches.FaceEmbeddingBatches). Two terms change:

    L_G += ramp identity_loss (|space(g_i) - target(e_i)|^2 + 1/4 |sex, age of g_i - those of e_i|^2)
    |g_i - r_i|   counts where e_i is the face's own, and by `simulated_l1` where it is as a voice would give
                  it, with a weight that falls to `l1_left` along the ramp
    L_G += ramp perceptual_loss |maps of g_i - maps of r_i|, weighted likewise; maps of the space's network

The face network behind the space is easily fooled: with its loss from iteration 0 the generator converges to
adversarial textures (after 200 iterations 88 % of the images' embeddings were nearer to their own person's
than to another's, and not one was a face). So the loss begins after a warm-up and ramps up
(`identity_loss_from`); the L1 loss makes faces in the meantime. What e leaves open is z's. A share of the
batch has z = 0, the image shown for a voice by default; a generator that only saw noise makes it pale.

With a linear image (model.generator.linear_side) half of a batch comes with the face's own z: the scores of
the principal components of what e leaves open in it. (e, own z) is decoded into the face itself; e with z = 0
into the mean of the faces of such voices; e with a random z counts in the adversarial loss alone.

With g_adversarial = 0 there is no discriminator: what is left is a decoder of e (Cole et al., CVPR 2017).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from voice2face_gan.models.discriminators.r3gan import FaceTrunk, Heads
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.fits.linear_image import fit_linear_image
from voice2face_gan.training.stages.adversarial import AdversarialStage
from voice2face_gan.training.stages.batches import Batch
from voice2face_gan.training.stages.losses import (
    classification,
    cosine_distance,
    detached,
    discriminator_loss,
    generator_loss,
    identity_loss,
    l1,
    loss_ramp,
    perceptual_loss,
    weighted_sum,
)

ZERO_Z = 0.25  # share of a batch with z = 0, on a face space
OWN_Z = 0.5  # share of a batch with the faces' own z, where there is a linear image
ZERO_Z_BESIDE = 0.5  # share of the rest with z = 0
SEX_AGE = 0.25  # weight of sex and age beside the whole embedding


class Counts(NamedTuple):
    """How much each face of a batch counts in losses.

    Attributes:
        beside_real: (B,), in the comparison with the real face; None for all alike.
        read: (B,), in what the face space reads; None for all alike.
        e: (B, embedding), that is to be read in it.
    """

    beside_real: Tensor | None
    read: Tensor | None
    e: Tensor


class R3GANStage(AdversarialStage):
    """Generator against a conditional discriminator; arguments and errors as in GanStage."""

    saved = ("generator", "generator_optimiser")
    compiled = ("generator",)  # the penalties need second derivatives, which compiled networks do not give
    masks_real = True

    @property
    def same_identity(self) -> bool:
        return self.recipe.r3gan.same_identity

    def _build(self) -> None:
        layout = {"device": self.device, "memory_format": torch.channels_last}
        generator = build_generator(self.config).to(**layout)
        self.has_own_z = bool(self.config.linear_side and self.space is not None)
        if self.has_own_z:
            fit_linear_image(generator, self.batches, self.seed, self.recipe.data.flip)
        self.adversarial = self.settings.g_adversarial > 0
        if self.adversarial:
            self.trunk = FaceTrunk(self.config).to(**layout)
            self.heads = Heads(self.config, len(self.known)).to(self.device)
            self.saved = ("generator", "trunk", "heads", "generator_optimiser", "discriminator_optimiser")
        self._set_networks(generator, [self.trunk, self.heads] if self.adversarial else [])
        self.z_dim = self.config.z_dim
        self.zero_z = ZERO_Z if self.space is not None else 0.0
        if self.has_own_z:
            self.zero_z = ZERO_Z_BESIDE
        self.g_weights = {
            "G": self.settings.g_adversarial,
            "G_identity": self.settings.g_identity,
            "G_read": self.recipe.r3gan.embedding_loss if self.same_identity else 0.0,
            "G_l1": self.settings.l1,
        }
        self.regresses_e = bool(self.g_weights["G_read"])

    def step(self, iteration: int) -> dict[str, Tensor]:
        self._set_lr(iteration)
        batch = self.batches.draw(iteration)
        z, counts = self._z(iteration, batch)
        with self.autocast():
            fake = self.generator(batch.e, z)
        # Pixels that a real face lacks are masked in the generated one too: both are compared within the
        # image that the face was taken from, and pixels beyond its edges train nothing.
        masked_fake = fake.float() * batch.visible
        losses, g_losses = {}, {}
        if self.adversarial:
            for_real, for_fake, for_generator = self.streams.augmentation(iteration)
            images = self.augmented(
                torch.cat([batch.real, masked_fake.detach()]), torch.cat([for_real, for_fake])
            )
            losses, real_score = self._discriminator_phase(iteration, batch, images)
            if iteration < self.discriminator_first:
                return detached(losses)
            # The discriminator just updated; its weights get no gradient. The real faces' scores are those of
            # before its step: they only set how steep the loss is.
            self._freeze_discriminator(True)
            g_losses = self._adversarial_losses(batch, self.augmented(masked_fake, for_generator), real_score)
        g_losses |= self._face_losses(iteration, batch, fake, masked_fake, counts)
        self._step_generator(weighted_sum(g_losses, self.g_weights))
        if self.adversarial:
            self._freeze_discriminator(False)
        self._update_ema(iteration)
        return detached(losses | g_losses)

    def _discriminator_phase(
        self, iteration: int, batch: Batch, images: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """One step of the discriminator with its heads on augmented images, real then generated ones; its
        losses, and the real ones' scores."""
        weight, e, size = self.settings, batch.e, len(batch.e)
        score, identity, read_e = self._discriminate(images, torch.cat([e, e]), size)
        losses = {"D": discriminator_loss(score[:size], score[size:], self.recipe.r3gan.loss)}
        if weight.d_identity:
            losses["C_real"] = classification(identity, batch.face_identity, self.processes)
        if self.regresses_e:
            losses["R_real"] = cosine_distance(read_e, e)
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        weighted_sum(losses, {"C_real": weight.d_identity}).backward()
        if gamma := self.gamma(iteration):

            def of_pairs(faces: Tensor, pairs: int) -> Tensor:
                return self.heads.score(self.trunk(faces), torch.cat([e[:pairs], e[:pairs]]))

            losses["D_penalty"] = self.backward_penalty(images.detach(), of_pairs, gamma)
        self._step_discriminator()
        return losses, score[:size].detach()

    def _adversarial_losses(self, batch: Batch, images: Tensor, real_score: Tensor) -> dict[str, Tensor]:
        """Losses of augmented generated images through the discriminator."""
        score, identity, read_e = self._discriminate(images, batch.e, len(batch.e))
        losses = {"G": generator_loss(score, real_score, self.recipe.r3gan.loss)}
        if self.settings.g_identity:
            losses["G_identity"] = classification(identity, batch.identity, self.processes)
        if self.regresses_e:
            losses["G_read"] = cosine_distance(read_e, batch.e)
        return losses

    def _z(self, iteration: int, batch: Batch) -> tuple[Tensor | None, Counts]:
        """z of the batch, and which faces count in which loss.

        Without a linear image pixels count where e is the face's own, and by simulated_l1 elsewhere. With one
        they count where z is the face's own, by simulated_l1 where z = 0, and not where z is another's.
        """
        z = self.streams.z(iteration, self.z_dim, self.zero_z)
        simulated_l1 = self.recipe.face_embedding.simulated_l1
        if not self.has_own_z or not self.z_dim:
            beside = batch.own_e
            if beside is not None and simulated_l1:
                beside = torch.where(beside, 1.0, simulated_l1)
            return z, Counts(beside, None, batch.e)
        own = self.streams.own_z(iteration, OWN_Z)
        zero = (z == 0).all(dim=1) & ~own
        with torch.no_grad():
            z = torch.where(own[:, None], self.generator.own_z(batch.real, batch.e, batch.visible), z)
        beside = own + simulated_l1 * zero
        # A face of its own z has its own e; one of z = 0 that of the voice; what one of another z has, e
        # leaves open.
        return z, Counts(beside, (own | zero).float(), torch.where(own[:, None], batch.face_e, batch.e))

    def _face_losses(
        self, iteration: int, batch: Batch, fake: Tensor, masked_fake: Tensor, counts: Counts
    ) -> dict[str, Tensor]:
        """Losses of generated faces beside the real ones, and of what the face space reads in them."""
        losses, settings, ramp = {}, self.recipe.face_embedding, self.ramp(iteration)
        if ramp:
            losses |= self._reading_losses(iteration, batch, fake, masked_fake, counts, ramp)
        if self.settings.l1:
            fade = 1 - (1 - settings.l1_left) * ramp
            losses["G_l1"] = fade * l1(masked_fake, batch.real, counts.beside_real, self.processes)
        return losses

    def _discriminate(self, images: Tensor, e: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (N,) of images beside their e; of the first `size` images the classifier's logits and the
        regressed e."""
        with self.autocast():
            h = self.trunk(images)
            score = self.heads.score(h, e).float()
            return score, self.heads.identity(h[:size]), self.heads.read(h[:size])

    def ramp(self, iteration: int) -> float:
        """Share of the identity loss that counts; all of it from the beginning where the generator came from
        a checkpoint, because it makes faces already."""
        if self.space is None:
            return 0.0
        warm_up = self.recipe.face_embedding.identity_loss_from * self.iterations
        return 1.0 if self.fine_tunes else loss_ramp(iteration, warm_up)

    def _reading_losses(
        self,
        iteration: int,
        batch: Batch,
        fake: Tensor,
        masked_fake: Tensor,
        counts: Counts,
        ramp: float,
    ) -> dict[str, Tensor]:
        """The weighted losses of the generated faces' embedding, of their sex and age, and of the maps of the
        space's network, as the space reads them at small random zooms."""
        settings, zooms, losses = self.recipe.face_embedding, self.streams.zooms(iteration), {}
        with self.autocast():
            if settings.perceptual_loss:
                with torch.no_grad():
                    real_maps = self.space.maps(batch.real, zooms)
                read, maps = self.space.read_with_maps(masked_fake, zooms)
                distance = perceptual_loss(maps, real_maps, counts.beside_real, self.processes)
                losses["G_perceptual"] = ramp * settings.perceptual_loss * distance
            else:
                read = self.space.read(fake.float(), zooms)
        embedding, sex_age = identity_loss(read, counts.e, self.space, counts.read, self.processes)
        share = ramp * settings.identity_loss
        return losses | {"G_face_embedding": share * embedding, "G_sex_age": share * SEX_AGE * sex_age}

    def sample(self, generator: nn.Module, e: Tensor) -> Tensor:
        return generator(e, self.streams.grid_z(len(e), self.z_dim))
