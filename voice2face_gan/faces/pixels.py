"""The two forms of a face, and the one mapping between them.

    on disk     uint8 (side, side, 3) RGB
    in a network    float32 (3, side, side), (x - 127.5) / 127.5, so [-1, 1]     (Wen et al., section 4)

The mapping is fixed: an image is never stretched by its own smallest and largest value.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_unit(faces: Tensor) -> Tensor:
    """uint8 (..., side, side, 3) -> float32 (..., 3, side, side) in [-1, 1]."""
    return faces.movedim(-1, -3).to(torch.float32).sub_(127.5).div_(127.5)


def to_uint8(faces: Tensor) -> Tensor:
    """float (..., 3, side, side) -> uint8 (..., side, side, 3); values outside [-1, 1] are clamped."""
    pixels = faces.detach().to(torch.float32).mul(127.5).add_(127.5).round_().clamp_(0, 255)
    return pixels.to(torch.uint8).movedim(-3, -1).contiguous()


def to_image(face: Tensor, size: int | None = None) -> Image.Image:
    """uint8 (side, side, 3) -> PIL image, resized to `size` x `size` pixels if given (Lanczos)."""
    image = Image.fromarray(face.cpu().numpy())
    if size is not None and size != image.width:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return image


def to_grid(faces: Tensor, columns: int, gap: int = 2) -> Image.Image:
    """uint8 (N, side, side, 3) -> one PIL image, row by row, white gaps of `gap` pixels."""
    count, side = len(faces), faces.shape[1]
    rows = -(-count // columns)
    step = side + gap
    sheet = torch.full((rows * step - gap, columns * step - gap, 3), 255, dtype=torch.uint8)
    for i, face in enumerate(faces.cpu()):
        top, left = i // columns * step, i % columns * step
        sheet[top : top + side, left : left + side] = face
    return Image.fromarray(sheet.numpy())


def to_row(images: list[Image.Image], gap: int = 2) -> Image.Image:
    """PIL images of one size, at least one, side by side with white gaps of `gap` pixels."""
    faces = torch.stack([torch.from_numpy(np.array(image)) for image in images])
    return to_grid(faces, len(images), gap)
