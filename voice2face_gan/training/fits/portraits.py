"""Which faces are portraits: seen from the front, evenly lit, sharp, wholly within their images, before a
plain background. What a network learns last, of few such images, decides how its own look (Dai et al., "Emu:
Enhancing Image Generation Models Using Photogenic Needles in a Haystack", 2023)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.store import Store
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.generators.regions import (
    FEATURES_CENTRE,
    FEATURES_EDGE,
    FEATURES_RADII,
    ellipse,
    head_mask,
)

_SIDE = 64  # of the images that are looked at, but for sharpness
_LIGHT = 4  # pixels a side that are averaged before both halves of a face are compared
_CORNER = 24, 9  # rows and columns at an image's upper corners that are background
_SMOOTH = 6  # pixels a side that are averaged for what a background is without its detail
_PIECE = 512


def portraits(records: Store, share: float) -> Store:
    """A share of the records with faces, at least one. A record is as good as its worst rank in halves that
    are not each other's mirror image, detail in the upper corners, blur, and pixels beyond the image's edges.

    Args:
        share: above 0, at most 1.
    """
    used, place = np.unique(records.face_index, return_inverse=True)
    pixels = torch.from_numpy(np.asarray(records.faces))
    found = [faults(to_unit(pixels[piece]), records.zoom) for piece in torch.from_numpy(used).split(_PIECE)]
    of_faces = np.column_stack([torch.cat(found).numpy()[place], 1 - records.visible_share])
    worst = np.max([np.searchsorted(np.sort(each), each) for each in of_faces.T], axis=0)
    kept = max(1, round(share * len(records)))
    return records.select(np.sort(np.argsort(worst, kind="stable")[:kept]))


def faults(images: Tensor, zoom: float) -> Tensor:
    """Of aligned faces (B, 3, side, side) in [-1, 1]: how much the halves of each differ but for
    detail, how much detail its upper corners have, and how little its head has, float32 (B, 3).

    Args:
        zoom: size of the faces, relative to the template.
    """
    small = F.interpolate(images, (_SIDE, _SIDE), mode="area")
    light = F.avg_pool2d(small, _LIGHT)
    face = ellipse(light.shape[-1], zoom, FEATURES_CENTRE, FEATURES_RADII, FEATURES_EDGE)
    turned = _mean((light - light.flip(3)).square(), face)
    rows, columns = _CORNER
    corners = torch.cat([small[:, :, :rows, :columns], small[:, :, :rows, -columns:]], dim=3)
    plain = F.avg_pool2d(corners, _SMOOTH)
    plain = F.interpolate(plain, corners.shape[-2:], mode="bilinear", align_corners=False)
    rough = (corners - plain).square().mean(dim=(1, 2, 3))
    sharp = _mean((images - F.avg_pool2d(images, 3, 1, 1)).abs(), head_mask(images.shape[-1], zoom))
    return torch.stack([turned, rough, -sharp], dim=1)


def _mean(images: Tensor, weights: Tensor) -> Tensor:
    """(B,): means of images (B, channels, side, side), each pixel with its weight."""
    return (images.mean(dim=1) * weights).sum(dim=(1, 2)) / weights.sum()
