"""Augmentation of faces that keeps the identity, for training the face classifier."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MAX_ROTATION = math.radians(10)  # either way
ZOOM_RANGE = (0.9, 1.2)
MAX_SHIFT = 0.08  # of half the side, either way


def augment_faces(x: Tensor, random: np.random.Generator) -> Tensor:
    """Rotated, shifted, zoomed, recoloured, blurred, partly covered, noisy faces.

    Generated faces may be blurred and noisy: the classifier is trained to ignore that. The rest keeps it from
    recognising people by their backgrounds and cameras.

    Args:
        x: float (B, 3, side, side) in [-1, 1].
        random: makes every choice.
    Returns:
        float (B, 3, side, side), about [-1, 1].
    """
    return _noise(_cover(_colour(_blur(_move(x, random), random), random), random), random)


def _uniform(x: Tensor, random: np.random.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.from_numpy(random.uniform(low, high, (len(x), *shape)).astype(np.float32)).to(x.device)


def _move(x: Tensor, random: np.random.Generator) -> Tensor:
    angle = _uniform(x, random, -MAX_ROTATION, MAX_ROTATION)
    zoom = 1 / _uniform(x, random, *ZOOM_RANGE)
    shift = _uniform(x, random, -MAX_SHIFT, MAX_SHIFT, 2)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1)
    grid = F.affine_grid(rows.view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _blur(x: Tensor, random: np.random.Generator) -> Tensor:
    side = x.shape[-1]
    blurred = F.interpolate(F.avg_pool2d(x, 2), (side, side), mode="bilinear", align_corners=False)
    share = _uniform(x, random, -0.8, 1.0, 1, 1, 1).clamp(min=0)
    return x + share * (blurred - x)


def _colour(x: Tensor, random: np.random.Generator) -> Tensor:
    grey = x.mean(dim=1, keepdim=True)
    kept = _uniform(x, random, 0.0, 1.3, 1, 1, 1)  # 0 is a grey image
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = grey + kept * (x - grey)
    x = mean + _uniform(x, random, 0.7, 1.3, 1, 1, 1) * (x - mean)
    return x + _uniform(x, random, -0.2, 0.2, 1, 1, 1) + _uniform(x, random, -0.1, 0.1, 3, 1, 1)


def _cover(x: Tensor, random: np.random.Generator) -> Tensor:
    """In half of the faces, one rectangle of up to half the side becomes flat (Cutout; DeVries, 2017)."""
    side = x.shape[-1]
    place = torch.arange(side, device=x.device)
    inside = torch.ones(len(x), 1, side, side, dtype=torch.bool, device=x.device)
    for shape in ((-1, 1, 1, side), (-1, 1, side, 1)):
        start = _uniform(x, random, -0.25, 1.0, 1) * side
        length = _uniform(x, random, 0.1, 0.5, 1) * side
        inside &= ((place >= start) & (place < start + length)).view(shape)
    inside &= _uniform(x, random, 0, 1, 1, 1, 1) < 0.5
    return torch.where(inside, _uniform(x, random, -1, 1, 3, 1, 1), x)


def _noise(x: Tensor, random: np.random.Generator) -> Tensor:
    level = _uniform(x, random, 0, 0.1, 1, 1, 1)
    noise = torch.from_numpy(random.standard_normal(tuple(x.shape), dtype=np.float32)).to(x.device)
    return x + level * noise
