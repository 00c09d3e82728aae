"""The linear image of (e, z) that a generator begins with: ridge regression from e as voices give it to
faces, and the principal components of what such an e leaves open, times SPREAD of their standard deviations.
z is a face's scores of these components (`R3GANGenerator.own_z`)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.batches.sampling import FaceBank, gaussian
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.generators.r3gan import R3GANGenerator
from voice2face_gan.training.fits.faces import pieces, spread
from voice2face_gan.training.ridge import RidgeSystem
from voice2face_gan.training.stages.batches import FaceEmbeddingBatches

MAX_FACES = 6000  # that the regression is fitted on; more change nothing
MAX_OPEN = 2000  # that the components are fitted on
SPREAD = 0.8  # of drawn faces around the mean, as a part of real faces': few of them are black or glaring
_RIDGE = 0.02  # of the mean variance of the elements of e
_PIECE = 256  # faces made small together


@torch.no_grad()
def fit_linear_image(generator: R3GANGenerator, batches: FaceEmbeddingBatches, seed: int, flip: bool) -> None:
    """Fits `generator.linear` and freezes it: own z are measured by it.

    Args:
        generator: with `linear_side` above 0; on the CPU or a GPU.
        seed: of the simulated voices.
        flip: faces are mirrored in half of the batches, so that the image of e is symmetric.
    """
    side, people = generator.linear_side, batches.of_people
    noise = gaussian(tuple(people.shape), seed, "linear image", 0).to(people.device)
    e = batches.of_voices(people, noise).cpu()
    items = spread(len(e), MAX_FACES)
    images = torch.cat([_small(batches.faces, part, side) for part in pieces(items, _PIECE)])
    if flip:
        images = (images + _mirrored(images, side)) / 2
    system = RidgeSystem(e[items], images, torch.ones(len(items)))
    weights = system.weights(_RIDGE)
    offset = system.y_mean - system.x_mean @ weights
    del images, system
    columns = [weights.t()]
    if generator.z_dim:
        items = spread(len(e), MAX_OPEN)
        rest = torch.cat([_small(batches.faces, part, side) for part in pieces(items, _PIECE)])
        predicted = e[items] @ weights + offset
        rest = torch.cat([rest, _mirrored(rest, side)]) - predicted.repeat(2, 1)
        _, deviation, components = torch.svd_lowrank(rest, generator.z_dim + 8, niter=3)
        deviation = SPREAD * deviation[: generator.z_dim] / len(rest) ** 0.5
        columns.append(components[:, : generator.z_dim] * deviation)
    generator.linear.weight.copy_(torch.cat(columns, dim=1))
    generator.linear.bias.copy_(offset)
    generator.linear.requires_grad_(False)


def _small(faces: FaceBank, items: np.ndarray, side: int) -> Tensor:
    """(N, 3 side side) in [-1, 1], pixels beyond an image's edges as the store fills them."""
    whole = to_unit(faces.faces[faces.index[torch.from_numpy(items)].to(faces.faces.device)].cpu())
    return F.interpolate(whole, (side, side), mode="area").flatten(1)


def _mirrored(images: Tensor, side: int) -> Tensor:
    return images.unflatten(1, (3, side, side)).flip(-1).flatten(1)
