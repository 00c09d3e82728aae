"""The fitted parts of an appearance model: what e says of landmarks and textures by ridge regression,
principal components of what it leaves open, and the flow of their coefficients.

Two thirds of the faces reach beyond the images that they were taken from. Pixels that a texture lacks are
filled by what is fitted, which is then fitted again (principal components with missing values, as in Roweis,
"EM Algorithms for PCA and SPCA", NeurIPS 1997).
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.batches.sampling import gaussian, random_source
from voice2face_gan.models.generators.appearance_model import AppearanceModel
from voice2face_gan.training.fits.linear_face import SHOWN, mean_textures
from voice2face_gan.training.ridge import RidgeSystem
from voice2face_gan.training.stages.batches import FaceEmbeddingBatches
from voice2face_gan.training.stages.losses import cosine_schedule

MAX_FACES = 8000  # that all of it is fitted on
IMPUTATIONS = 3  # of missing pixels
_RIDGE = 0.02  # of the mean variance of the elements of e
_PIECE = 64  # faces warped together
_NOISE = 1e-3  # of the first component's deviation: below it there is rounding alone
_LEAST = 1e-12  # square of a component that counts
_BATCH, _LR, _WEIGHT_DECAY, _WARM_UP = 256, 1e-3, 0.01, 100  # of the flow, by AdamW
_EMA = 0.999
E_NOISE = 0.3  # standard deviation that the flow's e is moved by: it depends on e smoothly


class Textures(NamedTuple):
    """Real faces in an appearance model's terms.

    Attributes:
        e: (N, embedding).
        displacement: (N, 136), of the landmarks from the mean shape, in their spread.
        texture: (N, 3 texture_side^2), in [-1, 1]. shown: bool, of the same shape, where it shows the image.
    """

    e: Tensor
    displacement: Tensor
    texture: Tensor
    shown: Tensor


@torch.no_grad()
def fit_appearance_model(
    model: AppearanceModel, batches: FaceEmbeddingBatches, seed: int, flip: bool, iterations: int
) -> None:
    """Fits all of a model but its refiner.

    Args:
        batches: of faces with landmarks.
        flip: faces are mirrored in half of the batches, so that every second face is mirrored here.
        iterations: of the flow.
    """
    faces = _collect(model, batches, flip)
    generator = torch.Generator().manual_seed(seed)
    shapes = _components(faces.e, faces.displacement, model.config.shape_components, generator)
    _set(model.shape, *shapes)
    texture = faces.texture
    mean = (texture * faces.shown).sum(dim=0) / faces.shown.sum(dim=0).clamp(min=1)
    filled = torch.where(faces.shown, texture, mean)
    for _ in range(IMPUTATIONS):
        weights, offset, basis = _components(faces.e, filled, model.config.texture_components, generator)
        predicted = faces.e @ weights.t() + offset
        scores = (filled - predicted) @ basis / basis.square().sum(dim=0).clamp(min=_LEAST)
        filled = torch.where(faces.shown, texture, predicted + scores @ basis.t())
    _set(model.texture, weights, offset, basis)
    pieces = zip(*(part.split(_PIECE * 4) for part in faces), strict=True)
    coefficients = torch.cat([coefficients_of(model, Textures(*piece)) for piece in pieces])
    with torch.enable_grad():
        _fit_flow(model, faces.e, coefficients, seed, iterations)


def textures_of(
    model: AppearanceModel, e: Tensor, real: Tensor, visible: Tensor, landmarks: Tensor
) -> Textures:
    """Faces in the model's terms.

    Args:
        e: (B, embedding). real: (B, 3, side, side). visible: (B, 1, side, side), 1 within the image.
        landmarks: (B, 68, 2), in pixels.
    """
    texture, shown = mean_textures(model.warp, real, visible, landmarks)
    size = (model.config.texture_side, model.config.texture_side)
    texture = F.interpolate(texture, size, mode="area")
    shown = F.interpolate(shown, size, mode="area") > SHOWN
    displacement = (landmarks - model.warp.mean) / model.spread
    return Textures(e, displacement.flatten(1), texture.flatten(1), shown.expand_as(texture).flatten(1))


def coefficients_of(model: AppearanceModel, faces: Textures) -> Tensor:
    """The coefficients (B, z_dim) that a fitted model makes faces of."""
    size = faces.e.shape[1]
    found = []
    for layer, wanted, shown in (
        (model.shape, faces.displacement, None),
        (model.texture, faces.texture, faces.shown),
    ):
        weights, basis = layer.weight[:, :size], layer.weight[:, size:]
        rest = wanted - (faces.e @ weights.t() + layer.bias)
        squares = basis.square().sum(dim=0).clamp(min=_LEAST)
        if shown is None:
            found.append(rest @ basis / squares)
            continue
        rest, filled = rest * shown, 0.0
        for _ in range(IMPUTATIONS + 1):
            scores = (rest + filled * ~shown) @ basis / squares
            filled = scores @ basis.t()
        found.append(scores)
    return torch.cat(found, dim=1)


def _collect(model: AppearanceModel, batches: FaceEmbeddingBatches, flip: bool) -> Textures:
    """Faces of a store, evenly spread, at most MAX_FACES."""
    device, count = model.shape.weight.device, len(batches.e)
    items = np.unique(np.linspace(0, count - 1, min(count, MAX_FACES)).round().astype(int))
    pieces = []
    for piece in np.split(items, range(_PIECE, len(items), _PIECE)):
        flips = np.arange(len(piece)) % 2 == 1 if flip else None
        real = batches.faces.batch(piece, flips)[0].to(device)
        landmarks = model.side * batches.faces.landmarks_of(piece, flips).to(device)
        e = batches.e[torch.from_numpy(piece).to(batches.e.device)].to(device)
        visible = real[:, :1].isfinite().float()
        pieces.append(textures_of(model, e, real.nan_to_num(), visible, landmarks))
    return Textures(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def _components(
    e: Tensor, y: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """y (N, D) by ridge regression on e (N, E), weights (D, E) and offset (D,); and the principal components
    (D, count) of the rest, each as long as its standard deviation."""
    system = RidgeSystem(e, y, torch.ones_like(e[:, 0]))
    weights = system.weights(_RIDGE)
    offset = system.y_mean - system.x_mean @ weights
    rest = y - (e @ weights + offset)
    return weights.t(), offset, _principal(rest, count, generator)


def _principal(rest: Tensor, count: int, generator: torch.Generator, rounds: int = 2) -> Tensor:
    """Principal components (D, count) of rows of mean 0 (N, D), each as long as its standard deviation;
    columns of 0 where there are fewer. Halko, Martinsson and Tropp, "Finding structure with randomness",
    2011."""
    people, size = rest.shape
    # With as many components as faces every other face has some that are huge.
    found = min(count, people // 2, size)
    start = torch.randn(size, min(found + 16, people, size), generator=generator).to(rest.device)
    span = rest @ start
    for _ in range(rounds):
        span = rest @ torch.linalg.qr(rest.t() @ torch.linalg.qr(span)[0])[0]
    span = torch.linalg.qr(span)[0]
    _, deviation, components = torch.linalg.svd(span.t() @ rest, full_matrices=False)
    basis = rest.new_zeros(size, count)
    deviation = torch.where(deviation < _NOISE * deviation[:1], 0, deviation)[:found] / people**0.5
    basis[:, :found] = components[:found].t() * deviation
    return basis


def _set(layer: torch.nn.Linear, weights: Tensor, offset: Tensor, basis: Tensor) -> None:
    layer.weight.copy_(torch.cat([weights, basis], dim=1))
    layer.bias.copy_(offset)


def _fit_flow(model: AppearanceModel, e: Tensor, coefficients: Tensor, seed: int, iterations: int) -> None:
    """Trains the flow, and leaves in it the EMA of its weights."""
    flow = model.flow.train().requires_grad_(True)
    average = [p.detach().clone() for p in flow.parameters()]
    optimiser = torch.optim.AdamW(flow.parameters(), _LR, weight_decay=_WEIGHT_DECAY)
    torch.manual_seed(seed)  # of dropout
    for iteration in range(iterations):
        rate = min(1.0, iteration / _WARM_UP) * cosine_schedule(_LR, 0.0, iteration / iterations)
        for group in optimiser.param_groups:
            group["lr"] = rate
        drawn = random_source(seed, "flow faces", iteration).integers(0, len(e), _BATCH)
        chosen = torch.from_numpy(drawn).to(e.device)
        size, z_dim = e.shape[1], coefficients.shape[1]
        normal = gaussian((_BATCH, z_dim + size + 1), seed, "flow noise", iteration).to(e.device)
        noise, moved, t = normal.split([z_dim, size, 1], dim=1)
        # Logit-normal times, as in Esser et al. 2024: the middle of the way is the hardest.
        loss = flow.loss(coefficients[chosen], e[chosen] + E_NOISE * moved, noise, t[:, 0].sigmoid())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        decay = min(_EMA, (1 + iteration) / (10 + iteration))
        with torch.no_grad():
            torch._foreach_lerp_(average, list(flow.parameters()), 1 - decay)
    with torch.no_grad():
        for parameter, mean in zip(flow.parameters(), average, strict=True):
            parameter.copy_(mean)
    flow.eval().requires_grad_(False)
