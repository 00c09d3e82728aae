"""Precision, recall, density and coverage of generated faces, from the nearest neighbours of their features.

    precision   generated images that lie in the manifold of the real ones: fidelity
    recall      real images that lie in the manifold of the generated ones: variety
    density     number of real images' balls around a generated one, over k; less sensitive to outliers
    coverage    real images whose ball holds a generated one: recall by the manifold of real images alone

A set's manifold is the balls around its images that just reach their k-th nearest neighbour in the set.
Precision, recall: Kynkaanniemi et al. 2019, section 2, k = 3. Density, coverage: Naeem et al. 2020, section
3, k = 5. All are 0 to 1 but density, which may exceed 1. Equal counts; of more than 10,000 images of a kind a
random 10,000. "real ..." compares one half of the real images with the other: the value of a perfect model.
"""

import numpy as np

from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.feature_sets import compared, pairwise
from voice2face_gan.evaluation.features import figure_suffix, open_feature
from voice2face_gan.evaluation.registry import Options, metric
from voice2face_gan.results import Figure

NEAREST_MANIFOLD, NEAREST_DENSITY = 3, 5
_CHUNK = 1024  # rows of distances held together


@metric("prdc")
def prdc(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    feature = open_feature(options.feature, options)
    # The whole set alone: four figures of each gender would be too many to read.
    pair = next(pairwise(eval_set, feature, options, min_images=NEAREST_DENSITY + 1))
    suffix = figure_suffix(feature)
    figures = {}
    for name, value in manifolds(pair.real.features, pair.generated.features).items():
        protocol = f"{_nearest(name)}; {compared(feature, options, name, len(pair))}"
        figures[name + suffix] = Figure(value, len(pair), "images", protocol)
    if pair.halves is not None:
        half = len(pair.halves[0])
        protocol = f"{half} real against {half} other real images in {feature.about}"
        for name, value in manifolds(*(part.features for part in pair.halves)).items():
            figures[f"real {name}"] = Figure(value, half, "images", f"{_nearest(name)}; {protocol}")
    return figures


def _nearest(name: str) -> str:
    return f"k = {NEAREST_MANIFOLD if name in ('precision', 'recall') else NEAREST_DENSITY}"


def manifolds(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """Precision, recall, density and coverage.

    Args:
        real, generated: features (N, D) and (M, D), more than NEAREST_DENSITY of each.
    """
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    k_manifold, k_density = NEAREST_MANIFOLD, NEAREST_DENSITY
    real_reach = nearest(real, (k_manifold, k_density))
    made_reach = nearest(generated, (k_manifold,))[0]
    in_real, balls, covered = np.zeros(len(generated), dtype=bool), 0, 0
    recalled = 0
    for start in range(0, len(real), _CHUNK):
        part = slice(start, start + _CHUNK)
        distance = squared_distances(real[part], generated)
        in_real |= (distance <= real_reach[0][part, None]).any(axis=0)
        in_ball = distance <= real_reach[1][part, None]
        balls, covered = balls + in_ball.sum(), covered + in_ball.any(axis=1).sum()
        recalled += (distance <= made_reach).any(axis=1).sum()
    return {
        "precision": float(in_real.mean()),
        "recall": float(recalled / len(real)),
        "density": float(balls / (k_density * len(generated))),
        "coverage": float(covered / len(real)),
    }


def nearest(x: np.ndarray, ranks: tuple[int, ...]) -> list[np.ndarray]:
    """For each rank k, squared distances (N,) of each row of x, (N, D), to its k-th nearest other row."""
    found = np.empty((len(ranks), len(x)))
    for start in range(0, len(x), _CHUNK):
        distance = squared_distances(x[start : start + _CHUNK], x)
        distance[np.arange(len(distance)), np.arange(start, start + len(distance))] = np.inf  # itself
        at = [k - 1 for k in ranks]
        found[:, start : start + _CHUNK] = np.partition(distance, at, axis=1)[:, at].T
    return list(found)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 (N, M) of rows (N, D) and (M, D)."""
    return ((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T).clip(min=0)
