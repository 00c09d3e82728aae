"""The GAN stage of Wen et al., NeurIPS 2019, Algorithm 1.

Each iteration draws voices v_i with identities y_i and, independently, real faces f_j with identities y_j:

    e_i = noisy(encoder(v_i))            the encoder is frozen
    g_i = G(e_i)
    L_D = BCE(D(h(f)), 1) + BCE(D(h(g)), 0)        step of trunk h, discriminator D and
    L_C = CE(C(h(f)), y_j)                         classifier C, the fakes detached
    L_G = BCE(D(h(g)), 1) + CE(C(h(g)), y_i)       step of the generator, through the networks just updated

The same mathematics with less work than the released loop: real and generated faces go through the trunk in
one pass, losses take logits, and no gradient is computed that no step uses. The losses are functions in
losses.py; the recipe's weights (gan.d_identity, gan.g_adversarial, gan.g_identity, gan.l1) stand before them.

With an L1 loss the real faces are of the voices' identities. With a face space (face_embedding.space) e_i are
read from the real faces, and classifier losses count only people who have a voice.
"""

import torch
from torch import Tensor

from voice2face_gan.models.bf16_convolutions import fast_in_bf16
from voice2face_gan.models.discriminators.wen2019 import Discriminator, FaceTrunk, IdentityClassifier
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.stages.gan_base import GanStage
from voice2face_gan.training.stages.losses import (
    classification,
    detached,
    discriminator_terms,
    generator_loss,
    l1,
    weighted_sum,
)


class Wen2019Stage(GanStage):
    """Generator against discriminator and identity classifier; arguments and errors as in GanStage."""

    saved = (
        "generator",
        "trunk",
        "discriminator",
        "classifier",
        "generator_optimiser",
        "discriminator_optimiser",
    )
    compiled = ("generator", "trunk")

    @property
    def same_identity(self) -> bool:
        return self.settings.l1 > 0  # an L1 loss needs a face of the same person

    def _build(self) -> None:
        # Channels last is the layout in which the CPU's and the GPU's bfloat16 convolutions are fastest.
        layout = {"device": self.device, "memory_format": torch.channels_last}
        generator = self.processes.sync_batchnorm(build_generator(self.config))
        generator = fast_in_bf16(generator).to(**layout)
        self.trunk = fast_in_bf16(FaceTrunk(self.config)).to(**layout)
        self.discriminator = Discriminator(self.config).to(self.device)
        self.classifier = IdentityClassifier(self.config, len(self.known)).to(self.device)
        self._set_networks(generator, [self.trunk, self.discriminator, self.classifier])

    def step(self, iteration: int) -> dict[str, Tensor]:
        weight = self.settings
        self._set_lr(iteration)
        batch = self.batches.draw(iteration)
        e, real, size = batch.e, batch.real, len(batch.e)
        with self.autocast():
            fake = self.generator(e)

        # Phase D: discriminator and classifier; one pass of the trunk over real and generated faces.
        with self.autocast():
            h = self.trunk(torch.cat([real, fake.detach().to(real.dtype)]))
            score, identity = self.discriminator(h), self.classifier(h[:size])
        score = score.float()
        losses = discriminator_terms(score[:size], score[size:])
        losses["C_real"] = classification(identity, batch.face_identity, self.processes)
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        weighted_sum(losses, {"C_real": weight.d_identity}).backward()
        self._step_discriminator()
        if iteration < self.discriminator_first:
            return detached(losses)

        # Phase G: the generator, through the networks just updated, whose weights get no gradient.
        self._freeze_discriminator(True)
        with self.autocast():
            h = self.trunk(fake)
            score, identity = self.discriminator(h), self.classifier(h)
        g_losses = {
            "G_adversarial": generator_loss(score.float(), None, "softplus"),
            "G_identity": classification(identity, batch.identity, self.processes),
        }
        if weight.l1:
            g_losses["G_l1"] = l1(fake.float(), real, None, self.processes)
        weights = {
            "G_adversarial": weight.g_adversarial,
            "G_identity": weight.g_identity,
            "G_l1": weight.l1,
        }
        self._step_generator(weighted_sum(g_losses, weights))
        self._freeze_discriminator(False)

        self._update_ema(iteration)
        return detached(losses | g_losses)
