"""The adversarial stage of the r3gan recipe.

Each iteration draws voices v_i with identities y_i, a real face r_i *of the same identity*, and noise z_i:

    e_i = noisy(encoder(v_i)),  g_i = G(e_i, z_i),  s = D's score of a face and e_i
    L_D = softplus(s(g_i) - s(r_i)) + gamma / 2 (R1 + R2) + CE(C(r_i), y_i) + (1 - cos(read(r_i), e_i))
    L_G = softplus(s(r_i) - s(g_i)) + CE(C(g_i), y_i)     + (1 - cos(read(g_i), e_i)) + |g_i - r_i|

with the recipe's weights before the last terms. The relativistic loss and the two penalties of zero-centred
gradients at real (R1) and generated faces (R2) are Huang et al.'s (NeurIPS 2024); here the penalties are
computed on a share of each batch, which is to the same end as computing them lazily. `read` asks that a face
give back the embedding it was made from; it is trained on real faces alone. The discriminator sees augmented
faces.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.batches.sampling import gaussian, generator
from voice2face_gan.device import autocast
from voice2face_gan.models.discriminators.r3gan import FaceTrunk, Heads
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.augmentation.diff_augment import NUMBERS, augment
from voice2face_gan.training.stages.wen2019 import Wen2019Stage, adam, classify


class R3GANStage(Wen2019Stage):
    """Generator against a conditional discriminator; arguments and errors as in Wen2019Stage."""

    parts = ("generator", "trunk", "heads", "generator_optimiser", "discriminator_optimiser")
    leaves_out = True
    compiled = ("generator",)  # the penalties need second derivatives, which compiled nets do not give

    def _build(self, identities: int) -> None:
        layout = {"device": self.device, "memory_format": torch.channels_last}
        self.generator = build_generator(self.config).to(**layout)
        self.trunk = FaceTrunk(self.config).to(**layout)
        self.heads = Heads(self.config, identities).to(self.device)
        self.judges = [*self.trunk.parameters(), *self.heads.parameters()]
        self.generator_optimiser = adam(self.generator.parameters(), self.settings)
        self.discriminator_optimiser = adam(self.judges, self.settings)
        self._build_average()

    @property
    def paired(self) -> bool:
        return self.recipe.r3gan.same_identity

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update of the judges and one of the generator; returns losses as tensors."""
        self._set_rate(iteration)
        e, identity, real, face_identity = self._batch(iteration)
        z = self._noise(iteration)
        # What a real face lacks is left out of the generated one too, so that both are compared in what the
        # image showed, and nobody learns what was made up beyond its edges.
        known = real[:, :1].isfinite().float()
        real = real.nan_to_num()
        with autocast(self.recipe.run.precision, self.device):
            fake = self.generator(e, z)
        seen = fake.float() * known
        losses, real_score = self._discriminator_step(iteration, e, face_identity, real, seen.detach())
        if iteration < self.discriminator_first:
            return losses
        losses |= self._generator_step(iteration, e, identity, real, fake, seen, real_score)
        self._update_average(iteration)
        return losses

    def _discriminator_step(
        self, iteration, e, face_identity, real, fake
    ) -> tuple[dict[str, Tensor], Tensor]:
        weight, r3gan, batch = self.settings, self.recipe.r3gan, len(real)
        losses = {}
        shown = self._show(torch.cat([real, fake]), iteration, (0, 1))
        with autocast(self.recipe.run.precision, self.device):
            h = self.trunk(shown)
            score = self.heads.score(h, torch.cat([e, e])).float()
            whose, read = self.heads.identity(h[:batch]), self.heads.read(h[:batch])
        real_score, fake_score = score[:batch], score[batch:]
        losses["D"] = self._adversary(real_score, fake_score)
        loss = losses["D"]
        if weight.d_identity:
            losses["C_real"] = classify(whose, face_identity, self.processes)
            loss = loss + weight.d_identity * losses["C_real"]
        if r3gan.embedding_loss and self.paired:
            losses["R_real"] = _apart(read, e)
            loss = loss + losses["R_real"]
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if r3gan.gamma or r3gan.gamma_end:
            losses["D_penalty"] = self._penalise(iteration, e, shown.detach())
        self.processes.average(self.judges)
        self.discriminator_optimiser.step()
        return losses, real_score.detach()

    def _generator_step(self, iteration, e, identity, real, fake, seen, real_score) -> dict[str, Tensor]:
        weight, r3gan = self.settings, self.recipe.r3gan
        self._freeze_discriminator(True)
        shown = self._show(seen, iteration, (2,))
        with autocast(self.recipe.run.precision, self.device):
            h = self.trunk(shown)
            score = self.heads.score(h, e).float()
            whose, read = self.heads.identity(h), self.heads.read(h)
        # The real faces' scores are those of before the judges' step: they only say how steep the loss is.
        losses = {"G": self._adversary(score, real_score)}
        loss = weight.g_adversarial * losses["G"]
        if weight.g_identity:
            losses["G_identity"] = classify(whose, identity, self.processes)
            loss = loss + weight.g_identity * losses["G_identity"]
        if r3gan.embedding_loss and self.paired:
            losses["G_read"] = _apart(read, e)
            loss = loss + r3gan.embedding_loss * losses["G_read"]
        extra = self._extra_losses(iteration, e, fake)
        losses |= extra
        loss = loss + sum(extra.values())
        if weight.l1:
            losses["G_l1"] = self._pixel_loss(iteration, seen, real)
            loss = loss + weight.l1 * losses["G_l1"]
        self._step_generator(loss)
        self._freeze_discriminator(False)
        return {name: value.detach() for name, value in losses.items()}

    def _pixel_loss(self, iteration: int, fake: Tensor, real: Tensor) -> Tensor:
        return F.l1_loss(fake, real)

    def _extra_losses(self, iteration: int, e: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """What else the generated faces are asked for, weighted; nothing here."""
        return {}

    def _adversary(self, higher: Tensor, lower: Tensor) -> Tensor:
        """How far the first scores are from being above the second ones: of the same pair, or of zero."""
        if self.recipe.r3gan.loss == "relativistic":
            return F.softplus(lower - higher).mean()
        if lower.requires_grad:
            return F.softplus(-higher).mean() + F.softplus(lower).mean()
        return F.softplus(-higher).mean()

    def _penalise(self, iteration: int, e: Tensor, shown: Tensor) -> Tensor:
        """Adds the gradient of gamma / 2 (R1 + R2), computed on a share of the batch's pairs.

        A share in every iteration rather than all in every k-th: the cost is the same, and Adam, whose
        memory is short here, sees no jolts.
        """
        r3gan, mine, batch = self.recipe.r3gan, len(e), self.settings.batch
        # The first pairs of the whole batch, at least one; which are first is chance, for batches are
        # shuffled. This process's part keeps their order.
        chosen = max(1, round(r3gan.penalty_share * batch))
        count = len(range(chosen)[self.processes.shard(batch)])
        if not count:  # the other losses have given every weight that this would move a gradient
            return e.new_zeros(())
        faces = torch.cat([shown[:count], shown[mine : mine + count]]).requires_grad_(True)
        with autocast(self.recipe.run.precision, self.device):
            score = self.heads.score(self.trunk(faces), torch.cat([e[:count], e[:count]]))
        (gradient,) = torch.autograd.grad(score.float().sum(), faces, create_graph=True)
        size = gradient.float().square().sum(dim=(1, 2, 3)).mean() * 2  # R1 + R2
        # So that the mean over the processes is that over the chosen.
        size = size * (count * self.processes.size / chosen)
        progress = iteration / max(self.iterations, 1)
        gamma = r3gan.gamma_end + (r3gan.gamma - r3gan.gamma_end) * (1 + math.cos(math.pi * progress)) / 2
        (gamma / 2 * size).backward()
        return size.detach()

    def _show(self, faces: Tensor, iteration: int, kinds: tuple[int, ...]) -> Tensor:
        """What the discriminator sees of real faces (kind 0), generated ones (1), and generated ones in the
        generator's step (2): each is disturbed in a way of its own."""
        drawn = generator(self.seed, "disturbance", iteration).random(
            (3, self.settings.batch, NUMBERS), np.float32
        )
        mine = drawn[list(kinds), self.processes.shard(self.settings.batch)].reshape(-1, NUMBERS)
        shown = augment(faces, self.recipe.r3gan.augment, torch.from_numpy(mine).to(faces.device))
        return shown.contiguous(memory_format=torch.channels_last)

    def _paint(self, net: torch.nn.Module, e: Tensor) -> Tensor:
        if not self.config.z_dim:
            return net(e)
        return net(e, gaussian((len(e), self.config.z_dim), self.seed, "grid", 0).to(self.device))

    def _noise(self, iteration: int) -> Tensor | None:
        """z (B, z_dim), standard normal; None for a generator without noise."""
        if not self.config.z_dim:
            return None
        z = gaussian((self.settings.batch, self.config.z_dim), self.seed, "z", iteration)
        return z[self.processes.shard(len(z))].to(self.device)


def _apart(read: Tensor, e: Tensor) -> Tensor:
    """1 - cosine, mean over the batch."""
    return 1 - F.cosine_similarity(read.float(), e, dim=1).mean()
