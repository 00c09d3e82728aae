"""The voice embedder's pretraining: who of the training identities speaks?"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.data.sampling import EpochSampler, VoiceBank, classes, generator
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.registry import build_embedder, model_config
from voice2face_gan.training.recipe import Recipe


class EmbedderStage:
    """Speaker classification with cross-entropy on random crops.

    Args:
        store: training records; those with a voice are used.
        recipe: see EmbedderRecipe.
        seed: of weights and batches.
        device: where it computes.
    """

    name = "embedder"

    def __init__(self, store: Store, recipe: Recipe, seed: int, device: torch.device):
        self.recipe, self.settings, self.seed, self.device = recipe, recipe.embedder, seed, device
        self.iterations = self.settings.iterations
        voices = store.select(store.has_voice)
        speakers, labels = classes(voices)
        self.bank = VoiceBank(voices, labels, store.about["features"]["min_frames"])
        self.sampler = EpochSampler(len(self.bank), seed, "voices")
        self.features = store.about["features"]
        self.data = voices.summary()

        torch.manual_seed(seed)
        self.config = model_config(recipe.architecture, recipe.model)
        self.embedder = build_embedder(self.config).to(device)
        # Raw embeddings start near zero and a linear layer on them learns for hundreds of iterations next to
        # nothing: normalised per batch they do (built-in world, 500 iterations: equal error rate 0.19). The
        # head is thrown away afterwards.
        self.head = nn.Sequential(
            nn.BatchNorm1d(self.config.embedding, affine=False),
            nn.Linear(self.config.embedding, len(speakers)),
        ).to(device)
        weights = [*self.embedder.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(
            weights, lr=self.settings.lr, betas=self.settings.betas, weight_decay=self.settings.weight_decay
        )

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update; returns losses as tensors, so that the device is not waited for."""
        crops = generator(self.seed, "crops", iteration)
        frames = int(crops.integers(self.settings.crop_frames[0], self.settings.crop_frames[1] + 1))
        items = self.sampler.draw(iteration, self.settings.batch)
        mel, labels = self.bank.crops(items, frames, crops)
        labels = labels.to(self.device)
        self.embedder.train()
        done = iteration / self.iterations
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        with autocast(self.recipe.run.precision, self.device):
            e = self.embedder(mel.to(self.device))
        logits = self.head(e.float())
        loss = F.cross_entropy(logits, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return {"cross_entropy": loss.detach(), "accuracy": accuracy}

    def state(self) -> dict:
        return {
            "embedder": self.embedder.state_dict(),
            "head": self.head.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state: dict) -> None:
        self.embedder.load_state_dict(state["embedder"])
        self.head.load_state_dict(state["head"])
        self.optimiser.load_state_dict(state["optimiser"])

    def checkpoint(self, iteration: int) -> Checkpoint:
        info = {
            "recipe": self.recipe.to_dict(),
            "stage": self.name,
            "iteration": iteration,
            "data": self.data,
        }
        return Checkpoint(
            self.recipe.architecture, self.config, self.embedder, features=self.features, info=info
        )

    def picture(self):
        """This stage makes no pictures."""
        return None
