"""Fits a face space (face_embedding_space.py): its centre, components, sex and age from real faces, and the
directions of its components from a generator that was trained on a space which was not kept.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.errors import DataError
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.face_embedding_space import COMPONENTS, SEX, SIZE, FaceSpace

_PIECE = 128  # faces made and read together
_RIDGE = 0.01  # of the standardised features' variance


@dataclass
class Faces:
    """What is known of the faces a space is fitted on.

    Attributes:
        embedding: float32 (N, 128). features: float32 (N, FEATURES). Both as `DlibResnet` gives them.
        female: float32 (N,), 1, 0, or NaN where unknown.
        age: float32 (N,), years or NaN.
        weight: float32 (N,), what each counts for in the centre.
    """

    embedding: Tensor
    features: Tensor
    female: Tensor
    age: Tensor
    weight: Tensor


def fit_space(space: FaceSpace, faces: Faces) -> dict[str, float]:
    """Fits everything but the network and the chip's place.

    The centre is the weighted mean of the faces, so that e = 0 is their average face. The basis are the
    principal components about the plain mean; sex and age come by ridge regression on the labelled faces.

    Returns:
        The share of the variance that the components keep, and r of sex and age on the faces fitted on.
    Raises:
        DataError: fewer than 200 faces, or no ages or no sexes among them.
    """
    count = len(faces.embedding)
    labelled = {"sex": ~faces.female.isnan(), "age": ~faces.age.isnan()}
    if count < 200 or min(int(known.sum()) for known in labelled.values()) < 100:
        known = ", ".join(f"{int(k.sum())} with {name}" for name, k in labelled.items())
        raise DataError(
            f"{count} faces ({known}) are too few for a face space: 200, and 100 with each, are needed."
        )
    share = faces.weight / faces.weight.sum()
    space.centre.copy_(share @ faces.embedding)
    values, vectors = torch.linalg.eigh(torch.cov(faces.embedding.t().double()))
    space.basis.copy_(vectors.flip(1)[:, :COMPONENTS])
    space.scale.copy_(values.flip(0)[:COMPONENTS].sqrt())
    kept = {"variance": float(values.flip(0)[:COMPONENTS].sum() / values.sum())}

    shaped = space.shaped(faces.features)
    space.feature_mean.copy_(shaped.mean(0))
    space.feature_std.copy_(shaped.std(0) + 1e-6)
    x = ((shaped - space.feature_mean) / space.feature_std).double()
    space.age_mean.fill_(float(faces.age[labelled["age"]].mean()))
    space.age_std.fill_(float(faces.age[labelled["age"]].std()))
    targets = {"sex": 2 * faces.female - 1, "age": (faces.age - space.age_mean) / space.age_std}
    for row, (name, y) in enumerate(targets.items()):
        a, b = x[labelled[name]], y[labelled[name]].double()
        gram = a.t() @ a / len(a) + _RIDGE * torch.eye(a.shape[1], dtype=a.dtype)
        weights = torch.linalg.solve(gram, a.t() @ (b - b.mean()) / len(a))
        space.head[row] = weights.float()
        space.head_bias[row] = float(b.mean() - a.mean(0) @ weights)
        kept[name] = float(np.corrcoef((a @ weights).numpy(), b.numpy())[0, 1])
    return kept


def turn_to_generator(space: FaceSpace, e: Tensor, embedding: Tensor, real: Tensor) -> None:
    """Turns a space's components to the directions in which a generator moves its faces.

    The components of a space are those of its faces' embeddings, whose signs, and whose order where two vary
    alike, are chance. A generator that was trained on another fit of the same faces knows other signs. So the
    basis is turned within its span by orthogonal Procrustes: to the rotation that best takes the embeddings
    of generated faces to what they were generated from.

    Args:
        space: fitted by `fit_space`; its basis and scale are changed.
        e: (N, 64), standard normal, what faces were generated from.
        embedding: (N, 128) of these faces.
        real: (M, 128) embeddings of real faces: each component varies by `scale` over them.
    """
    read = (embedding - embedding.mean(0)) @ space.basis  # within the span
    asked = (e[:, :COMPONENTS] - e[:, :COMPONENTS].mean(0)) * space.scale
    u, _, v = torch.linalg.svd((read.t() @ asked).double())
    space.basis.copy_(space.basis @ (u @ v).float())
    space.scale.copy_(((real - real.mean(0)) @ space.basis).std(0))


def fit_to_generator(
    space: FaceSpace,
    decode: Callable[[Tensor, Tensor], Tensor],
    z_dim: int,
    fitted_on: Tensor,
    unseen: tuple[Tensor, Tensor],
    count: int = 3000,
) -> dict[str, float]:
    """Turns a fitted space to a generator, see `turn_to_generator`, and measures what faces give back.

    Args:
        space: fitted by `fit_space` on faces framed as the generator's.
        decode: e (B, 64), z (B, z_dim) -> uint8 (B, side, side, 3).
        z_dim: of the noise.
        fitted_on: (M, 128) embeddings of the faces that the space was fitted on.
        unseen: embeddings (K, 128) of other real faces, and their sex and age (K, 2) as e spells them.
        count: generated faces; the space is turned by one half of them and measured on the other.
    Returns:
        generated_r2: of the components of e that generated faces give back, by the best factor for each;
        generated_r2_before: the same before the turn, signs put right; real_r2: of the embeddings of `unseen`
        that faces generated from their e (z = 0) give back.
    """
    e = drawn_e(count, seed=0)
    z = torch.randn(count, z_dim, generator=torch.Generator().manual_seed(1))
    made = _embeddings(space, decode, e, z)
    first, second = slice(0, count // 2), slice(count // 2, count)
    before = _given_back(space, e, made, first, second)
    turn_to_generator(space, e[first], made[first], fitted_on)
    after = _given_back(space, e, made, first, second)
    wanted = space.encode(*unseen)
    again = _embeddings(space, decode, wanted, torch.zeros(len(wanted), z_dim))
    return {
        "generated_r2": after,
        "generated_r2_before": before,
        "real_r2": share_given_back(unseen[0], again),
    }


def _embeddings(space: FaceSpace, decode, e: Tensor, z: Tensor) -> Tensor:
    parts = []
    with torch.inference_mode():
        for a, b in zip(e.split(_PIECE), z.split(_PIECE), strict=True):
            parts.append(space.net(space.chips(to_unit(decode(a, b))))[0].clone())
    return torch.cat(parts)


def _given_back(space: FaceSpace, e: Tensor, made: Tensor, first: slice, second: slice) -> float:
    e = e[:, :COMPONENTS]
    read = space.encode(made - made.mean(0) + space.centre, e[:, :0])
    factor = (read[first] * e[first]).mean(0) / read[first].square().mean(0)
    return share_given_back(e[second], read[second] * factor)


def drawn_e(count: int, seed: int) -> Tensor:
    """e (count, 64) of invented faces: components and age standard normal, sex near one of two ends."""
    random = torch.Generator().manual_seed(seed)
    e = torch.randn(count, SIZE, generator=random)
    ends = torch.where(torch.rand(count, generator=random) < 0.5, -1.0, 1.0)
    e[:, SEX] = ends + 0.3 * e[:, SEX]
    return e


def share_given_back(wanted: Tensor, read: Tensor) -> float:
    """R2 = 1 - |read - wanted|^2 / |wanted - mean|^2, of (N, D), over all elements together."""
    left = (read - wanted).square().sum()
    return float(1 - left / (wanted - wanted.mean(0)).square().sum())
