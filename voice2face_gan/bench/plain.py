"""The adversarial stage as the paper and its released code write it: the baseline of `bench train`.

Wen et al., NeurIPS 2019, Algorithm 1. Our own implementation of the release's order of work: probabilities
and binary cross-entropy, one pass of the trunk for each loss, one optimiser for each network, gradients of
every weight in every backward pass, fp32 in PyTorch's default layout, losses converted to Python numbers at
once.
"""

import copy

import torch
import torch.nn.functional as F

from voice2face_gan.models.conditioning import condition
from voice2face_gan.training.stages.wen2019 import Wen2019Stage


class AlgorithmOne:
    """A plain copy of a GAN stage: the same weights, in networks of its own.

    It supports only the paper's loss weights, all 1.

    Args:
        stage: the stage whose networks are copied; its optimisers must not have stepped yet.
    """

    def __init__(self, stage: Wen2019Stage):
        self.stage, self.device = stage, stage.device
        nets = (stage.encoder, stage.generator, stage.trunk, stage.discriminator, stage.classifier)
        self.encoder, self.generator, self.trunk, self.discriminator, self.classifier = (
            copy.deepcopy(net).to(memory_format=torch.contiguous_format).requires_grad_() for net in nets
        )
        lr, betas = stage.settings.lr, stage.settings.betas
        self.optimisers = {
            name: torch.optim.Adam(getattr(self, name).parameters(), lr=lr, betas=betas)
            for name in ("generator", "trunk", "discriminator", "classifier")
        }
        batch = stage.settings.batch
        self.ones, self.zeros = torch.ones(batch, device=self.device), torch.zeros(batch, device=self.device)

    def step(self, iteration: int) -> dict[str, float]:
        """One update of trunk, D and classifier, and one of the generator, on the stage's own batch."""
        mel, voice_label, real, face_label, noise = self.stage.batches.inputs(iteration)
        fake = self.generator(condition(self.encoder(mel), self.stage.controls, noise))

        for name in ("trunk", "discriminator", "classifier"):
            self.optimisers[name].zero_grad()
        real_score = self.discriminator(self.trunk(real))
        fake_score = self.discriminator(self.trunk(fake.detach()))
        real_identity = self.classifier(self.trunk(real))
        d_real = F.binary_cross_entropy(torch.sigmoid(real_score), self.ones)
        d_fake = F.binary_cross_entropy(torch.sigmoid(fake_score), self.zeros)
        c_real = F.nll_loss(F.log_softmax(real_identity, dim=1), face_label)
        losses = {"D_real": d_real.item(), "D_fake": d_fake.item(), "C_real": c_real.item()}
        (d_real + d_fake + c_real).backward()
        for name in ("trunk", "discriminator", "classifier"):
            self.optimisers[name].step()

        self.optimisers["generator"].zero_grad()
        fake_score = self.discriminator(self.trunk(fake))
        fake_identity = self.classifier(self.trunk(fake))
        fool = F.binary_cross_entropy(torch.sigmoid(fake_score), self.ones)
        likeness = F.nll_loss(F.log_softmax(fake_identity, dim=1), voice_label)
        (fool + likeness).backward()
        losses |= {"G_adversarial": fool.item(), "G_identity": likeness.item()}
        self.optimisers["generator"].step()
        return losses

    @torch.no_grad()
    def hand_over(self) -> None:
        """Copy this loop's weights and optimiser states into the stage, so that its next step starts from
        them.

        Left alone the two drift apart, as this loop does from itself on another number of threads: the first
        steps of the full networks multiply the rounding of sums tenfold a step.
        """
        stage = self.stage
        for name, plain in self.optimisers.items():
            ours = stage.generator_optimiser if name == "generator" else stage.discriminator_optimiser
            mine_net, net = getattr(stage, name), getattr(self, name)
            for mine, other in zip(mine_net.parameters(), net.parameters(), strict=True):
                mine.copy_(other)
                for key, value in ours.state[mine].items():
                    value.copy_(plain.state[other][key])
            for mine, other in zip(mine_net.buffers(), net.buffers(), strict=True):
                mine.copy_(other)
