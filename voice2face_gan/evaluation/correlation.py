"""Pearson's r over identities with its interval, for the metrics age and craniofacial."""

import numpy as np

from voice2face_gan.evaluation.registry import resampled

MIN_IDENTITIES = 3  # two points always lie on a line
_MIN_RELATIVE_VARIATION = 1e-9  # variation relative to a value's size; less is rounding


def per_identity(values: np.ndarray, identity: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Mean of each identity, NaN where it has no value; values that are not finite are left out.

    Args:
        values: float (N,) or (N, K), one row an image.
        identity: (N,), the identity of each image.
        names: (identities,), the identities wanted.
    Returns:
        float64 (identities,) or (identities, K).
    """
    values = np.asarray(values, dtype=np.float64)
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    means = np.full((len(names), flat.shape[1]), np.nan)
    for row, name in enumerate(names.tolist()):
        own = flat[identity == name]
        finite = np.isfinite(own)
        counts = finite.sum(axis=0)
        total = np.where(finite, own, 0).sum(axis=0)
        means[row] = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    return means.reshape(len(names), *values.shape[1:])


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's r along the first axis: (N, ...), (N, ...) -> (...); NaN where either does not vary."""
    size = np.abs(a).max(axis=0), np.abs(b).max(axis=0)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    length = np.sqrt((a**2).sum(axis=0)), np.sqrt((b**2).sum(axis=0))
    varies = (length[0] > _MIN_RELATIVE_VARIATION * size[0]) & (length[1] > _MIN_RELATIVE_VARIATION * size[1])
    lengths = length[0] * length[1]
    return np.where(varies, (a * b).sum(axis=0) / np.where(varies, lengths, 1), np.nan)


def resampled_r(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pearson's r over identities, and its values under resampling of identities with replacement.

    Args:
        a, b: float (identities,) or (identities, K), finite.
        seed: seed of the resampling.
    Returns:
        r, () or (K,), and (resamplings,) or (resamplings, K); NaN where a value does not vary.
    """
    drawn = resampled(len(a), seed)
    return pearson(a, b), np.stack([pearson(a[identities], b[identities]) for identities in drawn])


def interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """2.5 % and 97.5 % of the values that are finite; None without any."""
    values = values[np.isfinite(values)]
    return tuple(float(v) for v in np.quantile(values, [0.025, 0.975])) if len(values) else (None, None)
