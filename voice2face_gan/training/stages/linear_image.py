"""The linear image of (e, z) that a generator begins with: ridge regression from e to faces, and the principal
components of what e leaves open, each z a component's score in its standard deviations."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.batches.sampling import FaceBank
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.generators.r3gan import R3GANGenerator
from voice2face_gan.training.ridge import RidgeSystem
from voice2face_gan.training.stages.batches import FaceEmbeddingBatches

MAX_FACES = 6000  # that the regression is fitted on; more change nothing
MAX_OPEN = 2000  # that the components are fitted on
FURTHEST = 3.0  # standard deviations that an own z is from 0, at most
_RIDGE = 0.02  # of the mean variance of the elements of e
_PIECE = 256  # faces made small together


@torch.no_grad()
def fit_linear_image(generator: R3GANGenerator, batches: FaceEmbeddingBatches, flip: bool) -> None:
    """Fits `generator.linear`, and gives `batches` the z of their faces.

    Every face is predicted from the mean e of its identity: what single faces' e hold of pose and light, no
    voice gives.

    Args:
        generator: with `linear_side` above 0; on the CPU or a GPU.
        flip: faces are mirrored in half of the batches, so that the image of e is symmetric.
    """
    e, side, size = batches.e.cpu(), generator.linear_side, batches.e.shape[1]
    who = torch.from_numpy(batches.people)
    count = torch.bincount(who).float()[:, None]
    mean = torch.zeros(len(count), size).index_add_(0, who, e) / count
    items = _spread(len(e), MAX_FACES)
    images = torch.cat([_small(batches.faces, part, side) for part in _pieces(items)])
    if flip:
        images = (images + _mirrored(images, side)) / 2
    system = RidgeSystem(mean[who[items]], images, torch.ones(len(items)))
    weights, offset = system.weights(_RIDGE), system.y_mean - system.x_mean @ system.weights(_RIDGE)
    del images, system
    if not generator.z_dim:
        generator.linear.weight.copy_(weights.t())
        generator.linear.bias.copy_(offset)
        return

    def left_open(part: np.ndarray) -> Tensor:
        """(2 N, pixels): of faces, then of their mirror images."""
        predicted, small = e[part] @ weights + offset, _small(batches.faces, part, side)
        return torch.cat([small - predicted, _mirrored(small, side) - predicted])

    items = _spread(len(e), MAX_OPEN)
    rest = torch.cat([left_open(part) for part in _pieces(items)])
    _, deviation, components = torch.svd_lowrank(rest, generator.z_dim + 8, niter=3)
    components = components[:, : generator.z_dim]  # (pixels, z)
    deviation = (deviation[: generator.z_dim] / len(rest) ** 0.5).clamp(min=1e-6)
    del rest
    generator.linear.weight.copy_(torch.cat([weights.t(), components * deviation], dim=1))
    generator.linear.bias.copy_(offset)
    pieces = [left_open(part) @ components / deviation for part in _pieces(np.arange(len(e)))]
    own_z = torch.cat([torch.stack(piece.chunk(2), dim=1) for piece in pieces])
    batches.own_z = own_z.clamp(-FURTHEST, FURTHEST).to(batches.e.device)


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many of `count` places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _pieces(items: np.ndarray) -> list[np.ndarray]:
    return np.split(items, range(_PIECE, len(items), _PIECE))


def _small(faces: FaceBank, items: np.ndarray, side: int) -> Tensor:
    """(N, 3 side side) in [-1, 1], pixels beyond an image's edges as the store fills them."""
    whole = to_unit(faces.faces[faces.index[torch.from_numpy(items)].to(faces.faces.device)].cpu())
    return F.interpolate(whole, (side, side), mode="area").flatten(1)


def _mirrored(images: Tensor, side: int) -> Tensor:
    return images.unflatten(1, (3, side, side)).flip(-1).flatten(1)
