"""Losses of the GAN stages: plain functions of tensors, each a mean over the batch.

Scores are logits of the discriminator, (B,). Identities are int64 (B,), UNKNOWN_IDENTITY where the classifier
has no class for them. A mean over a part of the batch is taken over the whole batch of all processes
(`SingleProcess.masked_mean`), also where one process has more of these places than another.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.models.face_space_base import BaseFaceSpace
from voice2face_gan.training.engine.distributed import SingleProcess

UNKNOWN_IDENTITY = -100  # of a face whose person has no voice: no class of the classifier


def bce(score: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of scores against "all real" or "all generated"."""
    return F.softplus(-score if real else score).mean()


def discriminator_terms(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Terms of the discriminator's loss against zero, "D_real" and "D_fake" (Goodfellow et al. 2014).

    Args:
        real, fake: scores of real and of generated faces.
    """
    return {"D_real": bce(real, True), "D_fake": bce(fake, False)}


def discriminator_loss(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """Adversarial loss of the discriminator.

    Args:
        real, fake: scores of real and generated faces; the i-th of each belong together.
        kind: "relativistic" (each pair's difference; Jolicoeur-Martineau 2018) or "softplus" (each score
            against zero: the sum of `discriminator_terms`).
    """
    if kind == "relativistic":
        return F.softplus(fake - real).mean()
    terms = discriminator_terms(real, fake)
    return terms["D_real"] + terms["D_fake"]


def generator_loss(fake: Tensor, real: Tensor | None, kind: str) -> Tensor:
    """Adversarial loss of the generator, non-saturating; arguments as in `discriminator_loss`, of which
    "softplus" needs no scores of real faces."""
    if kind == "relativistic":
        return F.softplus(real - fake).mean()
    return bce(fake, True)


def r1_r2_penalty(score: Callable[[Tensor], Tensor], faces: Tensor) -> Tensor:
    """Zero-centred gradient penalties R1 + R2 (Roth et al. 2017; Mescheder et al. 2018).

    Args:
        score: faces (2 N, 3, side, side) -> scores (2 N,).
        faces: N real, then N generated ones.
    Returns:
        mean squared norm of the scores' gradients at the real faces, plus that at the generated ones.
    """
    faces = faces.requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(faces).float().sum(), faces, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean() * 2


def classification(logits: Tensor, identity: Tensor, processes: SingleProcess) -> Tensor:
    """Cross-entropy, a mean over the faces of known identity; 0 where there is none.

    Args:
        logits: (B, identities).
    """
    total = F.cross_entropy(logits.float(), identity, ignore_index=UNKNOWN_IDENTITY, reduction="sum")
    return processes.masked_mean(total, (identity != UNKNOWN_IDENTITY).sum())


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine of the rows of two (B, K)."""
    return 1 - F.cosine_similarity(a.float(), b, dim=1).mean()


def l1(fake: Tensor, real: Tensor, weight: Tensor | None, processes: SingleProcess) -> Tensor:
    """Mean absolute difference of pixels, or of the elements of a face network's maps.

    Args:
        fake, real: (B, channels, side, side).
        weight: (B,), how much each face counts, not negative; None for all alike. 0 where none does.
    """
    if weight is None:
        return F.l1_loss(fake, real)
    distance = (fake - real).abs().mean(dim=(1, 2, 3))
    return processes.masked_mean((distance * weight).sum(), weight.sum())


def perceptual_loss(
    fake: Sequence[Tensor], real: Sequence[Tensor], weight: Tensor | None, processes: SingleProcess
) -> Tensor:
    """Mean absolute difference of a face network's maps, as a part of their mean absolute value, a mean over
    the maps (Johnson et al., ECCV 2016, with absolute differences).

    Args:
        fake, real: maps (B, channels, side, side) of generated and of real faces.
        weight: as in `l1`.
    """
    pairs = zip(fake, real, strict=True)
    return sum(l1(a, b, weight, processes) / b.abs().mean() for a, b in pairs) / len(fake)


def identity_loss(
    read: tuple[Tensor, Tensor],
    e: Tensor,
    space: BaseFaceSpace,
    weight: Tensor | None,
    processes: SingleProcess,
) -> tuple[Tensor, Tensor]:
    """Squared distances of a face reader's outputs for generated faces from those that e asks for.

    Args:
        read: `space.read` of the faces: embedding (B, K), and sex and age (B, 2).
        e: (B, 64).
        weight: as in `l1`.
    Returns:
        of the embedding, 1 where it is as far as people are from the average face; of sex and age, in squared
        standard deviations.
    """
    embedding, attributes = read
    wanted, wanted_attributes = space.target(e)
    variance = space.scale.square().sum()
    squared = (
        (embedding - wanted).square().sum(dim=1) / variance,
        (attributes - wanted_attributes).square().sum(dim=1),
    )
    if weight is None:
        return tuple(part.mean() for part in squared)
    return tuple(processes.masked_mean((part * weight).sum(), weight.sum()) for part in squared)


def weighted_sum(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Sum of the losses, those without a weight of their own with 1."""
    return sum(weights.get(name, 1.0) * loss for name, loss in losses.items())


def detached(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses without their graphs, to be logged."""
    return {name: loss.detach() for name, loss in losses.items()}


def cosine_schedule(start: float, end: float, done: float) -> float:
    """From `start` to `end` along half a cosine; `done` is the share of the iterations done, 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def loss_ramp(iteration: int, start: float) -> float:
    """Weight of a loss that begins late: 0 for `start` iterations, then evenly up to 1 over as many again."""
    return min(1.0, max(0.0, iteration / start - 1)) if start else 1.0
