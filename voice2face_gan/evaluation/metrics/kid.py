"""Kernel distance of generated and real faces: `kid` through Inception, `kid_trunk`, `kid_dlib` through a
stand-in (evaluation/features.py).

The unbiased estimate of the squared maximum mean discrepancy with the kernel k(x, y) = (x.y / D + 1)^3 on D
features. Source: Binkowski et al. 2018, section 4 and equation 4. Unlike FID its expectation does not depend
on the number of images, and it is about 0, below 0 as often as above, where the sets are alike.

The paper averages it over random subsets, which estimate what all pairs of images give; here all pairs are
taken, and of more than 10,000 images of a kind a random 10,000. The interval is the jackknife's over
identities: each identity's images, generated and real, are left out in turn.
"""

import numpy as np

from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.feature_sets import FeatureSet, compared, pairwise
from voice2face_gan.evaluation.features import figure_suffix, open_feature
from voice2face_gan.evaluation.registry import Options, metric
from voice2face_gan.results import Figure

_CHUNK = 1024  # rows of the kernel's matrix held together
_NORMAL = 1.959964  # the normal distribution's 97.5 % point


@metric("kid")
def kid(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    feature = open_feature(options.feature, options)
    figures = {}
    for pair in pairwise(eval_set, feature, options):
        count = len(pair)
        protocol = compared(feature, options, "KID", count)
        compare = [("kid" + figure_suffix(feature), (pair.generated, pair.real), protocol)]
        if pair.halves is not None:
            half = len(pair.halves[0])
            protocol = f"{half} real against {half} other real images in {feature.about}"
            compare.append(("floor", pair.halves, protocol))
        for name, (a, b), protocol in compare:
            value, error = kernel_distance(a, b)
            low, high = (None, None) if error is None else (value - error, value + error)
            how = f"unbiased squared MMD of all pairs, cubic kernel, jackknife over identities; {protocol}"
            figures[name + pair.suffix] = Figure(value, len(a), "images", how, low=low, high=high)
    return figures


def kernel_distance(a: FeatureSet, b: FeatureSet) -> tuple[float, float | None]:
    """Unbiased squared MMD of two sets of two images or more, and half of its 95 % interval.

    The half interval is None where there are fewer than three identities, or leaving one out leaves no pair.
    """
    names, labels = np.unique(np.concatenate([a.identity, b.identity]), return_inverse=True)
    of_a, of_b = labels[: len(a)], labels[len(a) :]
    x, y, size = a.features, b.features, len(names)
    sums = [
        _sums(x, x, of_a, of_a, size, same=True),
        _sums(y, y, of_b, of_b, size, same=True),
        _sums(x, y, of_a, of_b, size, same=False),
    ]
    value = _distance(*(total for total, _ in sums), len(a), len(b))
    left_a, left_b = len(a) - np.bincount(of_a, minlength=size), len(b) - np.bincount(of_b, minlength=size)
    if size < 3 or min(left_a.min(), left_b.min()) < 2:
        return float(value), None
    without = _distance(*(total - involved for total, involved in sums), left_a, left_b)
    variance = (size - 1) / size * ((without - without.mean()) ** 2).sum()
    return float(value), float(_NORMAL * np.sqrt(variance))


def _distance(xx, yy, xy, n, m):
    """The distance from the kernel's sums over ordered pairs; xx and yy exclude an image with itself."""
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def _sums(x, y, of_x, of_y, identities: int, same: bool) -> tuple[float, np.ndarray]:
    """Sum of the kernel over all pairs of rows, and (identities,) over the pairs that involve each identity.

    Args:
        x, y: features (N, D) and (M, D).
        of_x, of_y: int, whose each row is.
        same: x is y, and no row meets itself.
    """
    rows, both, columns = np.zeros(len(x)), np.zeros(len(x)), np.zeros(len(y))
    y = y.astype(np.float64)
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        k = (x[part].astype(np.float64) @ y.T / x.shape[1] + 1) ** 3
        if same:
            k[np.arange(len(k)), np.arange(start, start + len(k))] = 0
        rows[part], columns = k.sum(axis=1), columns + k.sum(axis=0)
        both[part] = np.where(of_x[part, None] == of_y, k, 0).sum(axis=1)
    # A pair within an identity is counted by its row and by its column.
    involved = np.bincount(of_x, rows - both, identities) + np.bincount(of_y, columns, identities)
    return rows.sum(), involved
