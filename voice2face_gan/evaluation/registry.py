"""Metrics by name, and what a figure is."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voice2face_gan.errors import MetricError

if TYPE_CHECKING:
    from voice2face_gan.evaluation.protocol import Case

RESAMPLINGS = 1000


@dataclass
class Figure:
    """One number.

    Attributes:
        value: the number.
        unit: of value, low and high; "" where it has none.
        low, high: 95 % interval, resampling identities; None where none is given.
        n: how many things it was computed on, and of what kind `counted` says.
        chance: what guessing gives, None where that means nothing.
        protocol: one sentence: what was compared with what, and through which network.
    """

    value: float
    n: int
    counted: str
    protocol: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    chance: float | None = None

    def to_dict(self) -> dict:
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass
class Options:
    """What a metric may be given besides pictures.

    Attributes:
        inception_weights: path of pytorch-fid's Inception weights, or None to look where torch caches them.
        seed: of resampling.
    """

    inception_weights: Path | None = None
    seed: int = 0


METRICS: dict[str, Callable[["Case", Options], dict[str, Figure]]] = {}


def metric(name: str):
    """Registers a function (case, options) -> {figure's name: Figure} under a metric's name."""

    def register(function):
        METRICS[name] = function
        return function

    return register


def compute(name: str, case: "Case", options: Options | None = None) -> dict[str, Figure]:
    """A metric's figures.

    Raises:
        MetricError: unknown metric, or it cannot be computed here.
    """
    if name not in METRICS:
        raise MetricError(f"Unknown metric '{name}'; there are {', '.join(sorted(METRICS))}.")
    return METRICS[name](case, options or Options())


def mean_over_identities(
    values: np.ndarray, identity: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of each identity's mean, and its 95 % interval by resampling identities with replacement.

    Args:
        values: float (N,), one a clip.
        identity: (N,), whose clip it is.
    Returns:
        mean, low, high.
    """
    names, labels = np.unique(identity, return_inverse=True)
    means = np.bincount(labels, values) / np.bincount(labels)
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLINGS, len(names)))
    low, high = np.quantile(means[drawn].mean(axis=1), [0.025, 0.975])
    return float(means.mean()), float(low), float(high)
