"""Registry of metrics, their options, and figures of one value a clip."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voice2face_gan.errors import MetricError
from voice2face_gan.results import Figure

if TYPE_CHECKING:
    from voice2face_gan.evaluation.eval_set import EvalSet

RESAMPLINGS = 1000


@dataclass
class Options:
    """Options of metrics.

    Attributes:
        feature: "inception", "dlib", "trunk", or "auto": Inception if its weights are found, else a stand-in.
        inception_weights: path of pytorch-fid's Inception weights, or None to search where
            models/inception_weights.py does.
        no_inception: a clause with the reason why they could not be downloaded; "" if nobody tried.
        gallery: identities in a retrieval gallery; 0 for all of them.
        seconds: lengths of speech that `duration` tries.
        noise_scale: standard deviation of the noise z, as in `GenerateOptions`.
        strength: as in `GenerateOptions`; None for the model's own.
        inner: metrics that `duration` computes at each length.
        seed: seed of resampling and of every random choice.
        notes: sentences for the user, which metrics add to and the command prints.
    """

    feature: str = "auto"
    inception_weights: Path | None = None
    no_inception: str = ""
    gallery: int = 0
    seconds: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    noise_scale: float = 1.0
    strength: float | None = None
    inner: tuple[str, ...] = ("gender", "matching")
    seed: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Add a sentence, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


METRICS: dict[str, Callable[["EvalSet", Options], dict[str, Figure]]] = {}


def metric(name: str):
    """Register a function (eval_set, options) -> {figure's name: Figure} under a metric's name."""

    def register(function):
        METRICS[name] = function
        return function

    return register


def compute(name: str, eval_set: "EvalSet", options: Options | None = None) -> dict[str, Figure]:
    """Compute a metric's figures.

    Raises:
        MetricError: unknown metric, or it cannot be computed here.
    """
    if name not in METRICS:
        raise MetricError(f"Unknown metric '{name}'; there are {', '.join(sorted(METRICS))}.")
    return METRICS[name](eval_set, options or Options())


def mean_over_identities(
    values: np.ndarray, identity: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of the identities' means, and its 95 % interval by resampling identities with replacement.

    Args:
        values: float (N,), one a clip.
        identity: (N,), the identity of each clip.
        seed: seed of the resampling.
    Returns:
        mean, low, high.
    """
    names, labels = np.unique(identity, return_inverse=True)
    means = np.bincount(labels, values) / np.bincount(labels)
    drawn = resampled(len(names), seed)
    low, high = np.quantile(means[drawn].mean(axis=1), [0.025, 0.975])
    return float(means.mean()), float(low), float(high)


def resampled(identities: int, seed: int, times: int = RESAMPLINGS) -> np.ndarray:
    """int64 (times, identities): identities drawn with replacement, for an interval."""
    return np.random.default_rng(seed).integers(identities, size=(times, identities))


def clip_figures(
    eval_set: "EvalSet",
    name: str,
    values: np.ndarray,
    protocol: str,
    options: Options,
    *,
    unit: str = "",
    chance: float | None = None,
    counted: str = "clips",
    counts: np.ndarray | None = None,
) -> dict[str, Figure]:
    """Figures of one value a generated face: `name` over all of them, and "name, female" and "name, male".

    Each is the mean of the identities' means; a value that is not finite is left out.

    Args:
        values: float (clips,).
        counts: int (clips,), number of things that each value is the mean of; default 1.
        counted: kind of these things.
    Raises:
        MetricError: no value is finite.
    """
    values = np.asarray(values, dtype=np.float64)
    counts = np.ones(len(values), dtype=np.int64) if counts is None else counts
    figures = {}
    for suffix, chosen in eval_set.genders():
        kept = chosen & np.isfinite(values)
        if kept.any():
            identity = eval_set.generated_identity[kept]
            mean, low, high = mean_over_identities(values[kept], identity, options.seed)
            n = int(counts[kept].sum())
            figures[name + suffix] = Figure(mean, n, counted, protocol, unit, low, high, chance)
    if not figures:
        raise MetricError(f"{name}: there is nothing to compare in these data.")
    return figures
