"""Frechet distance of generated and real faces: `fid` through Inception, `fid_trunk`, `fid_dlib` through a
stand-in (evaluation/features.py).

    FID = |m_g - m_r|^2 + Tr(C_g + C_r - 2 (C_g C_r)^(1/2))

with the means and covariances of their features. Source: Heusel et al. 2017, equation 6. Generated and real
images are in equal numbers; `floor` is the distance between two halves of the real ones. The distance is
biased upwards, the more so the fewer the images.
"""

import numpy as np

from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.feature_sets import compared, pairs
from voice2face_gan.evaluation.features import figure_suffix, open_feature
from voice2face_gan.evaluation.registry import Options, metric
from voice2face_gan.results import Figure

_CHUNK = 4096  # features made float64 together


@metric("fid")
def fid(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    feature = open_feature(options.feature, options)
    name = "fid" + figure_suffix(feature)
    figures, fewest = {}, feature.enough
    for pair in pairs(eval_set, feature, options):
        count, fewest = len(pair), min(fewest, len(pair))
        few = f"; fewer than {feature.enough} images: biased upwards" if count < feature.enough else ""
        protocol = compared(feature, options, "FID", count) + few
        value = frechet_distance(pair.generated.features, pair.real.features)
        figures[name + pair.suffix] = Figure(value, count, "images", protocol)
        if pair.halves is not None:
            half = len(pair.halves[0])
            value = frechet_distance(*(part.features for part in pair.halves))
            protocol = f"{half} real against {half} other real images in {feature.about}"
            figures["floor" + pair.suffix] = Figure(value, half, "images", protocol)
    if fewest < feature.enough:
        options.note(
            f"{name}: {fewest} images of a kind are fewer than the {feature.enough} that its "
            f"{feature.dimensions} features need; it is biased upwards, so compare it with equal counts only."
        )
    return figures


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of the Gaussians fitted to two sets of features, (N, D) and (M, D), N and M >= 2."""
    return gaussian_distance(*_mean_and_root(a), *_mean_and_root(b))


def gaussian_distance(
    mean_a: np.ndarray, root_a: np.ndarray, mean_b: np.ndarray, root_b: np.ndarray
) -> float:
    """Frechet distance of two Gaussians.

    Args:
        mean_a, mean_b: (D,).
        root_a, root_b: (any, D), R with the covariance R^T R.

    Tr (A B)^(1/2) is the sum of the roots of the eigenvalues of A^(1/2) B A^(1/2), which are the singular
    values of R_a R_b^T. Without a product of covariances nothing is squared that a root is taken of later,
    and covariances without full rank need no care.
    """
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * shared
    return max(float(distance), 0.0)


def _mean_and_root(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and a root R, (min(N, D), D), of the sample covariance R^T R of features (N, D)."""
    mean = x.mean(axis=0, dtype=np.float64)
    if len(x) <= x.shape[1]:
        return mean, (x - mean) / np.sqrt(len(x) - 1)
    return mean, covariance_root(covariance(x, mean))


def covariance(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Sample covariance float64 (D, D) of features (N, D), summed in chunks to bound memory."""
    total = np.zeros((x.shape[1],) * 2)
    for start in range(0, len(x), _CHUNK):
        part = x[start : start + _CHUNK] - mean
        total += part.T @ part
    return total / (len(x) - 1)


def covariance_root(c: np.ndarray) -> np.ndarray:
    """R with R^T R = c, for a symmetric matrix without negative eigenvalues but for rounding."""
    values, vectors = np.linalg.eigh(c)
    return np.sqrt(values.clip(min=0))[:, None] * vectors.T
