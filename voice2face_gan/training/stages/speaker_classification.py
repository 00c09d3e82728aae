"""Pretraining of the voice encoder: classification of the training identities by their voices."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.device import autocast
from voice2face_gan.models.registry import build_encoder
from voice2face_gan.training.stages.encoder_base import EncoderStage


class SpeakerClassificationStage(EncoderStage):
    """Speaker classification with cross-entropy on random crops, some of them augmented; arguments and errors
    as in EncoderStage."""

    def _build(self) -> None:
        self.encoder = self.processes.sync_batchnorm(build_encoder(self.config).to(self.device))
        # The head is thrown away afterwards. Raw embeddings start near zero, and a linear layer on them
        # learns next to nothing for hundreds of iterations. On embeddings normalised per batch it learns
        # (synthetic world, 500 iterations: equal error rate 0.19).
        width = self.config.embedding
        head = nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, len(self.speakers)))
        self.head = self.processes.sync_batchnorm(head.to(self.device))
        self.parameters = [*self.encoder.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=self.settings.lr,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
        )
        self._open_clips()

    def start_from(self, encoder: nn.Module) -> None:
        """Continues from a trained encoder of the same network; its classifier is not taken."""
        self.encoder.load_state_dict(encoder.state_dict())

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update; returns losses as tensors, so that the device is not waited for."""
        _, voices, labels = self._draw_clips(iteration)
        labels = labels.to(self.device)
        self._set_lr(iteration)
        self.encoder.train()
        with autocast(self.recipe.run.precision, self.device):
            e = self.encoder(voices)
        logits = self.head(e.float())
        loss = F.cross_entropy(logits, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average(self.parameters)
        self.optimiser.step()
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return {"cross_entropy": loss.detach(), "accuracy": accuracy}

    def _set_lr(self, iteration: int) -> None:
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
