"""Equal error rate of a voice encoder: do two clips come from one speaker?

A trial is a pair of clips; its score is the cosine of their embeddings. A threshold on the score accepts some
pairs of two speakers (false acceptance) and rejects some of one (false rejection). At the equal error rate
both rates are the same. It is a figure of voice encoders, not of faces, so it is not in `registry.METRICS`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.registry import resampled
from voice2face_gan.results import Figure

MAX_TRIALS = 200_000


def equal_error_rate(scores: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The equal error rate of trials.

    Args:
        scores: float (trials,), higher for pairs that are more alike; any scale.
        same: bool (trials,), True for a pair of one speaker.
        weights: float (trials,), weight of each trial; default 1.
    Returns:
        A fraction: 0 where a threshold separates all trials, 0.5 by chance. Between two thresholds both rates
        are interpolated linearly; trials of one score are accepted together.
    Raises:
        MetricError: the trials are all of one kind.
    """
    order = np.argsort(np.asarray(scores, dtype=np.float64), kind="stable")
    ordered = np.asarray(scores, dtype=np.float64)[order]
    ends = np.append(np.flatnonzero(np.diff(ordered) > 0), len(ordered) - 1)
    weight = np.ones(len(order)) if weights is None else np.asarray(weights, dtype=np.float64)[order]
    return _rate(np.asarray(same, dtype=bool)[order], weight, ends)


def _rate(same: np.ndarray, weight: np.ndarray, ends: np.ndarray) -> float:
    """`equal_error_rate` of trials in the order of their scores; `ends` are each score's last indices."""
    own, other = np.cumsum(weight * same), np.cumsum(weight * ~same)
    if not len(same) or own[-1] == 0 or other[-1] == 0:
        raise MetricError("an equal error rate needs pairs of one speaker and pairs of two.")
    # A threshold above each score in turn, from below all of them.
    rejected = np.append(0.0, own[ends]) / own[-1]
    accepted = 1 - np.append(0.0, other[ends]) / other[-1]
    after = int(np.argmax(rejected >= accepted))  # the first; never 0, where they are 0 and 1
    before = after - 1
    gap = accepted[before] - rejected[before]
    share = gap / (gap + rejected[after] - accepted[after])
    return float(rejected[before] + share * (rejected[after] - rejected[before]))


def trials(identity: Sequence[str] | np.ndarray, max_trials: int = MAX_TRIALS, seed: int = 0) -> np.ndarray:
    """Pairs of clips: all of them, or a seeded choice.

    Args:
        identity: (clips,), the speaker of each.
        max_trials: largest number of pairs. Of the pairs of one speaker, which are few, up to half as many
            are kept.
        seed: seed of the choice.
    Returns:
        int64 (pairs, 2), the first index below the second.
    """
    _, speaker = np.unique(np.asarray(identity), return_inverse=True)
    first, second = np.triu_indices(len(speaker), 1)
    if len(first) > max_trials:
        rng = np.random.default_rng(seed)
        same = speaker[first] == speaker[second]
        own, other = np.flatnonzero(same), np.flatnonzero(~same)
        own = rng.permutation(own)[: max(max_trials // 2, max_trials - len(other))]
        chosen = np.sort(np.concatenate([own, rng.permutation(other)[: max_trials - len(own)]]))
        first, second = first[chosen], second[chosen]
    return np.stack([first, second], axis=1)


def verification_figure(
    embeddings: Tensor,
    identity: np.ndarray,
    seed: int = 0,
    max_trials: int = MAX_TRIALS,
    resamplings: int = 200,
    embedded: str = "whole clips",
) -> Figure:
    """The equal error rate of embeddings, in percent, with a 95 % interval by resampling speakers.

    Args:
        embeddings: float (clips, width).
        identity: (clips,), the speaker of each.
        seed: seed of the choice of pairs and of resampling.
        max_trials: largest number of pairs.
        resamplings: number of resamplings for the interval; 0 for none.
        embedded: the things embedded, for the protocol.
    Raises:
        MetricError: no pair of one speaker, or none of two.
    """
    _, speaker = np.unique(np.asarray(identity), return_inverse=True)
    pairs = trials(identity, max_trials, seed)
    unit = torch.nn.functional.normalize(embeddings.float(), dim=1).cpu().numpy()
    scores = np.concatenate([(unit[p[:, 0]] * unit[p[:, 1]]).sum(1) for p in np.array_split(pairs, 16)])
    order = np.argsort(scores, kind="stable")
    scores, pairs = scores[order], speaker[pairs[order]]
    same = pairs[:, 0] == pairs[:, 1]
    ends = np.append(np.flatnonzero(np.diff(scores) > 0), len(scores) - 1)
    value = _rate(same, np.ones(len(same)), ends)
    drawn = []
    for choice in resampled(speaker.max() + 1, seed, resamplings):
        times = np.bincount(choice, minlength=speaker.max() + 1).astype(np.float64)
        # A pair of two speakers has the product of both counts as its weight, a pair of one its count.
        weight = np.where(same, times[pairs[:, 0]], times[pairs[:, 0]] * times[pairs[:, 1]])
        if (weight * same).any() and (weight * ~same).any():
            drawn.append(100 * _rate(same, weight, ends))
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (None, None)
    protocol = f"cosine of the embeddings of {embedded}, all pairs of clips"
    if len(pairs) == max_trials:
        protocol += f", a seeded choice of {max_trials}"
    protocol += f"; {len(np.unique(pairs))} speakers, {int(same.sum())} pairs of one speaker"
    low, high = (None, None) if low is None else (float(low), float(high))
    return Figure(100 * value, len(pairs), "pairs", protocol, "%", low, high, chance=50.0)
