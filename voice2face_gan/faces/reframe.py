"""Faces of one framing as faces of another: nearer, or as far away as the template lays them.

Real faces come out of images, and where an image ends before the face's frame does, the frame is filled
(`align.warp`). A generator that makes faces nearer than the template gives smaller images in that sense;
laid on the template, they are treated as photographs are.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from voice2face_gan.faces.align import ZOOM_ABOUT, warp


def reframed(faces: Tensor, zoom: float, to: float = 1.0) -> Tensor:
    """
    Args:
        faces: uint8 (N, side, side, 3), so much larger than the template lays them.
        zoom, to: how much larger they are, and are to be; 1 is the template.
    Returns:
        uint8 (N, side, side, 3); `faces` itself where they are so already. What lies beyond the edges of the
        given ones is filled as beyond a photograph's.
    """
    if zoom == to or not len(faces):
        return faces
    side, ratio = faces.shape[1], to / zoom
    transform = np.zeros((2, 3))
    transform[:, :2] = np.eye(2) * ratio / side  # pixels of the face -> fractions of the new side
    transform[:, 2] = ZOOM_ABOUT * (1 - ratio)
    return torch.from_numpy(
        np.stack([warp(Image.fromarray(face), transform, side) for face in faces.numpy()])
    )
