"""The linear part that a face decoder begins with: ridge regression from e of faces to their landmarks, and
to each pixel of their textures in the mean shape, of the faces that show it."""

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.models.generators.face_decoder import STEM, FaceDecoder
from voice2face_gan.models.generators.warp import Warp
from voice2face_gan.training.fits.faces import PIECE, landmarked_faces, spread
from voice2face_gan.training.stages.batches import FaceEmbeddingBatches

MAX_FACES = 6000  # that the regression is fitted on
SHOWN = 0.99  # least part of a texture's pixel that shows the image
_RIDGE = 0.02  # of the mean variance of an element of e


@torch.no_grad()
def fit_linear_face(decoder: FaceDecoder, batches: FaceEmbeddingBatches, flip: bool) -> None:
    """Fits `decoder.linear` and freezes it, so that the decoder begins with the mean landmarks and texture of
    faces of its e. (Trained on, each pixel by itself, its texture becomes grainy.)

    Args:
        decoder: with a linear part, whose heads begin at 0.
        batches: of faces with landmarks.
        flip: faces are mirrored in half of the batches, so that every second face is mirrored here.
    """
    device = decoder.stem.weight.device
    items = spread(len(batches.e), MAX_FACES)
    e = batches.e[torch.from_numpy(items).to(batches.e.device)].to(device)
    centre, basis = _directions(e, decoder.linear.first.out_features)
    x = torch.cat([(e - centre) @ basis, torch.ones_like(e[:, :1])], dim=1)
    penalty = _RIDGE * x[:, :-1].square().mean() * torch.ones(x.shape[1], device=device)
    penalty[-1] = 1e-6  # of the constant
    texture, landmarks = _texture_weights(decoder, batches, items, flip, x, penalty)
    displacement = (landmarks - decoder.warp.mean).flatten(1) / decoder.spread
    system = x.t() @ x / len(x) + penalty.diag()
    shape = torch.linalg.solve(system, x.t() @ displacement / len(x))
    stem = decoder.stem
    if e.shape[1] > STEM:
        first = _through_stem(stem, basis, centre)
    else:  # stem = W e + b, so e = pinv(W) (stem - b)
        first = basis.t() @ torch.linalg.pinv(stem.weight)
    decoder.linear.first.weight.copy_(first)
    shift = first @ stem.bias + basis.t() @ centre
    for layer, weights in ((decoder.linear.displacement, shape), (decoder.linear.texture, texture)):
        layer.weight.copy_(weights[:-1].t())
        layer.bias.copy_(weights[-1] - shift @ weights[:-1])
    decoder.linear.requires_grad_(False)


def mean_textures(warp: Warp, real: Tensor, visible: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Real faces drawn in the mean shape, (B, 3, side, side), and 1 where these show the image, (B, 1, side,
    side).

    Args:
        real: (B, 3, side, side).
        visible: (B, 1, side, side), as in `batches.Batch`.
        landmarks: (B, 68, 2), in pixels.
    """
    drawn = warp.to_mean(torch.cat([real, visible], dim=1), landmarks)
    return drawn[:, :3], (drawn[:, 3:] > SHOWN).float()


def _directions(e: Tensor, numbers: int) -> tuple[Tensor, Tensor]:
    """The mean of e (N, F), and the directions (F, numbers) that are regressed on: all, or the principal ones
    where there are more; the rest of the columns are 0."""
    centre, size = e.mean(dim=0), e.shape[1]
    basis = e.new_zeros(size, numbers)
    if size <= numbers:
        basis[:, :size] = torch.eye(size, device=e.device)
    else:
        _, vectors = torch.linalg.eigh((e - centre).t() @ (e - centre))
        basis.copy_(vectors.flip(1)[:, :numbers])
    return centre, basis


def _through_stem(stem: nn.Linear, basis: Tensor, centre: Tensor) -> Tensor:
    """Lets the stem's first numbers be the directions (F, numbers) of e, where e has more numbers than the
    stem; weights (numbers, STEM) that give the directions back."""
    numbers = basis.shape[1]
    gain = float(stem.weight[numbers:].norm(dim=1).mean())  # a row as long as the others
    stem.weight[:numbers] = gain * basis.t()
    stem.bias[:numbers] = -stem.weight[:numbers] @ centre
    return torch.eye(numbers, len(stem.weight), device=basis.device) / gain


def _texture_weights(
    decoder: FaceDecoder,
    batches: FaceEmbeddingBatches,
    items: np.ndarray,
    flip: bool,
    x: Tensor,
    penalty: Tensor,
) -> tuple[Tensor, Tensor]:
    """Ridge weights (numbers + 1, 3 side^2) of x (N, numbers + 1) to textures, each pixel by the faces that
    show it; and all landmarks (N, 68, 2) in pixels."""
    side, device, width = decoder.side, x.device, x.shape[1]
    pixels = side * side
    square = torch.zeros(pixels, width * width, device=device)
    product = torch.zeros(pixels, 3 * width, device=device)
    found = []
    faces = landmarked_faces(batches, items, flip, side, device)
    for (_, real, visible, landmarks), mine in zip(faces, x.split(PIECE), strict=True):
        texture, shown = mean_textures(decoder.warp, real, visible, landmarks)
        texture = texture * shown
        square += shown.flatten(1).t() @ (mine[:, :, None] * mine[:, None]).flatten(1)
        for channel in range(3):
            columns = slice(channel * width, (channel + 1) * width)
            product[:, columns] += texture[:, channel].flatten(1).t() @ mine
        found.append(landmarks)
    count = square[:, -1:].clamp(min=1.0)  # the constant's square: faces that show the pixel
    system = (square / count).unflatten(1, (width, width)) + penalty.diag()
    wanted = (product / count).unflatten(1, (3, width)).transpose(1, 2)
    weights = torch.linalg.solve(system, wanted)  # (pixels, width, 3)
    return weights.permute(1, 2, 0).flatten(1), torch.cat(found)
