"""Batches of the GAN stages: conditions e, real faces, their identities, and random numbers.

    VoiceFaceBatches      voices v_i -> e_i = noisy(encoder(v_i)); real faces of the same identities, or any
    FaceEmbeddingBatches  real faces r_i -> e_i read from them; a share of the e_i as a voice would give them
    RandomStreams         z, augmentation and flips

What an iteration draws depends on seed and iteration alone (data/batches/sampling.py). Of several processes
each draws numbers for the whole batch and takes its shard of them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.data.batches.sampling import EpochSampler, FaceBank, VoiceBank, gaussian, random_source
from voice2face_gan.data.store import Store
from voice2face_gan.device import send
from voice2face_gan.models.conditioning import Controls, condition, soft_clip, soft_clip_limits
from voice2face_gan.models.voice_simulation import VoiceSimulation
from voice2face_gan.training.augmentation.diff_augment import NUMBERS
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.recipe.schema import Recipe
from voice2face_gan.training.stages.losses import UNKNOWN_IDENTITY

MAX_ZOOM, MAX_SHIFT = 0.06, 0.04  # of the images that the face space reads; shifts are of half the side


class Batch(NamedTuple):
    """This process's part of a batch, on the device.

    Attributes:
        e: float32 (B, embedding), what the generator is conditioned on.
        identity: int64 (B,), whose e it is.
        real: float32 (B, 3, side, side) in [-1, 1]; 0 where a pixel is not visible.
        face_identity: int64 (B,), whose face it is.
        visible: float32 (B, 1, side, side), 1 for pixels within the image that the face was taken from, 0 for
            those beyond its edges; None where the real faces are not masked.
        own_e: bool (B,), whether e is the one read from the real face; None where e comes from voices.
        face_e: float32 (B, embedding), read from the real face; None where e comes from voices.
        landmarks: float32 (B, 68, 2), of the real face, in fractions of the side; None where the stage
            wants none or the store has none.
    """

    e: Tensor
    identity: Tensor
    real: Tensor
    face_identity: Tensor
    visible: Tensor | None = None
    own_e: Tensor | None = None
    face_e: Tensor | None = None
    landmarks: Tensor | None = None

    def clipped_e(self, limits: Tensor) -> Tensor:
        """e, that of simulated voices within limits (embedding,) as that of voices will be."""
        return torch.where(self.own_e[:, None], self.e, soft_clip(self.e, limits))


@dataclass(frozen=True)
class RandomStreams:
    """Random numbers of an iteration, this process's part of the whole batch's."""

    seed: int
    batch: int
    processes: SingleProcess
    device: torch.device

    @property
    def shard(self) -> slice:
        return self.processes.shard(self.batch)

    def flips(self, iteration: int) -> np.ndarray:
        """bool (B,): which real faces are mirrored."""
        return (random_source(self.seed, "flips", iteration).random(self.batch) < 0.5)[self.shard]

    def z(self, iteration: int, size: int, zero_share: float = 0.0) -> Tensor | None:
        """z (B, size), standard normal, but 0 in a share of the batch; None where size is 0."""
        if not size:
            return None
        z = gaussian((self.batch, size), self.seed, "z", iteration)
        if zero_share:
            drawn = random_source(self.seed, "zero z", iteration).random(self.batch)
            z[torch.from_numpy(drawn < zero_share)] = 0
        return z[self.shard].to(self.device)

    def every_second_z(self, iteration: int, size: int) -> Tensor:
        """z (B, size), standard normal, but 0 for every second face, as plain answers have it."""
        z = self.z(iteration, size)
        plain = torch.arange(len(z), device=self.device)[:, None] % 2 == 0
        return torch.where(plain, 0, z)

    def strengths(self, iteration: int, between: tuple[float, float]) -> Tensor:
        """(B, 1), uniform between two numbers."""
        drawn = random_source(self.seed, "strength", iteration).uniform(*between, (self.batch, 1))
        return torch.from_numpy(drawn.astype(np.float32)[self.shard]).to(self.device)

    def own_z(self, iteration: int, share: float) -> Tensor:
        """bool (B,): which faces come with their own z, a share of the batch."""
        drawn = random_source(self.seed, "own z", iteration).random(self.batch)[self.shard]
        return torch.from_numpy(drawn < share).to(self.device)

    def grid_z(self, count: int, size: int) -> Tensor | None:
        """z (count, size) of the image grids, the same in all of them; None where size is 0."""
        return gaussian((count, size), self.seed, "grid", 0).to(self.device) if size else None

    def augmentation(self, iteration: int) -> Tensor:
        """float32 (3, B, NUMBERS) in [0, 1) for `diff_augment.augment`: of real faces, of generated ones in
        the discriminator's phase, and of generated ones in the generator's phase."""
        shape = (3, self.batch, NUMBERS)
        drawn = random_source(self.seed, "augmentation", iteration).random(shape, np.float32)
        return torch.from_numpy(drawn[:, self.shard]).to(self.device)

    def zooms(self, iteration: int) -> Tensor:
        """(B, 3) small zooms and shifts for the face space: a network that reads each image in one place
        alone is fooled by patterns that only work there."""
        drawn = random_source(self.seed, "zooms", iteration).uniform(-1, 1, (self.batch, 3))[self.shard]
        drawn = drawn * np.array([MAX_ZOOM, MAX_SHIFT, MAX_SHIFT]) + np.array([1, 0, 0])
        return torch.from_numpy(drawn.astype(np.float32)).to(self.device)


class VoiceFaceBatches:
    """Voices through the frozen encoder, and real faces.

    Args:
        voices, faces: those of the identities that have both.
        encoder: log-mels (B, mel bins, T) -> what `condition` makes e of.
        embedding: how many numbers an e has.
        controls: what `condition` does.
        recipe: see DataRecipe.
        streams: of the stage.
        same_identity: each real face is of its voice's identity; else faces are drawn independently.
    """

    def __init__(
        self,
        voices: VoiceBank,
        faces: FaceBank,
        encoder: nn.Module,
        embedding: int,
        controls: Controls,
        recipe: Recipe,
        streams: RandomStreams,
        same_identity: bool,
    ):
        self.voices, self.faces, self.streams, self.data = voices, faces, streams, recipe.data
        self.encoder, self.embedding, self.controls = encoder, embedding, controls
        self.same_identity = same_identity
        self.voice_sampler = EpochSampler(len(voices), streams.seed, "voices")
        self.face_sampler = EpochSampler(len(faces), streams.seed, "faces")

    def draw(self, iteration: int) -> Batch:
        mel, identity, real, face_identity, noise = self.inputs(iteration)
        with torch.no_grad():
            e = condition(self.encoder(mel), self.controls, noise)
        real, visible = _masked(real, self.faces)
        return Batch(e, identity, real, face_identity, visible)

    def inputs(self, iteration: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Log-mels (B, mel bins, T), their identities, real faces (B, 3, side, side), their identities, and
        standard normal noise (B, embedding), on the device."""
        seed, batch, mine = self.streams.seed, self.streams.batch, self.streams.shard
        crops = random_source(seed, "crops", iteration)
        shortest, longest = self.data.crop_frames
        frames = int(crops.integers(shortest, longest + 1))
        chosen = self.voice_sampler.draw(iteration, batch)
        mel, identity = self.voices.crops(chosen, frames, crops, mine)
        if self.same_identity:
            labels = self.voices.labels[torch.from_numpy(chosen)]
            faces = self.faces.of_identities(labels, random_source(seed, "pairs", iteration))
        else:
            faces = self.face_sampler.draw(iteration, batch)
        flips = self.streams.flips(iteration) if self.data.flip else None
        real, face_identity = self.faces.batch(faces[mine], flips)
        noise = gaussian((batch, self.embedding), seed, "noise", iteration)[mine]
        drawn = (mel, identity, real, face_identity, noise)
        return tuple(send(tensor, self.streams.device) for tensor in drawn)


class FaceEmbeddingBatches:
    """Real faces, with or without voices, and e read from each.

    A share of the e_i is replaced by what a voice encoder would have predicted,

        e'_i = s (R2 e_i + sqrt(R2 (1 - R2)) n)        per element; s the strength, n standard normal
        e'_i = s simulation(e_i, n)                    where the encoder brings its errors' covariance

    Args:
        faces: with labels, UNKNOWN_IDENTITY for people without a voice.
        fully_visible: int64, the places in `faces` of those that lie wholly within their images.
        people: int (faces,), a number for each one's identity.
        e: float32 (faces, 64).
        r2: float32 (64,), see face_embedding.predicted_variance.
        recipe: see FaceEmbeddingRecipe.
        streams: of the stage.
        simulation: of voices; None for each element of e by itself.
        landmarks: batches have the faces' landmarks, where the store keeps them.
    Attributes:
        of_people: float32 (faces, 64), the e that voices are simulated for: with a simulation the mean of an
            identity's faces, which no voice tells apart, else each face's.
    """

    def __init__(
        self,
        faces: FaceBank,
        fully_visible: np.ndarray,
        people: np.ndarray,
        e: Tensor,
        r2: Tensor,
        recipe: Recipe,
        streams: RandomStreams,
        simulation: VoiceSimulation | None = None,
        landmarks: bool = False,
    ):
        self.faces, self.fully_visible, self.people, self.streams = faces, fully_visible, people, streams
        self.settings, self.flip = recipe.face_embedding, recipe.data.flip
        self.e, self.r2 = e.to(streams.device), r2.to(streams.device)
        self.noise_std = (self.r2 * (1 - self.r2)).clamp(min=0).sqrt()
        self.with_landmarks = landmarks and faces.landmarks is not None
        self.simulation, self.of_people = None, self.e
        if simulation is not None:
            self.simulation, self.of_people = simulation.to(streams.device), self._means()
        self.sampler = EpochSampler(len(faces), streams.seed, "faces")
        self.visible_sampler = EpochSampler(max(1, len(fully_visible)), streams.seed, "fully visible")

    def draw(self, iteration: int) -> Batch:
        items = self._items(iteration)[self.streams.shard]
        flips = self.streams.flips(iteration) if self.flip else None
        real, identity = (send(x, self.streams.device) for x in self.faces.batch(items, flips))
        real, visible = _masked(real, self.faces)
        places = torch.from_numpy(items)
        own, simulated = self.e[places], self._simulated(iteration)
        e = torch.where(simulated[:, None], self._predicted(iteration, self.of_people[places]), own)
        landmarks = None
        if self.with_landmarks:
            landmarks = send(self.faces.landmarks_of(items, flips), self.streams.device)
        return Batch(e, identity, real, identity, visible, ~simulated, own, landmarks)

    def limits(self, controls: Controls) -> Tensor:
        """Of e, (embedding,): those of the controls; of the faces, where a voice encoder was composed with no
        generator yet and has none."""
        known = controls.soft_clip or soft_clip_limits(self.e.cpu().numpy())
        return torch.tensor(known, device=self.streams.device)

    def _means(self) -> Tensor:
        """(faces, 64): the mean e of each face's identity."""
        who = torch.from_numpy(self.people).to(self.e.device)
        total = self.e.new_zeros(int(who.max()) + 1, self.e.shape[1]).index_add_(0, who, self.e)
        return (total / torch.bincount(who)[:, None])[who]

    def _items(self, iteration: int) -> np.ndarray:
        """int64 (whole batch,): the faces drawn, the last ones fully visible."""
        batch = self.streams.batch
        items = self.sampler.draw(iteration, batch)
        count = round(self.settings.fully_visible * batch) if len(self.fully_visible) else 0
        if count:
            items[-count:] = self.fully_visible[self.visible_sampler.draw(iteration, count)]
        return items

    def _simulated(self, iteration: int) -> Tensor:
        """bool (B,): for which faces a voice is simulated."""
        chance = random_source(self.streams.seed, "simulated voices", iteration).random(self.streams.batch)
        chosen = torch.from_numpy(chance < self.settings.simulated_voices)
        return chosen.to(self.streams.device)[self.streams.shard]

    def _predicted(self, iteration: int, e: Tensor) -> Tensor:
        """e' (B, 64): what a voice encoder would predict of e."""
        seed, batch, mine = self.streams.seed, self.streams.batch, self.streams.shard
        strength = self.streams.strengths(iteration, self.settings.strength_range)
        noise = gaussian((batch, e.shape[1]), seed, "noise", iteration).to(e.device)[mine]
        return strength * self.of_voices(e, noise)

    def of_voices(self, e: Tensor, noise: Tensor) -> Tensor:
        """What a voice encoder would predict of e (N, 64), at strength 1, with standard normal noise
        (N, 64)."""
        if self.simulation is not None:
            return self.simulation(e, noise)
        return self.r2 * e + self.noise_std * noise


def labels_of_known(faces: Store, known: list[str]) -> np.ndarray:
    """int64 (records,): each record's place among the known identities (sorted), or UNKNOWN_IDENTITY."""
    place = np.searchsorted(known, faces.identity).clip(max=len(known) - 1)
    return np.where(np.array(known)[place] == faces.identity, place, UNKNOWN_IDENTITY)


def _masked(real: Tensor, faces: FaceBank) -> tuple[Tensor, Tensor | None]:
    """Real faces with 0 for pixels that are not visible (NaN), and the mask of `Batch`."""
    # Channels last is the layout in which the CPU's and the GPU's bfloat16 convolutions are fastest.
    real = real.contiguous(memory_format=torch.channels_last)
    if faces.visible_box is None:
        return real, None
    return real.nan_to_num(), real[:, :1].isfinite().float()
