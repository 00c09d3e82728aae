"""The adversarial stage on a space that faces and voices share (models/face_embedding_space.py).

Faces are many and voices few; here every face teaches, voice or not, for it has an e of its own. Each
iteration draws real faces r_i with their e_i, turns a share of these into what a voice would have given, and
learns

    e'_i = s (R2 * e_i + sqrt(R2 (1 - R2)) n)   per element; s the strength, n noise
    g_i  = G(e_i or e'_i, z_i)
    L_D  = softplus(D(g_i, e) - D(r_i, e)) + gamma / 2 (R1 + R2)
    L_G  = softplus(D(r_i, e) - D(g_i, e)) + pixel x |g_i - r_i| + read_space x |space(g_i) - target(e)|^2

The space reads e back from the image through dlib's own network, zoomed and moved a little each time. That
network has seen faces alone and says of some patterns of colour that they are anybody: asked from the
beginning, a generator paints these (after 200 iterations 88 % of the images' embeddings were nearer to
their own person's than to another's, and not one was a face). So it is asked once there are faces, and then
more and more (`read_from`). The pixel loss is there to make faces soon; it counts for faces with their own e
alone, and less as the reading sets in. What e leaves open is z's; a share of the batch has z = 0, the plain
answer, which a generator that only saw noise paints pale.

R2 is how much of each element's variance a voice encoder predicts of people it never met; it comes with the
encoder's checkpoint, as `residual_std` = sqrt(1 - R2) among its controls.
"""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.data.batches.sampling import EpochSampler, FaceBank, gaussian, generator
from voice2face_gan.data.cache import cached
from voice2face_gan.data.face_embedding import read_face_embedding
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast, send
from voice2face_gan.errors import CheckpointError, DataError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.face_embedding_space import SIZE, FaceSpace
from voice2face_gan.training.stages.r3gan import R3GANStage
from voice2face_gan.training.stages.wen2019 import NOBODY, Wen2019Stage, identities_with_both

_DISTURBED = (0.06, 0.04, 0.04)  # zoom, right, down, at most; shifts are of half the side
_PIXEL_LEFT = 0.25  # of the pixel loss, once the reading counts in full
_PLAIN = 0.25  # share of a batch with z = 0
_ATTRIBUTES = 0.25  # what sex and age count for, each, beside the whole embedding


KEPT = "checkpoint"  # face_embedding.space: the space that the voice encoder's checkpoint keeps


def open_space(name: str, encoder: Checkpoint) -> FaceSpace:
    """The face space that a recipe names: a folder, or the one kept beside the voice encoder.

    Raises:
        CheckpointError: it is missing or damaged, the checkpoint keeps none, or the extra `faces` is missing.
    """
    if name != KEPT:
        return FaceSpace.load(name)
    if not encoder.face_space:
        raise CheckpointError(
            f"{encoder.folder} keeps no face space; name the folder of one: "
            "--set face_embedding.space=FOLDER."
        )
    return FaceSpace.of_map(encoder.face_space, encoder.info.get("face_space"))


def _embeddings(faces: Store, space: FaceSpace, named: str) -> np.ndarray:
    """e (faces of the arrays, 64): as the stores keep them, else read now where the space came with a
    checkpoint, and kept in the cache.

    Raises:
        DataError: the stores' faces were read by something else, if at all.
    """
    try:
        embedding, name = read_face_embedding(faces)
        if name != space.name:
            raise DataError(
                f"{faces.folder}: its faces were read by {name}, but {named} is {space.name}; "
                "run v2f-gan face-space on them again."
            )
        return embedding
    except DataError:
        if named != KEPT:
            raise
    zoom = space.about.get("zoom", faces.zoom)
    if zoom != faces.zoom:
        raise DataError(
            f"{faces.folder}: its faces were taken at zoom {faces.zoom:g}, {space.name} reads them at "
            f"{zoom:g}; prepare them again with --set faces.zoom={zoom:g}."
        )
    pixels = torch.from_numpy(np.asarray(faces.faces))
    return cached(f"{space.name} {space.network}", pixels, lambda x: space.encode_faces(x).numpy())


class FaceEmbeddingStage:
    """What makes a stage learn from every face by its own e; arguments and errors as in Wen2019Stage.

    Raises:
        CheckpointError: the space is missing or damaged.
        DataError: the faces were not read into it, or the encoder is of no space or of another.
    """

    def __init__(self, store, held_out, encoder, recipe, seed, device, processes=None):
        super().__init__(store, held_out, encoder, recipe, seed, device, processes)
        layout = {"device": device, "memory_format": torch.channels_last}
        self.space = open_space(recipe.face_embedding.space, encoder).to(**layout)
        faces = store.select(store.has_face)
        embedding = _embeddings(faces, self.space, recipe.face_embedding.space)
        residual = encoder.controls.residual_std
        if len(residual) != SIZE:
            raise DataError(
                "The voice encoder gives no e of a face space (its residual_std has "
                f"{len(residual)} numbers, not {SIZE}); train one with v2f-gan train "
                "--recipe default-encoder."
            )
        heard = encoder.info.get("distillation", {}).get("space", self.space.name)
        if heard != self.space.name:
            raise DataError(
                f"The voice encoder gives the e of {heard}, but {recipe.face_embedding.space} is "
                f"{self.space.name}; "
                "train one on this space with v2f-gan train --recipe default-encoder."
            )
        self.data = {**self.data, "faces": len(faces)}
        self.e = torch.from_numpy(embedding[faces.face_index]).to(device)
        known = np.array(sorted(identities_with_both(store)))  # in the order of the classifier's classes
        place = np.searchsorted(known, faces.identity).clip(max=len(known) - 1)
        labels = np.where(known[place] == faces.identity, place, NOBODY)
        self.faces = FaceBank(faces, labels, device, self.leaves_out)
        self.face_sampler = EpochSampler(len(faces), seed, "faces")
        self.whole = np.flatnonzero(faces.fully_visible)
        self.whole_sampler = EpochSampler(max(1, len(self.whole)), seed, "whole")
        self.told = 1 - torch.tensor(residual, dtype=torch.float32, device=device).square()  # R2
        self.unsure = (self.told * (1 - self.told)).clamp(min=0).sqrt()

    def _batch(self, iteration: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        batch, settings = self.settings.batch, self.recipe.face_embedding
        mine = self.processes.shard(batch)
        flips = generator(self.seed, "flips", iteration).random(batch) < 0.5
        items = self.face_sampler.draw(iteration, batch)
        whole = (
            round(settings.fully_visible * batch) if len(self.whole) else 0
        )  # none lies wholly within its image
        if whole:
            items[-whole:] = self.whole[self.whole_sampler.draw(iteration, whole)]
        drawn = self.faces.batch(items[mine], flips[mine] if self.recipe.data.flip else None)
        real, identity = (send(tensor, self.device) for tensor in drawn)
        e = self.e[torch.from_numpy(items[mine])]
        chance = generator(self.seed, "heard", iteration).random(batch)
        as_heard = torch.from_numpy(chance < settings.simulated_voices).to(e.device)
        strength = generator(self.seed, "strength", iteration).uniform(*settings.strength_range, (batch, 1))
        strength = torch.from_numpy(strength.astype(np.float32)).to(e.device)
        noise = gaussian((batch, e.shape[1]), self.seed, "noise", iteration).to(e.device)
        heard = strength[mine] * (self.told * e + self.unsure * noise[mine])
        e = torch.where(as_heard[mine][:, None], heard, e)
        self._own = ~as_heard[mine]
        return e, identity, real.contiguous(memory_format=torch.channels_last), identity


class R3GANFaceEmbeddingStage(FaceEmbeddingStage, R3GANStage):
    """Generator against discriminator, and a space that reads e back."""

    def _noise(self, iteration: int) -> Tensor | None:
        z = super()._noise(iteration)
        if z is not None:
            batch = self.settings.batch
            plain = generator(self.seed, "plain", iteration).random(batch) < _PLAIN
            z[torch.from_numpy(plain[self.processes.shard(batch)])] = 0
        return z

    def _pixel_loss(self, iteration: int, fake: Tensor, real: Tensor) -> Tensor:
        apart = (fake - real).abs().mean(dim=(1, 2, 3))
        faded = 1 - (1 - _PIXEL_LEFT) * self._asked(iteration)
        return self.processes.masked_mean(faded * (apart * self._own).sum(), self._own.sum())

    def _extra_losses(self, iteration: int, e: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """How far the embedding, the sex and the age of the faces are from those asked for; 1 is as far as
        people differ from the average face."""
        share = self._asked(iteration)
        if not share:
            return {}
        with autocast(self.recipe.run.precision, self.device):
            embedding, attributes = self.space.read(fake.float(), self._disturbed(iteration))
        wanted, wanted_attributes = self.space.target(e)
        people = self.space.scale.square().sum()
        apart = (embedding - wanted).square().sum(dim=1).mean() / people
        unlike = (attributes - wanted_attributes).square().sum(dim=1).mean()
        weight = share * self.recipe.face_embedding.identity_loss
        return {"G_face_embedding": weight * apart, "G_sex_age": weight * _ATTRIBUTES * unlike}

    def _asked(self, iteration: int) -> float:
        """How much of the reading counts: none, then evenly more for as long again, then all. A generator
        that was given makes faces already: with it all, from the beginning."""
        if self.fine_tunes:
            return 1.0
        begin = self.recipe.face_embedding.identity_loss_from * self.iterations
        return min(1.0, max(0.0, iteration / begin - 1)) if begin else 1.0

    def _disturbed(self, iteration: int) -> Tensor:
        """(B, 3) small zooms and shifts: a network that sees each image in one place alone is fooled by
        patterns that only work there."""
        mine = self.processes.shard(self.settings.batch)
        drawn = generator(self.seed, "zooms", iteration).uniform(-1, 1, (self.settings.batch, 3))[mine]
        drawn = drawn * np.array(_DISTURBED) + np.array([1, 0, 0])
        return torch.from_numpy(drawn.astype(np.float32)).to(self.device)


class Wen2019FaceEmbeddingStage(FaceEmbeddingStage, Wen2019Stage):
    """Wen et al.'s nets and losses on the same faces with the same e: what the r3gan ones are compared with.
    Their classifier tells apart the people who have a voice; of the others it is asked nothing."""
