"""The linear image of e that a generator begins with: ridge regression from e to small images of faces."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.data.batches.sampling import FaceBank
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.training.ridge import RidgeSystem

MAX_FACES = 20_000  # that it is fitted on; more change nothing
_RIDGE = 0.02  # of the mean variance of the elements of e
_PIECE = 256  # faces made small together


@torch.no_grad()
def fit_linear_image(
    generator: nn.Module, faces: FaceBank, e: Tensor, identity: np.ndarray, flip: bool
) -> None:
    """Fits `generator.linear` and freezes it: its layer is the best one in closed form, and the rest of the
    network learns what is left.

    Every face is predicted from the mean e of its identity: what single faces' e hold of pose and light, no
    voice gives.

    Args:
        generator: with `linear_side` above 0; on the CPU or a GPU.
        e: (faces, 64), of each face of the bank.
        identity: (faces,), whose each is.
        flip: faces are mirrored in half of the batches, so that the image is symmetric.
    """
    items = np.unique(np.linspace(0, len(e) - 1, min(len(e), MAX_FACES)).round().astype(int))
    _, who = np.unique(identity, return_inverse=True)
    mean = torch.zeros(who.max() + 1, e.shape[1]).index_add_(0, torch.from_numpy(who), e.cpu())
    mean /= torch.from_numpy(np.bincount(who)).float()[:, None]
    images = [
        _small(faces, part, generator.linear_side, flip)
        for part in np.split(items, range(_PIECE, len(items), _PIECE))
    ]
    system = RidgeSystem(mean[who[items]], torch.cat(images), torch.ones(len(items)))
    weights = system.weights(_RIDGE)
    generator.linear.weight.copy_(weights.t())
    generator.linear.bias.copy_(system.y_mean - system.x_mean @ weights)
    generator.linear.requires_grad_(False)


def _small(faces: FaceBank, items: np.ndarray, side: int, flip: bool) -> Tensor:
    """(N, 3 side side), pixels beyond an image's edges as the store fills them."""
    whole = to_unit(faces.faces[faces.index[torch.from_numpy(items)].to(faces.faces.device)].cpu())
    small = F.interpolate(whole, (side, side), mode="area")
    return (((small + small.flip(-1)) / 2) if flip else small).flatten(1)
