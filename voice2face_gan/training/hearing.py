"""A voice embedder that gives the e of a face space: what a voice tells of its speaker's face.

Pairs of voices and faces are few, voices alone are more, and a public speaker encoder has heard thousands of
people. So the embedder learns in two parts:

1. From the teacher's embedding t of clean, whole speech to e: ridge regression on the people with both,
   clips weighted by one over the root of their person's number (training/line.py). It is linear:
   e = (t - mean) W + offset.
2. From log-mels to t: the embedder, with 256 outputs, hears distorted crops and is asked for the teacher's t
   of the clean whole. Speech played slower or faster, or with other resonances, is somebody else's, of whom
   the teacher is asked anew (training/guises.py). Before that, the layers of a recurrent embedder may learn
   from the teacher's layers what these do with the very crop before it is distorted (training/hints.py).

At the end W is multiplied into the last layer: the embedder then gives e. (A line fitted anew to what
the embedder says leaves larger numbers, and pictures that match less at any strength.) How much of each
element is predicted of unheard people, R2, is found by cross-validation over identities and kept as
sqrt(1 - R2), the residual.
"""

import hashlib
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.audio.distort import as_loud
from voice2face_gan.audio.features import log_mels
from voice2face_gan.data.cache import kept
from voice2face_gan.data.sampling import EpochSampler
from voice2face_gan.data.speech import SpeechBank
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast
from voice2face_gan.errors import DataError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.face_space import FaceSpace
from voice2face_gan.models.recurrent_embedder import PIECE, RecurrentEmbedder
from voice2face_gan.models.registry import build_embedder
from voice2face_gan.training.echo import Echo
from voice2face_gan.training.guises import Guises
from voice2face_gan.training.hints import Hints, check_layers
from voice2face_gan.training.line import Line, folded
from voice2face_gan.training.parallel import Alone
from voice2face_gan.training.recipe import Recipe
from voice2face_gan.training.speaker import EmbedderStage
from voice2face_gan.training.teacher import DIMENSIONS, SAMPLE_RATE, Teacher

_FURTHER = 25  # guises of each clip, for hints


class HearingStage(EmbedderStage):
    """Distillation of a teacher into an embedder of e; arguments as in EmbedderStage.

    Raises:
        DataError: the store keeps no speech of the teacher's sampling rate, or too few people have both
            voices and faces, or these were not read into the space.
        CheckpointError: the space or the teacher is missing.
    """

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        processes: Alone | None = None,
    ):
        super().__init__(store, recipe, seed, device, processes)
        voices = store.select(store.has_voice)
        if self.distortion is None or not self.distortion.speech.kept.all():
            raise DataError(
                f"{store.folder}: a teacher hears speech, which the store does not keep of all its voices "
                "(or embedder.augment is 0); prepare it again with --keep-speech."
            )
        if self.distortion.features.sample_rate != SAMPLE_RATE:
            raise DataError(
                f"{store.folder}: its speech is at {self.distortion.features.sample_rate} Hz, the teacher "
                f"hears {SAMPLE_RATE}; prepare it again with that rate."
            )
        space = self.space = FaceSpace.load(recipe.embedder.space)
        teacher = Teacher(recipe.embedder.teacher or None)
        speech, settings = self.distortion.speech, recipe.embedder
        # Hints ask the teacher of what they hear; only what comes after them, of whole clips in all guises.
        others = settings.iterations > settings.hints
        speeds, more = (settings.speeds, settings.guises) if others else ((1.0,), 0)
        self.guises = Guises(len(speech), speeds, more)
        self.told = remembered(teacher, speech, self.guises)  # with the speech
        self.line = Line.fit(voices, self.told[:, self.guises.plain], space)
        # The embedder gives t in units of its own: t is small, and Adam's first steps would else be hundreds
        # of times its size.
        middle = self.told.mean(dim=(0, 1))
        unit = ((self.told - middle).square().mean()).sqrt()
        directions = self.line.weights * unit
        wanted = ((self.told - middle) / unit).flatten(0, 1)
        self.spread = _variance(wanted), _variance(wanted @ directions)
        self.middle, self.unit, self.directions = (x.to(device) for x in (middle, unit, directions))
        self.hints = None
        if settings.hints:
            # The teacher is asked of these as they are heard: further ones cost nothing.
            self.further = Guises(len(speech), settings.speeds, _FURTHER)
            check_layers(self.embedder, teacher, self.distortion.features)
            self.hints = Hints(
                self.embedder,
                teacher.to(device),
                self._said,
                self.distortion.features,
                settings.hints,
                settings.hints_lr,
                seed,
                recipe.run.precision,
                self.processes,
            )
        if isinstance(self.embedder, RecurrentEmbedder):
            self._start_from_t()
        self.pairs = EpochSampler(len(self.told) * self.told.shape[1], seed, "voices")
        # Distorting a batch takes twice as long as learning from it.
        batches = self.settings.echo_kept // self.settings.batch
        again = self.settings.echo
        self.echo = Echo(self._longest, batches, again, not self.embedder.levels) if again > 1 else None

    def _build(self, speakers: int) -> None:
        torch.manual_seed(self.seed)
        wide = replace(self.config, embedding=DIMENSIONS, residual=())
        self.embedder = self.processes.synchronous(build_embedder(wide).to(self.device))
        self.head = nn.Identity()
        self.weights = list(self.embedder.parameters())

    def start_from(self, embedder: nn.Module) -> None:
        """Go on from what a trained embedder of e does below its last layer."""
        last = f"{embedder.last_name}."
        below = {k: v for k, v in embedder.state_dict().items() if not k.startswith(last)}
        self.embedder.load_state_dict(below, strict=False)
        if self.hints:
            self.hints.go_on()

    @torch.no_grad()
    def _start_from_t(self) -> None:
        """The last layer of a recurrent embedder reads t: at first it does nothing to it."""
        last = self.embedder.last
        last.weight.zero_()
        last.weight[:, :DIMENSIONS] = torch.eye(DIMENSIONS) / self.unit
        last.bias.copy_(-self.middle / self.unit)

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update; the losses are shares of the variance that the embedder misses, of t and of e, or of
        what the teacher's layers do."""
        if iteration < self.settings.hints:
            return self.hints.step(iteration)
        crops, frames = self._crops(iteration)
        if self.echo is not None:
            mel, wanted = self.echo.draw(iteration, frames, crops)
        else:
            mel, wanted = self._heard(iteration, frames)
        mel, wanted = mel.to(self.device), wanted.to(self.device)
        self._set_rate(iteration)
        self.embedder.train()
        with autocast(self.recipe.run.precision, self.device):
            t = self.embedder(mel)
        away = t.float() - (wanted - self.middle) / self.unit
        losses = {
            "t_missed": away.square().sum(dim=1).mean() / self.spread[0],
            "e_missed": (away @ self.directions).square().sum(dim=1).mean() / self.spread[1],
        }
        self._update(sum(losses.values()))
        return {name: loss.detach() for name, loss in losses.items()}

    def _set_rate(self, iteration: int) -> None:
        hints, started = self.settings.hints, min(1.0, (iteration - self.settings.hints + 1) / 50)
        done = min((iteration - hints) / max(self.iterations - hints, 1), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.lr * 0.5 * (1 + math.cos(math.pi * done)) * (started if hints else 1)

    def state(self) -> dict:
        return super().state() | ({"hints": self.hints.state()} if self.hints else {})

    def load(self, state: dict) -> None:
        super().load(state)
        if self.hints:
            self.hints.load(state["hints"])

    def _longest(self, number: int) -> tuple[Tensor, Tensor]:
        return self._heard(number, self.settings.crop_frames[1])

    def _heard(self, number: int, frames: int) -> tuple[Tensor, Tensor]:
        """This process's part of a batch: log-mels (B, bins, frames), and what the teacher said of the whole
        clips in their guises (B, 256)."""
        (clips, which), rng = self._drawn(number), self._distorting(number)
        wanted = self.told[torch.from_numpy(clips), torch.from_numpy(which)]
        speech = self._distorted(clips, self._crops_of(clips, which, frames, rng), frames, rng)
        return log_mels(speech, self.distortion.features, normalised=not self.embedder.levels), wanted

    def _said(self, number: int) -> tuple[Tensor, Tensor]:
        """This process's part of a batch for hints, PIECE frames (B, samples): speech, some of it distorted,
        and the same speech as it was said, as loud."""
        (clips, _), rng = self._drawn(number), self._distorting(number)
        which = rng.integers(self.further.count, size=len(clips))
        said = self._crops_of(clips, which, PIECE, rng, self.further)
        heard = self._distorted(clips, said, PIECE, rng)
        # The teacher's answer changes with the level, of which a distorted crop tells nothing.
        said = as_loud(said[:, : heard.shape[1]], heard)
        return heard.to(self.device), said.to(self.device)

    def _drawn(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Clips (B,) of this process's part of a batch, and their guises (B,)."""
        drawn = self.pairs.draw(number, self.settings.batch)[self.processes.mine(self.settings.batch)]
        return drawn // self.told.shape[1], drawn % self.told.shape[1]

    def _crops_of(
        self,
        clips: np.ndarray,
        which: np.ndarray,
        frames: int,
        rng: np.random.Generator,
        guises: Guises | None = None,
    ) -> Tensor:
        """Crops (B, samples) in their guises, long enough to be distorted and cut to so many frames."""
        guises = guises or self.guises
        more = self.distortion.of_signals.samples_needed(self.distortion.samples(frames))
        longest = int(np.ceil(more * guises.fastest)) + 64
        return guises.heard(self.distortion.speech.crops(clips, longest, rng), clips, which, more)

    def _distorted(self, clips: np.ndarray, speech: Tensor, frames: int, rng: np.random.Generator) -> Tensor:
        """Crops of so many frames (B, samples), some distorted."""
        distortion, samples = self.distortion, self.distortion.samples(frames)
        chosen = np.flatnonzero(rng.random(len(clips)) < distortion.share)
        if len(chosen):
            labels = self.bank.labels.numpy()[clips[chosen]]
            rate = distortion.features.sample_rate
            heard = distortion.of_signals(speech[chosen], samples, labels, rate, rng)
            speech = speech[:, :samples].clone()
            speech[chosen] = heard
        return speech[:, :samples]

    def checkpoint(self, iteration: int) -> Checkpoint:
        kept = super().checkpoint(iteration)
        residual = tuple(round(float(r), 4) for r in self.line.residual)
        config = replace(self.config, residual=residual)
        embedder = build_embedder(config)
        line = self.line.of_units(self.middle.cpu(), self.unit.cpu())
        embedder.load_state_dict(folded(self.embedder, line))
        info = {**kept.info, "hearing": self.line.about, "face_space": self.space.summary()}
        return replace(
            kept, model=config, embedder=embedder.eval(), info=info, face_space=self.space.map_tensors()
        )


def remembered(teacher: Teacher, speech: SpeechBank, guises: Guises) -> Tensor:
    """What `teach` gives, kept on disk: two hours of speech in sixteen guises take a core twelve minutes."""
    weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in teacher.state_dict().values()))
    places = hashlib.sha256(torch.stack([speech.offset, speech.length]).numpy().tobytes())
    rows = len(speech) * guises.count
    by = f"teacher {weights.hexdigest()} {places.hexdigest()} {guises.digest}"
    told = kept(by, speech.samples, lambda _: teach(teacher, speech, guises).flatten(0, 1).numpy(), rows)
    return torch.from_numpy(told).unflatten(0, (len(speech), guises.count))


@torch.no_grad()
def teach(teacher: Teacher, speech: SpeechBank, guises: Guises) -> Tensor:
    """What the teacher says of each clip in each guise: (clips, guises, 256)."""
    told = torch.empty(len(speech), guises.count, DIMENSIONS)
    for clip in range(len(speech)):
        whole = speech.whole(clip)
        for i, speed in enumerate(guises.speed[clip].tolist()):
            samples = len(whole) if speed == 1 else int(len(whole) / speed) - 64
            told[clip, i] = teacher(guises.heard(whole[None], np.array([clip]), np.array([i]), samples)[0])
    return told


def _variance(x: Tensor) -> float:
    return float(x.var(dim=0).sum())
