"""The fitted parts of an appearance model: principal components of what its face decoder leaves open in
landmarks and textures, what changes with lips, lids, moustaches and glasses, and the coefficients' flow.

Two thirds of the faces reach beyond the images that they were taken from. Pixels that a texture lacks are
filled by what is fitted, which is then fitted again (principal components with missing values, as in Roweis,
"EM Algorithms for PCA and SPCA", NeurIPS 1997).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.batches.sampling import gaussian, random_source
from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.generators.appearance_model import AppearanceModel
from voice2face_gan.models.generators.face_decoder import FaceDecoderConfig
from voice2face_gan.training.fits.ears import LEAST, fit_ears, frontal
from voice2face_gan.training.fits.faces import landmarked_faces, spread
from voice2face_gan.training.fits.linear_face import SHOWN, mean_textures
from voice2face_gan.training.stages.batches import FaceEmbeddingBatches
from voice2face_gan.training.stages.losses import cosine_schedule

MAX_FACES = 8000  # that all of it is fitted on
IMPUTATIONS = 3  # of missing pixels
_PIECE = 256  # faces whose coefficients are found together
_NOISE = 1e-3  # of the first component's deviation: below it there is rounding alone
_LEAST = 1e-12  # square of a component that counts
_BATCH, _LR, _WEIGHT_DECAY, _WARM_UP = 256, 1e-3, 0.01, 100  # of the flow, by AdamW
_EMA = 0.999
E_NOISE = 0.3  # standard deviation that the flow's e is moved by: it depends on e smoothly
SHORTENED = (
    0.5  # share of the flow's e that are shortened, to anything from 0: voices at low strengths are so
)


def take_decoder(model: AppearanceModel, given: Checkpoint, space: str) -> None:
    """Gives a model the face decoder of a checkpoint, its linear texture made smaller where the model's is.

    Args:
        space: name of the face space that the model's e is of.
    Raises:
        CheckpointError: the checkpoint has no such decoder.
    """
    config, theirs = model.config, given.generator_config
    called = f"appearance_model.decoder = '{given.folder}'"
    if theirs is None or theirs.type != FaceDecoderConfig.type:
        raise CheckpointError(f"{called} has no face decoder; train one with the recipe face-decoder.")
    if (kept := given.info.get("face_space", {}).get("name")) != space:
        raise CheckpointError(f"{called} takes e of the face space {kept}, and this one is {space}.")
    head = theirs.side // theirs.head_scale
    for name, there, here in (
        ("embedding", theirs.embedding, config.embedding),
        ("narrow", theirs.narrow, config.narrow),
        ("linear", theirs.linear, config.linear),
        ("side / head_scale", head, config.texture_side),
        ("face_scale", theirs.face_scale, config.face_scale),
    ):
        if there != here:
            raise CheckpointError(f"{called}: its {name} is {there:g}, the recipe's {here:g}.")
    weights = dict(given.generator.state_dict())
    for name in ("linear.texture.weight", "linear.texture.bias"):
        if name in weights:
            part = weights[name]
            maps = part.reshape(3, theirs.side, theirs.side, -1).permute(3, 0, 1, 2)
            small = F.interpolate(maps, (head, head), mode="area").permute(1, 2, 3, 0)
            weights[name] = small.reshape(-1, *part.shape[1:])
    model.decoder.load_state_dict(weights)


def prepare_appearance_model(stage, note: Callable[[str], None]) -> None:
    """Takes the face decoder of the recipe of a stage and fits what the stage does not train, unless these
    came with a checkpoint.

    Args:
        stage: a GanStage with an appearance model.
        note: called with a sentence for the user.
    Raises:
        CheckpointError: the recipe's decoder cannot be read, or is of other settings or another face space.
    """
    model, own = stage.generator, stage.recipe.appearance_model
    if model.texture.weight.any():
        return
    note("What e leaves open of landmarks and textures is fitted first; that takes minutes.")
    take_decoder(model, load_checkpoint(own.decoder), stage.space.name)
    fit_appearance_model(model, stage.batches, stage.seed, stage.recipe.data.flip, own.flow_iterations)
    bank, device = stage.batches.faces, model.ears.layers.device
    items = frontal(bank.landmarks_of(np.arange(len(stage.batches.e))), model.config.face_scale)
    # Both sides of each face count, so that none is mirrored.
    faces = landmarked_faces(stage.batches, items, False, model.side, device)
    found = fit_ears(model.ears, (face for _, *face in faces), stage.seed)
    if found < LEAST:
        note(f"Ears stay as detail draws them: {found} of these faces' are of use, {LEAST} are needed.")
    if stage.generator_ema is not None:
        stage.generator_ema.load_state_dict(model.state_dict())


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
    """Fits all of a model but its decoder, its ears, its diffusion and its refiner.

    Args:
        batches: of faces with landmarks.
        flip: faces are mirrored in half of the batches, so that every second face is mirrored here.
        iterations: of the flow.
    """
    faces = _collect(model, batches, flip)
    generator = torch.Generator().manual_seed(seed)
    said = [torch.cat(parts) for parts in zip(*(model.said(e) for e in faces.e.split(_PIECE)), strict=True)]
    _set(model.shape, faces.displacement - said[0], generator)
    # Pixels that a texture lacks are as its decoder draws them at first, then as the model does.
    rest = torch.where(faces.shown, faces.texture - said[1], 0)
    known = rest
    for _ in range(IMPUTATIONS):
        scores = _set(model.texture, rest, generator)
        rest = torch.where(faces.shown, known, model.texture(scores))
    model.expression.fit(faces.displacement - said[0], rest)
    model.attributes.fit(rest, said[1])
    pieces = zip(*(part.split(_PIECE) for part in faces), strict=True)
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
    displacement, texture = model.said(faces.e)
    shapes = _scores(model.shape, faces.displacement - displacement)
    known = torch.where(faces.shown, faces.texture - texture, 0)
    rest = torch.where(faces.shown, known, model.texture.bias)
    for _ in range(IMPUTATIONS + 1):
        textures = _scores(model.texture, rest)
        rest = torch.where(faces.shown, known, model.texture(textures))
    return torch.cat([shapes, textures], dim=1)


def _scores(layer: torch.nn.Linear, rest: Tensor) -> Tensor:
    """Coefficients of rows (B, D) by a layer's orthogonal columns."""
    return (rest - layer.bias) @ layer.weight / layer.weight.square().sum(dim=0).clamp(min=_LEAST)


def _collect(model: AppearanceModel, batches: FaceEmbeddingBatches, flip: bool) -> Textures:
    """Faces of a store, evenly spread, at most MAX_FACES."""
    device, found = model.shape.weight.device, []
    items = spread(len(batches.e), MAX_FACES)
    for piece, real, visible, landmarks in landmarked_faces(batches, items, flip, model.side, device):
        e = batches.e[torch.from_numpy(piece).to(batches.e.device)].to(device)
        found.append(textures_of(model, e, real, visible, landmarks))
    return Textures(*(torch.cat(parts) for parts in zip(*found, strict=True)))


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


def _set(layer: torch.nn.Linear, rest: Tensor, generator: torch.Generator) -> Tensor:
    """Gives a layer the mean and the principal components of rows (N, D), each as long as its standard
    deviation; the rows' coefficients."""
    mean = rest.mean(dim=0)
    layer.weight.copy_(_principal(rest - mean, layer.in_features, generator))
    layer.bias.copy_(mean)
    return _scores(layer, rest)


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
        lengths = random_source(seed, "flow lengths", iteration).uniform(0, 1 / SHORTENED, (_BATCH, 1))
        length = torch.from_numpy(lengths).clamp(max=1).to(e)
        size, z_dim = e.shape[1], coefficients.shape[1]
        normal = gaussian((_BATCH, z_dim + size + 1), seed, "flow noise", iteration).to(e.device)
        noise, moved, t = normal.split([z_dim, size, 1], dim=1)
        # Logit-normal times, as in Esser et al. 2024: the middle of the way is the hardest.
        loss = flow.loss(coefficients[chosen], length * e[chosen] + E_NOISE * moved, noise, t[:, 0].sigmoid())
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
