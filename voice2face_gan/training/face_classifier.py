"""Training of the face classifier: identity, gender and age of rendered and real faces."""

import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.data.batches.sampling import EpochSampler, FaceBank, classes, random_source
from voice2face_gan.data.join import join_stores
from voice2face_gan.data.records import FEMALE, GENDERS
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast
from voice2face_gan.errors import DataError
from voice2face_gan.models.face_readers.classifier import (
    AGE_MEAN,
    AGE_STD,
    EMBEDDING,
    SIDE,
    ClassifierTrunk,
    FaceClassifier,
)
from voice2face_gan.training.augmentation.face_augment import augment_faces
from voice2face_gan.training.engine.trainer import Reporter

_LEARNING_RATE = 3e-3
_DECAY = 0.05
_BATCH = 128
_COSINE_SCALE = 16.0  # sharpness of the softmax over cosines
_WEIGHTS = {"identity": 0.1, "gender": 1.0, "age": 2.0}
_TRIALS = 20_000  # of `nearer`


def train_face_classifier(
    stores: Sequence[Store],
    iterations: int,
    seed: int,
    device: torch.device,
    reporter: Reporter | None = None,
    unseen: Sequence[Store] = (),
) -> tuple[ClassifierTrunk, dict[str, dict]]:
    """Train on the stores' training identities, measure on their test identities.

    Loss: cross-entropy over identities of a cosine classifier on the embedding, plus binary cross-entropy of
    gender, plus smooth L1 of standardised age, each over the faces whose label is known. A person with one
    face is a class too: the augmented forms of that face (instance discrimination; Dosovitskiy et al. 2014).

    Args:
        stores: faces with identities; genders and ages where known. Joined to train on.
        iterations: updates of 128 faces each.
        seed: of weights and batches.
        device: where it computes.
        reporter: told the progress.
        unseen: further stores, of which nobody is trained on and everybody is measured on.
    Returns:
        The trunk in evaluation mode, and for each store's data set its figures on held-out people, as
        `measure` gives them.
    Raises:
        DataError: a gender is missing from the training or from the test people, a store is given twice, or
            its faces were not taken at zoom 1.
        StoreError: the stores do not fit together.
    """
    reporter = reporter or Reporter()
    tests = _tests(stores, unseen)
    train = join_stores([_faces(store) for store in stores]).of_split("train")
    for part in (train, *tests.values()):
        if part.zoom != 1:
            raise DataError(
                f"{part.folder}: its faces were taken at zoom {part.zoom:g}; the face classifier reads them "
                "at 1: prepare them again with --set faces.zoom=1."
            )
        if len(set(part.gender.tolist()) & set(GENDERS)) < 2:
            raise DataError(
                f"{part.folder}: the face classifier needs both genders among its training and test faces."
            )
    names, labels = classes(train)
    bank, sampler = FaceBank(train, labels), EpochSampler(len(train), seed, "classifier faces")
    gender, age = _targets(train)
    torch.manual_seed(seed)
    net = ClassifierTrunk().to(device, memory_format=torch.channels_last)
    people = nn.Parameter(F.normalize(torch.randn(len(names), EMBEDDING), dim=1).to(device))
    optimiser = torch.optim.AdamW(_groups(net, people), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=iterations)
    reporter.stage("face classifier", 0, iterations)
    started = time.monotonic()
    net.train()
    for step in range(iterations):
        items = sampler.draw(step, _BATCH)
        x, identity = bank.batch(items, random_source(seed, "classifier flips", step).random(_BATCH) < 0.5)
        x = augment_faces(at_side(x).to(device), random_source(seed, "classifier augmentation", step))
        chosen = torch.from_numpy(items)
        with autocast("auto", device):
            h, sex, years = net(x.contiguous(memory_format=torch.channels_last))
        cosine = F.normalize(h.float(), dim=1) @ F.normalize(people, dim=1).t()
        losses = {
            "identity": F.cross_entropy(cosine * _COSINE_SCALE, identity.to(device)),
            "gender": _masked(F.binary_cross_entropy_with_logits, sex, gender[chosen].to(device)),
            "age": _masked(F.smooth_l1_loss, years, age[chosen].to(device)),
        }
        optimiser.zero_grad(set_to_none=True)
        sum(_WEIGHTS[name] * loss for name, loss in losses.items()).backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 20 == 0 or step + 1 == iterations:
            reporter.tick(
                "face classifier",
                step + 1,
                {k: float(v.detach()) for k, v in losses.items()},
                (step + 1) / (time.monotonic() - started),
            )
    net.eval().requires_grad_(False)
    classifier = FaceClassifier("", net.cpu(), {})
    return net, {name: measure(classifier, part) for name, part in tests.items()}


def trained_on(store: Store) -> str:
    """In words, what `train_face_classifier` learns from of a store."""
    part = _faces(store).of_split("train")
    kind = "rendered faces" if dataset(store) == "synthetic" else "faces"
    where = store.dataset.replace("synthetic-", "synthetic world ")
    return f"{len(part)} {kind} of {len(np.unique(part.identity))} people ({where}, training split)"


def dataset(store: Store) -> str:
    """Name of a store's data set; every seed of the synthetic world is "synthetic"."""
    return "synthetic" if store.dataset.startswith("synthetic-") else store.dataset


def _faces(store: Store) -> Store:
    return store.select(store.has_face)


def _tests(stores: Sequence[Store], unseen: Sequence[Store]) -> dict[str, Store]:
    """Who is measured, by the name of the data set."""
    tests: dict[str, Store] = {}
    for store, split in [(s, "test") for s in stores] + [(s, "all") for s in unseen]:
        name = dataset(store)
        if name in tests:
            raise DataError(f"{store.folder}: '{name}' is given twice; each data set once is enough.")
        tests[name] = _faces(store).of_split(split)
    return tests


def _groups(net: nn.Module, people: nn.Parameter) -> list[dict]:
    """Weights decay; biases, the scales of normalisation and the directions of people do not."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": _DECAY},
        {"params": [*rest, people], "weight_decay": 0.0},
    ]


def at_side(x: Tensor) -> Tensor:
    """float (B, 3, s, s) -> float (B, 3, 64, 64), smoothed before it is made smaller."""
    return x if x.shape[-1] == SIDE else F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)


def _targets(store: Store) -> tuple[Tensor, Tensor]:
    """Gender (1 female, 0 male) and standardised age of each record, NaN where unknown."""
    gender = np.where(np.isin(store.gender, GENDERS), store.gender == FEMALE, np.nan)
    return torch.from_numpy(gender).float(), torch.from_numpy((store.age - AGE_MEAN) / AGE_STD).float()


def _masked(loss, prediction: Tensor, target: Tensor) -> Tensor:
    known = target.isfinite()
    return loss(prediction.float()[known], target[known]) if known.any() else prediction.sum() * 0


def measure(classifier: FaceClassifier, store: Store) -> dict:
    """A face classifier's figures on the faces of a store, whose people it must not have been trained on.

    Returns:
        faces, identities; gender_accuracy (share); age_r (Pearson) and age_mean_absolute_error (years), where
        ages are known; same_person_nearer and same_person_nearer_same_gender as `nearer` gives them, where
        somebody has two faces.
    """
    _, labels = classes(store)
    bank = FaceBank(store, labels)
    parts = np.array_split(np.arange(len(store)), -(-len(store) // 1024))
    read = [classifier.read(at_side(bank.batch(part)[0])) for part in parts]
    h, female, years = (torch.cat(values) for values in zip(*read, strict=True))
    gender, age = _targets(store)
    known, dated = gender.isfinite(), age.isfinite()
    figures = {
        "faces": len(store),
        "identities": int(labels.max()) + 1,
        "gender_accuracy": float(((female[known] > 0.5) == (gender[known] > 0.5)).float().mean()),
    }
    if dated.sum() > 2:
        true = age[dated] * AGE_STD + AGE_MEAN
        figures["age_r"] = float(torch.corrcoef(torch.stack([years[dated], true]))[0, 1])
        figures["age_mean_absolute_error"] = float((years[dated] - true).abs().mean())
    h = F.normalize(h, dim=1).numpy()
    for name, group in (("", np.zeros(len(store))), ("_same_gender", store.gender)):
        share = nearer(h, labels, group)
        if share is not None:
            figures[f"same_person_nearer{name}"] = share
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}


def nearer(h: np.ndarray, labels: np.ndarray, group: np.ndarray, trials: int = _TRIALS) -> float | None:
    """Share of trials in which a face is nearer to another face of its person than to a face of another
    person of the same group; chance 0.5.

    Args:
        h: float (N, D), of unit length.
        labels: int (N,), whose face it is.
        group: (N,).
        trials: at most so many faces are drawn, with replacement, from those of people who have two.
    Returns:
        None where nobody has two faces, or no group has two people.
    """
    random = np.random.default_rng(0)
    own = {k: np.flatnonzero(labels == k) for k in np.flatnonzero(np.bincount(labels) > 1)}
    anchors = np.concatenate(list(own.values())) if own else np.empty(0, dtype=np.int64)
    mates = {g: np.flatnonzero(group == g) for g in np.unique(group[anchors])}
    won = []
    for face in random.choice(anchors, trials) if len(anchors) else ():
        mine, others = own[labels[face]], mates[group[face]]
        others = others[labels[others] != labels[face]]
        if len(others):
            same = random.choice(mine[mine != face])
            won.append(h[face] @ h[same] > h[face] @ h[random.choice(others)])
    return float(np.mean(won)) if won else None
