"""The adversarial stage: Wen et al., NeurIPS 2019, Algorithm 1.

Each iteration draws voices v_i with identities y_i and, independently, real faces f_j with identities y_j:

    e_i = noisy(embedder(v_i))            the embedder is frozen
    g_i = G(e_i)
    L_D = BCE(D(h(f)), 1) + BCE(D(h(g)), 0)        step of trunk h, discriminator D and
    L_C = CE(C(h(f)), y_j)                         classifier C, the fakes detached
    L_G = BCE(D(h(g)), 1) + CE(C(h(g)), y_i)       step of the generator, through the nets just updated

The same mathematics with less work than the released loop: real and generated faces go through the trunk in
one pass, losses take logits, and no gradient is computed that no step uses.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.sampling import EpochSampler, FaceBank, VoiceBank, classes, gaussian, generator
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast
from voice2face_gan.errors import DataError
from voice2face_gan.faces.pixels import to_grid, to_uint8
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.registry import build_generator, model_config
from voice2face_gan.models.wen2019 import Discriminator, FaceTrunk, IdentityClassifier, condition
from voice2face_gan.training.probe import gender_probe
from voice2face_gan.training.recipe import Recipe

_GRID_CLIPS = 8


class GanStage:
    """Generator against discriminator and identity classifier, on a frozen voice embedder.

    Args:
        store: training records. Identities with both voices and faces are used: the classifier must know
            whose voice made a face.
        held_out: records whose clips are shown in the picture grids.
        embedder: a pretrained one, as a checkpoint.
        recipe: see GanRecipe.
        seed: of weights and batches.
        device: where it computes.
    Raises:
        DataError: no identity has both, or only one identity does.
    """

    name = "gan"

    def __init__(
        self,
        store: Store,
        held_out: Store,
        embedder: Checkpoint,
        recipe: Recipe,
        seed: int,
        device: torch.device,
    ):
        self.recipe, self.settings, self.seed, self.device = recipe, recipe.gan, seed, device
        self.iterations = self.settings.iterations
        # The generator is the recipe's, the embedder its own checkpoint's, which may be of another recipe.
        heard = embedder.model
        self.config = replace(
            model_config(recipe.architecture, recipe.model),
            mel_bins=heard.mel_bins,
            embedding=heard.embedding,
            voice_channels=heard.voice_channels,
            embedder_norm_last=heard.embedder_norm_last,
        )
        self.vad, self.features = embedder.vad, embedder.features
        both = identities_with_both(store)
        if len(both) < 2:
            raise DataError(
                f"{store.folder}: {len(both)} identities have both voices and faces; a GAN needs two or more."
            )
        store = store.select(_is_in(store.identity, both))
        names, labels = classes(store)
        self.data = store.summary()
        voices, faces = store.has_voice, store.has_face
        min_frames = store.about["features"]["min_frames"]
        self.voices = VoiceBank(store.select(voices), labels[voices], min_frames)
        self.faces = FaceBank(store.select(faces), labels[faces])
        self.voice_sampler = EpochSampler(len(self.voices), seed, "voices")
        self.face_sampler = EpochSampler(len(self.faces), seed, "faces")

        self.embedder = embedder.embedder.to(device).eval().requires_grad_(False)
        torch.manual_seed(seed + 1)
        # Channels last is the layout in which the CPU's and the GPU's bfloat16 convolutions are fastest.
        self.generator = build_generator(self.config).to(device, memory_format=torch.channels_last)
        self.trunk = FaceTrunk(self.config).to(device, memory_format=torch.channels_last)
        self.discriminator = Discriminator(self.config).to(device)
        self.classifier = IdentityClassifier(self.config, len(names)).to(device)
        self.judges = [
            *self.trunk.parameters(),
            *self.discriminator.parameters(),
            *self.classifier.parameters(),
        ]
        self.generator_optimiser = _adam(self.generator.parameters(), self.settings.lr, self.settings.betas)
        self.judge_optimiser = _adam(self.judges, self.settings.lr, self.settings.betas)
        self.average = None
        if self.settings.ema:
            self.average = build_generator(self.config).to(device, memory_format=torch.channels_last)
            self.average.load_state_dict(self.generator.state_dict())
            self.average.eval().requires_grad_(False)
        self.probe = gender_probe(store, self.embedder, self.config, device)
        self._grid_voices, self._grid_faces = _fixed_clips(held_out, min_frames)

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update of the judges and one of the generator; returns losses as tensors."""
        self._set_rate(iteration)
        e, voice_identity, real, face_identity = self._batch(iteration)
        batch = len(e)
        with autocast(self.recipe.run.precision, self.device):
            fake = self.generator(e)
            # Judges: one pass of the trunk over real and generated faces together.
            h = self.trunk(torch.cat([real, fake.detach().to(real.dtype)]))
            score, real_identity = self.discriminator(h), self.classifier(h[:batch])
        score = score.float()
        weight = self.settings
        real_loss, fake_loss = _says(score[:batch], True), _says(score[batch:], False)
        identity_loss = F.cross_entropy(real_identity.float(), face_identity)
        self.judge_optimiser.zero_grad(set_to_none=True)
        (weight.adversarial * (real_loss + fake_loss) + weight.identity * identity_loss).backward()
        self.judge_optimiser.step()

        # Generator: through the judges, whose weights get no gradient now.
        self._freeze_judges(True)
        with autocast(self.recipe.run.precision, self.device):
            h = self.trunk(fake)
            score, fake_identity = self.discriminator(h), self.classifier(h)
        fool_loss = _says(score.float(), True)
        likeness_loss = F.cross_entropy(fake_identity.float(), voice_identity)
        loss = weight.fool * fool_loss + weight.likeness * likeness_loss
        losses = {
            "D_real": real_loss,
            "D_fake": fake_loss,
            "C_real": identity_loss,
            "G_adversarial": fool_loss,
            "G_identity": likeness_loss,
        }
        if weight.pixel:
            losses["G_pixel"] = F.l1_loss(fake.float(), real)
            loss = loss + weight.pixel * losses["G_pixel"]
        self.generator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.generator_optimiser.step()
        self._freeze_judges(False)
        self._update_average()
        return {name: loss.detach() for name, loss in losses.items()}

    def _batch(self, iteration: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Conditions e (B, embedding), their identities, real faces (B, 3, 64, 64), their identities."""
        batch = self.settings.batch
        crops = generator(self.seed, "crops", iteration)
        shortest, longest = self.recipe.data.crop_frames
        frames = int(crops.integers(shortest, longest + 1))
        mel, voice_identity = self.voices.crops(self.voice_sampler.draw(iteration, batch), frames, crops)
        flips = None
        if self.recipe.data.flip:
            flips = generator(self.seed, "flips", iteration).random(batch) < 0.5
        if self.settings.pixel:
            # A real face of each voice's own identity, so that there is something to be near to.
            chosen = self.faces.of_identities(voice_identity, generator(self.seed, "faces", iteration))
        else:
            chosen = self.face_sampler.draw(iteration, batch)
        real, face_identity = self.faces.batch(chosen, flips)
        noise = gaussian((batch, self.config.embedding), self.seed, "noise", iteration)
        with torch.no_grad(), autocast(self.recipe.run.precision, self.device):
            e = self.embedder(mel.to(self.device)).float()
        e = condition(e, self.config, noise.to(self.device))
        real = real.to(self.device).contiguous(memory_format=torch.channels_last)
        return e, voice_identity.to(self.device), real, face_identity.to(self.device)

    def _set_rate(self, iteration: int) -> None:
        falling = self.settings.decay * self.iterations
        left = min(1.0, (self.iterations - iteration) / falling) if falling else 1.0
        for optimiser in (self.judge_optimiser, self.generator_optimiser):
            for group in optimiser.param_groups:
                group["lr"] = self.settings.lr * max(left, 0.0)

    def _freeze_judges(self, frozen: bool) -> None:
        for parameter in self.judges:
            parameter.requires_grad_(not frozen)

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        ours, theirs = list(self.average.parameters()), list(self.generator.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - self.settings.ema)
        for mine, other in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            mine.copy_(other)

    def state(self) -> dict:
        state = {
            "generator": self.generator.state_dict(),
            "trunk": self.trunk.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "classifier": self.classifier.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "judge_optimiser": self.judge_optimiser.state_dict(),
        }
        return state if self.average is None else {**state, "average": self.average.state_dict()}

    def load(self, state: dict) -> None:
        for name in self.state():
            getattr(self, name).load_state_dict(state[name])

    def checkpoint(self, iteration: int) -> Checkpoint:
        info = {
            "recipe": self.recipe.to_dict(),
            "stage": self.name,
            "iteration": iteration,
            "gender": self.recipe.data.gender,
            "data": self.data,
        }
        best = self.generator if self.average is None else self.average
        return Checkpoint(
            self.recipe.architecture,
            self.config,
            self.embedder,
            best,
            self.probe,
            self.features,
            self.vad,
            info,
        )

    def picture(self):
        """PIL picture: the fixed clips' own faces above, what is generated from their voices below."""
        net = self.generator if self.average is None else self.average
        was_training = net.training
        net.eval()
        with torch.no_grad():
            e = torch.cat([self.embedder(v[None].to(self.device)) for v in self._grid_voices])
            faces = to_uint8(net(condition(e, self.config))).cpu()
        net.train(was_training)
        return to_grid(torch.cat([self._grid_faces, faces]), columns=len(faces))


def _adam(parameters, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam with one fused kernel for all parameters where the device has it."""
    parameters = list(parameters)
    return torch.optim.Adam(
        parameters, lr=lr, betas=betas, fused=parameters[0].device.type in ("cpu", "cuda")
    )


def _says(score: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of logits against "all real" or "all generated"."""
    return F.softplus(-score if real else score).mean()


def identities_with_both(store: Store) -> set[str]:
    """Who has a voice and a face among the records."""
    return set(store.identity[store.has_voice].tolist()) & set(store.identity[store.has_face].tolist())


def _is_in(names, wanted: set[str]):
    return np.isin(names, sorted(wanted))


def _fixed_clips(store: Store, min_frames: int) -> tuple[list[Tensor], Tensor]:
    """Voices of the first few identities with a voice and a face, and those faces, uint8 (N, 64, 64, 3)."""
    voices, faces = [], []
    bank = VoiceBank(store, np.zeros(len(store), dtype=np.int64), min_frames)
    for name in sorted(identities_with_both(store))[:_GRID_CLIPS]:
        mine = store.identity == name
        voices.append(bank.whole(int(np.flatnonzero(mine & store.has_voice)[0])))
        faces.append(
            torch.from_numpy(store.faces[store.face_index[np.flatnonzero(mine & store.has_face)[0]]])
        )
    return voices, torch.stack(faces)
