"""DiffAugment: differentiable augmentation of a discriminator's inputs, real and generated alike.

Below some 30,000 faces a discriminator memorises them; augmentation prevents it, and because it is
differentiable the generator still learns to make faces that are not augmented. Colour, translation and cutout
are those of Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020. Each of
the three is applied with a probability of its own (Karras et al., NeurIPS 2020), because at probability 1 the
generator may learn to make augmented faces.
"""

import torch
from torch import Tensor

NUMBERS = 10  # uniform random numbers that the augmentation of one face takes
MAX_SHIFT, CUTOUT = 1 / 8, 1 / 2  # of the side


def augment(faces: Tensor, probability: float, drawn: Tensor) -> Tensor:
    """Augments each face in its own way.

    Args:
        faces: float32 (B, 3, side, side).
        probability: of each of the three kinds, 0 to 1; 0 returns the faces as they are.
        drawn: float32 (B, NUMBERS), uniform in [0, 1): decide the augmentation.
    Returns:
        (B, 3, side, side), differentiable in `faces`.
    """
    if probability <= 0:
        return faces
    on = (drawn[:, :3] < probability).to(faces.dtype)[:, :, None, None, None]  # (B, 3, 1, 1, 1)
    faces = _colour(faces, drawn[:, 3:6], on[:, 0])
    faces = _translate(faces, drawn[:, 6:8], on[:, 1])
    return _cutout(faces, drawn[:, 8:10], on[:, 2])


def _colour(x: Tensor, drawn: Tensor, on: Tensor) -> Tensor:
    """Brightness by up to a quarter of the range, saturation by 0 to 2, contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = (v[:, None, None, None] for v in drawn.t())
    x = x + on * (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + on * (2 * saturation - 1))
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (x - middle) * (1 + on * (contrast - 0.5))


def _translate(x: Tensor, drawn: Tensor, on: Tensor) -> Tensor:
    """Whole pixels, up to an eighth of the side either way; what comes in from outside is 0, mid-grey."""
    side = x.shape[-1]
    limit = int(side * MAX_SHIFT)
    shift = ((drawn * (2 * limit + 1)).floor() - limit) * on[:, :, 0, 0]  # (B, 2) rows, columns
    place = torch.arange(side, device=x.device)
    rows, columns = (place[None] + shift[:, k, None].long() for k in (0, 1))  # (B, side), taken from there
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None]
    flat = (rows.clamp(0, side - 1) * side)[:, :, None] + columns.clamp(0, side - 1)[:, None]
    moved = x.flatten(2).gather(2, flat.flatten(1)[:, None].expand(-1, x.shape[1], -1))
    return moved.view_as(x) * inside[:, None]


def _cutout(x: Tensor, drawn: Tensor, on: Tensor) -> Tensor:
    """A square hole of half the side around a point anywhere in the image, filled with 0."""
    side = x.shape[-1]
    place = torch.arange(side, device=x.device, dtype=x.dtype)
    hole = [(place[None] - drawn[:, k, None] * side).abs() < side * CUTOUT / 2 for k in (0, 1)]
    keep = 1 - (hole[0][:, None, :, None] & hole[1][:, None, None, :]).to(x.dtype) * on
    return x * keep
