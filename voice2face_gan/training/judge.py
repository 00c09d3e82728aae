"""Trains a judge trunk: identity, gender and age of real faces, in a world no generator has seen."""

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.data.records import FEMALE, GENDERS
from voice2face_gan.data.sampling import EpochSampler, FaceBank, classes, generator
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast
from voice2face_gan.errors import DataError
from voice2face_gan.models.judge import AGE_MEAN, AGE_STD, EMBEDDING, Judge, JudgeTrunk
from voice2face_gan.training.course import Reporter

_LEARNING_RATE = 2e-3
_BATCH = 128
_COSINE_SCALE = 16.0  # sharpness of the softmax over cosines


def train_judge(
    store: Store, iterations: int, seed: int, device: torch.device, reporter: Reporter | None = None
) -> tuple[JudgeTrunk, dict]:
    """Train on the store's training identities, measure on its test identities.

    Loss: cross-entropy over identities of a cosine classifier on the embedding, plus binary cross-entropy of
    gender, plus squared error of standardised age, each over the faces whose label is known.

    Args:
        store: faces with identities; genders and ages where known.
        iterations: updates of 128 faces each.
        seed: of weights and batches.
        device: where it computes.
        reporter: told the progress.
    Returns:
        The trunk in evaluation mode, and its figures on held-out people: gender accuracy, Pearson r and mean
        absolute error of age, share of pairs where a face is nearer to its own person's than to another's.
    Raises:
        DataError: a gender is missing from the training or from the test people.
    """
    reporter = reporter or Reporter()
    faces = store.select(store.has_face)
    train, test = faces.of_split("train"), faces.of_split("test")
    for part, words in ((train, "training"), (test, "test")):
        if len(set(part.gender.tolist()) & set(GENDERS)) < 2:
            raise DataError(f"{store.folder}: a judge needs both genders among the {words} faces.")
    names, labels = classes(train)
    bank, sampler = FaceBank(train, labels), EpochSampler(len(train), seed, "faces")
    gender, age = _targets(train)
    torch.manual_seed(seed)
    net = JudgeTrunk().to(device, memory_format=torch.channels_last)
    people = nn.Parameter(F.normalize(torch.randn(len(names), EMBEDDING), dim=1).to(device))
    optimiser = torch.optim.AdamW([*net.parameters(), people], lr=_LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=iterations)
    reporter.stage("judge", 0, iterations)
    started = time.monotonic()
    net.train()
    for step in range(iterations):
        random = generator(seed, "flips", step)
        items = sampler.draw(step, _BATCH)
        x, identity = bank.batch(items, random.random(_BATCH) < 0.5)
        x, chosen = _disturb(x.to(device), random), torch.from_numpy(items)
        with autocast("auto", device):
            h, sex, years = net(x.contiguous(memory_format=torch.channels_last))
            cosine = F.normalize(h, dim=1) @ F.normalize(people, dim=1).t()
        losses = {
            "identity": F.cross_entropy(cosine.float() * _COSINE_SCALE, identity.to(device)),
            "gender": _masked(F.binary_cross_entropy_with_logits, sex, gender[chosen].to(device)),
            "age": _masked(F.mse_loss, years, age[chosen].to(device)),
        }
        optimiser.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 20 == 0 or step + 1 == iterations:
            reporter.tick(
                "judge",
                step + 1,
                {k: float(v.detach()) for k, v in losses.items()},
                (step + 1) / (time.monotonic() - started),
            )
    net.eval().requires_grad_(False)
    return net, measure(Judge("", net.cpu(), {}), test)


def _targets(store: Store) -> tuple[Tensor, Tensor]:
    """Gender (1 female, 0 male) and standardised age of each record, NaN where unknown."""
    gender = np.where(np.isin(store.gender, GENDERS), store.gender == FEMALE, np.nan)
    return torch.from_numpy(gender).float(), torch.from_numpy((store.age - AGE_MEAN) / AGE_STD).float()


def _masked(loss, prediction: Tensor, target: Tensor) -> Tensor:
    known = target.isfinite()
    return loss(prediction.float()[known], target[known]) if known.any() else prediction.sum() * 0


def _disturb(x: Tensor, random: np.random.Generator) -> Tensor:
    """Blur, noise and brightness that a generated face may have, so that a judge reads through them."""
    batch = len(x)
    blurred = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
    share = torch.from_numpy(random.uniform(-0.5, 1.0, (batch, 1, 1, 1)).clip(0)).to(x)
    gain = torch.from_numpy(random.uniform(0.8, 1.2, (batch, 1, 1, 1))).to(x)
    shift = torch.from_numpy(random.uniform(-0.15, 0.15, (batch, 3, 1, 1))).to(x)
    level = torch.from_numpy(random.uniform(0, 0.1, (batch, 1, 1, 1))).to(x)
    noise = torch.from_numpy(random.standard_normal(x.shape, dtype=np.float32)).to(x)
    return (x + share * (blurred - x)) * gain + shift + level * noise


def measure(judge: Judge, store: Store) -> dict:
    """A judge's figures on the faces of a store, whose people it must not have been trained on."""
    _, labels = classes(store)
    x, identity = FaceBank(store, labels).batch(np.arange(len(store)))
    h, female, years = judge.read(x)
    gender, age = _targets(store)
    known, dated = gender.isfinite(), age.isfinite()
    figures = {
        "faces": len(store),
        "identities": int(identity.max()) + 1,
        "gender_accuracy": float(((female[known] > 0.5) == (gender[known] > 0.5)).float().mean()),
    }
    if dated.sum() > 2:
        true = age[dated] * AGE_STD + AGE_MEAN
        figures["age_r"] = float(torch.corrcoef(torch.stack([years[dated], true]))[0, 1])
        figures["age_mean_absolute_error"] = float((years[dated] - true).abs().mean())
    cosine = F.normalize(h, dim=1) @ F.normalize(h, dim=1).t()
    same = identity[:, None] == identity[None]
    same_pairs = cosine[same & ~torch.eye(len(h), dtype=torch.bool)]
    if len(same_pairs):
        other = cosine[~same]
        drawn = other[torch.from_numpy(np.random.default_rng(0).integers(len(other), size=len(same_pairs)))]
        figures["same_person_nearer"] = float((same_pairs > drawn).float().mean())
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
