"""The adversarial stage: Wen et al., NeurIPS 2019, Algorithm 1.

Each iteration draws voices v_i with identities y_i and, independently, real faces f_j with identities y_j:

    e_i = noisy(encoder(v_i))            the encoder is frozen
    g_i = G(e_i)
    L_D = BCE(D(h(f)), 1) + BCE(D(h(g)), 0)        step of trunk h, discriminator D and
    L_C = CE(C(h(f)), y_j)                         classifier C, the fakes detached
    L_G = BCE(D(h(g)), 1) + CE(C(h(g)), y_i)       step of the generator, through the nets just updated

The same mathematics with less work than the released loop: real and generated faces go through the trunk in
one pass, losses take logits, and no gradient is computed that no step uses.
"""

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.batches.sampling import (
    EpochSampler,
    FaceBank,
    VoiceBank,
    classes,
    gaussian,
    generator,
)
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast, keep_freed_memory, send, uses_bf16
from voice2face_gan.errors import DataError
from voice2face_gan.faces.pixels import to_grid, to_uint8
from voice2face_gan.models.bf16_convolutions import fast_in_bf16
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import Controls, condition
from voice2face_gan.models.discriminators.wen2019 import Discriminator, FaceTrunk, IdentityClassifier
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.probes.gender import gender_probe
from voice2face_gan.training.recipe.schema import GanRecipe, Recipe

NOBODY = -100  # the identity of a face whose person has no voice
# Iterations in which a discriminator that starts anew beside a trained generator learns alone: until it knows
# real faces from generated ones, what it asks of the generator is chance, and spoils it.
DISCRIMINATOR_FIRST = 100
# Learning rate of a generator that was given, as a share of the recipe's. At the whole rate 48 iterations on
# 13 faces undid the default: a detector found 51 faces in 64 images, for 64 before.
FINE_TUNE_RATE = 0.1
_GRID_CLIPS = 8


class Wen2019Stage:
    """Generator against discriminator and identity classifier, on a frozen voice encoder.

    Args:
        store: training records. Identities with both voices and faces are used: the classifier must know
            whose voice made a face.
        held_out: records whose clips are shown in the image grids.
        encoder: a pretrained one, as a checkpoint.
        recipe: see GanRecipe.
        seed: of weights and batches.
        device: where it computes.
        processes: those that train together; default: this one alone.
    Raises:
        DataError: no identity has both, or only one identity does.
    """

    name = "gan"
    parts = (
        "generator",
        "trunk",
        "discriminator",
        "classifier",
        "generator_optimiser",
        "discriminator_optimiser",
    )  # what a resumed run needs again
    compiled = ("generator", "trunk")  # with run.compile
    leaves_out = False  # what a face shows beyond its image's edges: it was made up

    def __init__(
        self,
        store: Store,
        held_out: Store,
        encoder: Checkpoint,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        processes: SingleProcess | None = None,
    ):
        self.processes = processes or SingleProcess(device)
        self.recipe, self.settings, self.seed, self.device = recipe, recipe.gan, seed, device
        self.iterations = self.settings.iterations
        # The generator is the recipe's, the encoder its own checkpoint's, which may be of another recipe.
        self.config = replace(
            recipe.model.generator, embedding=encoder.encoder_config.embedding, face_scale=store.zoom
        )
        self.controls = controls_of(recipe.model.controls, encoder.controls)
        self.vad, self.features = encoder.vad, encoder.features
        self.kept = encoder  # its probes and its face space go into every checkpoint
        self.discriminator_first = 0  # iterations without a step of the generator
        self.fine_tunes = False  # whether the generator was given
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
        raw_log_mel = encoder.encoder.raw_log_mel
        self.voices = VoiceBank(store.select(voices), labels[voices], min_frames, device, raw_log_mel)
        self.faces = FaceBank(store.select(faces), labels[faces], device, self.leaves_out)
        self.voice_sampler = EpochSampler(len(self.voices), seed, "voices")
        self.face_sampler = EpochSampler(len(self.faces), seed, "faces")

        if device.type == "cpu":
            keep_freed_memory()
        self.encoder = encoder.encoder.to(device).eval().requires_grad_(False)
        self._listen = self.encoder
        if uses_bf16(recipe.run.precision, device):
            self._listen = self.encoder.frozen(torch.bfloat16)
        torch.manual_seed(seed + 1)
        self._build(len(names))
        if recipe.run.compile:
            for name in self.compiled:
                getattr(self, name).compile()  # in place: their states keep their names
        self.probe = gender_probe(store, self.encoder, self.controls, device)
        self._grid_voices, self._grid_faces = _fixed_clips(held_out, raw_log_mel)

    def _build(self, identities: int) -> None:
        """Nets and optimisers, on the device, from the current random state."""
        device = self.device
        # Channels last is the layout in which the CPU's and the GPU's bfloat16 convolutions are fastest.
        layout = {"device": device, "memory_format": torch.channels_last}
        generator = self.processes.sync_batchnorm(build_generator(self.config))
        self.generator = fast_in_bf16(generator).to(**layout)
        self.trunk = fast_in_bf16(FaceTrunk(self.config)).to(**layout)
        self.discriminator = Discriminator(self.config).to(device)
        self.classifier = IdentityClassifier(self.config, identities).to(device)
        self.judges = [
            *self.trunk.parameters(),
            *self.discriminator.parameters(),
            *self.classifier.parameters(),
        ]
        self.generator_optimiser = adam(self.generator.parameters(), self.settings)
        self.discriminator_optimiser = adam(self.judges, self.settings)
        self._build_average()

    def _build_average(self) -> None:
        """The average of the generator's weights, where the recipe asks for one; it is what is kept."""
        self.average = None
        if self.settings.ema_decay:
            self.average = build_generator(self.config).to(self.device, memory_format=torch.channels_last)
            self.average.load_state_dict(self.generator.state_dict())
            self.average.eval().requires_grad_(False)

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
        identity_loss = classify(real_identity, face_identity, self.processes)
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        (real_loss + fake_loss + weight.d_identity * identity_loss).backward()
        self.processes.average(self.judges)
        self.discriminator_optimiser.step()

        if iteration < self.discriminator_first:
            return {
                "D_real": real_loss.detach(),
                "D_fake": fake_loss.detach(),
                "C_real": identity_loss.detach(),
            }
        # Generator: through the judges, whose weights get no gradient now.
        self._freeze_discriminator(True)
        with autocast(self.recipe.run.precision, self.device):
            h = self.trunk(fake)
            score, fake_identity = self.discriminator(h), self.classifier(h)
        fool_loss = _says(score.float(), True)
        likeness_loss = classify(fake_identity, voice_identity, self.processes)
        loss = weight.g_adversarial * fool_loss + weight.g_identity * likeness_loss
        losses = {
            "D_real": real_loss,
            "D_fake": fake_loss,
            "C_real": identity_loss,
            "G_adversarial": fool_loss,
            "G_identity": likeness_loss,
        }
        if weight.l1:
            losses["G_l1"] = F.l1_loss(fake.float(), real)
            loss = loss + weight.l1 * losses["G_l1"]
        self._step_generator(loss)
        self._freeze_discriminator(False)
        self._update_average()
        return {name: loss.detach() for name, loss in losses.items()}

    def _batch(self, iteration: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Conditions e (B, embedding), their identities, real faces (B, 3, 64, 64), their identities."""
        mel, voice_identity, real, face_identity, noise = self.draw(iteration)
        with torch.no_grad():
            e = condition(self._listen(mel), self.controls, noise)
        return e, voice_identity, real.contiguous(memory_format=torch.channels_last), face_identity

    def draw(self, iteration: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What an iteration is about, on the device: log-mels (B, mel bins, T), their identities, real faces
        (B, 3, 64, 64), their identities, standard normal noise (B, embedding). Of several processes each
        draws numbers for the whole batch and takes its share of it."""
        batch = self.settings.batch
        mine = self.processes.shard(batch)
        crops = generator(self.seed, "crops", iteration)
        shortest, longest = self.recipe.data.crop_frames
        frames = int(crops.integers(shortest, longest + 1))
        heard = self.voice_sampler.draw(iteration, batch)
        mel, voice_identity = self.voices.crops(heard, frames, crops, mine)
        flips = None
        if self.recipe.data.flip:
            flips = generator(self.seed, "flips", iteration).random(batch) < 0.5
        if self.paired:
            # A real face of each voice's own identity, so that there is something to be near to.
            chosen = self.faces.of_identities(
                self.voices.labels[torch.from_numpy(heard)], generator(self.seed, "pairs", iteration)
            )
        else:
            chosen = self.face_sampler.draw(iteration, batch)
        real, face_identity = self.faces.batch(chosen[mine], None if flips is None else flips[mine])
        noise = gaussian((batch, self.config.embedding), self.seed, "noise", iteration)[mine]
        drawn = (mel, voice_identity, real, face_identity, noise)
        return tuple(send(tensor, self.device) for tensor in drawn)

    def _step_generator(self, loss: Tensor) -> None:
        """One step of the generator down a loss."""
        self.generator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average(self.generator.parameters())
        self.generator_optimiser.step()

    def _set_rate(self, iteration: int) -> None:
        falling = self.settings.lr_decay * self.iterations
        left = min(1.0, (self.iterations - iteration) / falling) if falling else 1.0
        share = FINE_TUNE_RATE if self.fine_tunes else 1.0
        for optimiser, factor in ((self.discriminator_optimiser, 1.0), (self.generator_optimiser, share)):
            for group in optimiser.param_groups:
                group["lr"] = factor * self.settings.lr * max(left, 0.0)

    def _freeze_discriminator(self, frozen: bool) -> None:
        for parameter in self.judges:
            parameter.requires_grad_(not frozen)

    @torch.no_grad()
    def _update_average(self, iteration: float = math.inf) -> None:
        """Moves the average; early in training, where an iteration is given, it forgets faster."""
        if self.average is None:
            return
        decay = (
            self.settings.ema_decay
            if self.fine_tunes
            else min(self.settings.ema_decay, 1 - 9 / (10 + iteration))
        )
        ours, theirs = list(self.average.parameters()), list(self.generator.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for mine, other in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            mine.copy_(other)

    @property
    def paired(self) -> bool:
        """Whether the real faces of a batch are of its voices' identities."""
        return self.settings.l1 > 0

    def state(self) -> dict:
        nets = self.parts if self.average is None else (*self.parts, "average")
        return {
            **{name: getattr(self, name).state_dict() for name in nets},
            "discriminator_first": self.discriminator_first,
            "fine_tunes": self.fine_tunes,
        }

    def load(self, state: dict) -> None:
        self.discriminator_first, self.fine_tunes = (
            state.get("discriminator_first", 0),
            state.get("fine_tunes", False),
        )
        for name in self.parts if self.average is None else (*self.parts, "average"):
            getattr(self, name).load_state_dict(state[name])

    def checkpoint(self, iteration: int) -> Checkpoint:
        info = {
            "recipe": self.recipe.to_dict(),
            "stage": self.name,
            "iteration": iteration,
            "gender": self.recipe.data.gender,
            "data": self.data,
        }
        if "face_space" in self.kept.info:
            info["face_space"] = self.kept.info["face_space"]
        best = self.generator if self.average is None else self.average
        return Checkpoint(
            encoder_config=self.kept.encoder_config,
            encoder=self.encoder,
            generator_config=self.config,
            generator=best,
            controls=self.controls,
            gender_probe=self.probe,
            features=self.features,
            vad=self.vad,
            info=info,
            probes=self.kept.probes,
            face_space=self.kept.face_space,
        )

    def _paint(self, net: torch.nn.Module, e: Tensor) -> Tensor:
        """Faces of the fixed clips, always the same for the same weights."""
        return net(e)

    def image(self):
        """PIL image: the fixed clips' own faces above, what is generated from their voices below."""
        net = self.generator if self.average is None else self.average
        was_training = net.training
        net.eval()
        with torch.no_grad():
            e = torch.cat([self.encoder(v[None].to(self.device)) for v in self._grid_voices])
            faces = to_uint8(self._paint(net, condition(e, self.controls))).cpu()
        net.train(was_training)
        return to_grid(torch.cat([self._grid_faces, faces]), columns=len(faces))


def adam(parameters, settings: GanRecipe) -> torch.optim.Adam:
    """Adam with one fused kernel for all parameters where the device has it."""
    parameters = list(parameters)
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, lr=settings.lr, betas=settings.betas, fused=fused)


def _says(score: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of logits against "all real" or "all generated"."""
    return F.softplus(-score if real else score).mean()


def classify(logits: Tensor, identity: Tensor, processes: SingleProcess) -> Tensor:
    """Cross-entropy (mean) of the whole batch's faces whose person is known; 0 where none is."""
    total = F.cross_entropy(logits.float(), identity, ignore_index=NOBODY, reduction="sum")
    return processes.masked_mean(total, (identity != NOBODY).sum())


def controls_of(own: Controls, encoder: Controls) -> Controls:
    """A recipe's controls with what was found with the voice encoder; all of that is of an e that is not
    normalised."""
    if own.normalise_embedding:
        return own
    found = {"strength": encoder.strength, "soft_clip": encoder.soft_clip}
    return replace(own, **found, residual_std=encoder.residual_std)


def identities_with_both(store: Store) -> set[str]:
    """Who has a voice and a face among the records."""
    return set(store.identity[store.has_voice].tolist()) & set(store.identity[store.has_face].tolist())


def _is_in(names, wanted: set[str]):
    return np.isin(names, sorted(wanted))


def fixed_people(store: Store) -> list[str]:
    """The first few identities with a voice and a face: who is watched while training."""
    return sorted(identities_with_both(store))[:_GRID_CLIPS]


def _fixed_clips(store: Store, raw_log_mel: bool) -> tuple[list[Tensor], Tensor]:
    """The first voice and the first face of the fixed people; the faces as uint8 (N, 64, 64, 3)."""
    voices, faces = [], []
    bank = VoiceBank.unlabelled(store, raw_log_mel)
    for name in fixed_people(store):
        mine = store.identity == name
        voices.append(bank.whole(int(np.flatnonzero(mine & store.has_voice)[0])))
        faces.append(
            torch.from_numpy(store.faces[store.face_index[np.flatnonzero(mine & store.has_face)[0]]])
        )
    return voices, torch.stack(faces)
