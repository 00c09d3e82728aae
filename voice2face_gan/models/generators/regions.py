"""Regions of a face in its image, or of its texture in the mean shape: ellipses with soft edges; a blur."""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.faces.align import zoomed

HEAD_CENTRE, HEAD_RADII = (0.5, 0.52), (0.33, 0.455)
"""An ellipse around a head with its hair: x and y in fractions of the side, at zoom 1."""

HEAD_EDGE = 0.06  # of its radii, over which the mask falls; all three by eye, on 24 faces

HAIR_RADII, HAIR_EDGE = (0.42, 0.56), 0.1
"""The same around long hair; the centre is the head's."""

EAR_CENTRE, EAR_RADII, EAR_EDGE = (0.2, 0.46), (0.1, 0.17), 0.04
"""The same around the ear on the left; the other is its mirror image."""

FACE_CENTRE, FACE_RADII, FACE_EDGE = (0.5, 0.56), (0.3, 0.4), 0.12
"""The same around forehead and all below, to the ears."""

FEATURES_CENTRE, FEATURES_RADII, FEATURES_EDGE = (0.5, 0.6), (0.23, 0.3), 0.12
"""The same around a face from brows to chin, without ears."""

BROWS, BROWS_EDGE = 0.33, 0.02
"""Height above which a head has forehead and hair alone, in fractions of the side from its top, at zoom 1."""

JAW, JAW_EDGE = 0.78, 0.03
"""Height below which there are neck and shoulders beside the jaw."""

BLURS = 3
"""Running means of a smooth blur."""


def below(side: int, zoom: float, height: float, edge: float) -> Tensor:
    """1 below a height, 0 well above it, float32 (side, 1).

    Args:
        zoom: size of the faces, relative to the template.
        height, edge: in fractions of the side from its top, at zoom 1.
    """
    ((_, height),) = zoomed(np.array([[0.5, height]]), zoom).tolist()
    places = (torch.arange(side) + 0.5) / side
    return torch.sigmoid((places[:, None] - height) / (edge * zoom))


def hair_mask(side: int, zoom: float) -> Tensor:
    """1 where a head has hair, 0 on face, ears, neck, shoulders and background, float32 (side, side).

    Args:
        zoom: size of the faces, relative to the template.
    """
    hair = ellipse(side, zoom, HEAD_CENTRE, HAIR_RADII, HAIR_EDGE)
    ear = ellipse(side, zoom, EAR_CENTRE, EAR_RADII, EAR_EDGE)
    bare = torch.maximum(face_mask(side, zoom), torch.maximum(ear, ear.flip(1)))
    return hair * (1 - bare) * (1 - below(side, zoom, JAW, JAW_EDGE))


def face_mask(side: int, zoom: float) -> Tensor:
    """1 on a face, from its forehead to its chin, 0 far from it, float32 (side, side).

    Args:
        zoom: size of the faces, relative to the template.
    """
    return ellipse(side, zoom, FACE_CENTRE, FACE_RADII, FACE_EDGE)


def head_mask(side: int, zoom: float) -> Tensor:
    """1 on a head with its hair, 0 far from it, float32 (side, side).

    Args:
        zoom: size of the faces, relative to the template.
    """
    return ellipse(side, zoom, HEAD_CENTRE, HEAD_RADII, HEAD_EDGE)


def running_mean(side: int, size: int) -> Tensor:
    """The matrix (side, side) that takes pixels in a row to means of the `size`, an odd number, around each,
    of fewer at the ends: by it images are blurred faster than by pooling."""
    place = torch.arange(side)
    near = ((place[:, None] - place).abs() <= size // 2).float()
    return near / near.sum(dim=1, keepdim=True)


def smooth_blur(side: int, size: int) -> Tensor:
    """`BLURS` running means one after the other, nearly a Gaussian, as one matrix (side, side)."""
    return torch.linalg.matrix_power(running_mean(side, size), BLURS)


def ellipse(
    side: int, zoom: float, centre: tuple[float, float], radii: tuple[float, float], edge: float
) -> Tensor:
    """1 within an ellipse of a face, 0 far from it, float32 (side, side).

    Args:
        centre, radii: x and y in fractions of the side, at zoom 1.
        edge: of the radii, over which it falls.
    """
    (centre,) = zoomed(np.array([centre]), zoom)
    places = (torch.arange(side) + 0.5) / side
    x, y = (
        ((places - middle) / (radius * zoom)) for middle, radius in zip(centre.tolist(), radii, strict=True)
    )
    distance = (x[None].square() + y[:, None].square()).sqrt()
    return torch.sigmoid((1 - distance) / edge)
