"""KID: against the sums written out, its lack of bias, and its interval."""

import numpy as np
import pytest

from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.feature_sets import FeatureSet
from voice2face_gan.evaluation.metrics import kid
from voice2face_gan.evaluation.metrics.kid import kernel_distance


def some(count: int, seed: int, shift: float = 0, size: int = 5, people: int = 0) -> FeatureSet:
    """Normal features of as many people as images, or of so many in turn."""
    x = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32) + np.float32(shift)
    return FeatureSet(x, np.arange(count) % (people or count))


def written_out(a: FeatureSet, b: FeatureSet) -> float:
    """Binkowski et al. 2018, equation 4, as it stands."""

    def k(x, y):
        return (np.dot(x.astype(float), y.astype(float)) / len(x) + 1) ** 3

    x, y, n, m = a.features, b.features, len(a), len(b)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(u, v) for u in x for v in y) / (n * m)


@pytest.mark.parametrize("chunk", [1024, 4])
def test_it_is_the_sum_written_out(monkeypatch, chunk):
    monkeypatch.setattr(kid, "_CHUNK", chunk)
    a, b = some(13, 0, people=4), some(10, 1, 0.5, people=5)
    assert kernel_distance(a, b)[0] == pytest.approx(written_out(a, b), rel=1e-9)


def test_the_interval_is_the_jackknifes_over_identities():
    a, b = some(14, 0, people=4), some(11, 1, 0.5, people=5)
    without = [written_out(a[a.identity != g], b[b.identity != g]) for g in range(5)]
    error = 1.959964 * np.sqrt(4 / 5 * ((without - np.mean(without)) ** 2).sum())
    assert kernel_distance(a, b)[1] == pytest.approx(error, rel=1e-9)


def test_it_is_the_mean_over_subsets():
    """The paper's way: the mean over random subsets tends to what all pairs give."""
    a, b = some(120, 0), some(120, 1, 0.3)
    random = np.random.default_rng(2)
    found = [
        kernel_distance(a[random.choice(120, 40, replace=False)], b[random.choice(120, 40, replace=False)])[0]
        for _ in range(400)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - kernel_distance(a, b)[0]) < 4 * error
    assert error < kernel_distance(a, b)[0] / 10  # so that the line above could fail


def test_alike_sets_are_at_0_in_the_mean_however_few():
    found = [kernel_distance(some(8, 2 * i), some(8, 2 * i + 1))[0] for i in range(400)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
    assert 0.2 < np.mean(np.array(found) < 0) < 0.8
    shifted = [kernel_distance(some(8, 2 * i), some(8, 2 * i + 1, 1.0))[0] for i in range(100)]
    assert np.mean(shifted) > 10 * np.std(found) / np.sqrt(len(found))


def test_nineteen_of_twenty_intervals_hold_the_truth():
    """The truth is the mean over many draws, of which the estimate is free of bias."""
    found = [kernel_distance(some(40, 2 * i), some(40, 2 * i + 1, 0.7)) for i in range(300)]
    values, errors = np.array(found).T
    held = (np.abs(values - values.mean()) < errors).mean()
    assert 0.88 < held < 0.99


def test_images_of_one_person_are_not_many_people():
    """Every image four times: the interval is that of the people, not half as wide."""
    a, b = some(60, 0), some(60, 1, 0.7)
    four = [FeatureSet(np.repeat(x.features, 4, axis=0), np.repeat(x.identity, 4)) for x in (a, b)]
    assert kernel_distance(*four)[1] == pytest.approx(kernel_distance(a, b)[1], rel=0.15)
    loose = [FeatureSet(x.features, np.arange(240)) for x in four]
    assert kernel_distance(*loose)[1] < 0.6 * kernel_distance(a, b)[1]


def test_an_interval_needs_three_people():
    a = some(6, 0, people=2)
    assert kernel_distance(a, some(6, 1, people=2))[1] is None
    alone = FeatureSet(a.features, np.array([0, 0, 0, 0, 0, 1]))  # without 0 there is no pair
    assert kernel_distance(alone, FeatureSet(a.features, np.arange(6)))[1] is None


def test_figures(build_eval_set, people):
    """Faces of the same noise: about 0; darker ones: far from it. With the shipped trunk."""
    genders = ["female", "male"] * 20
    real = people(40, genders, seed=0)
    figures = compute("kid", build_eval_set(people(40, genders, seed=1), real))
    assert list(figures) == [
        "kid_trunk",
        "floor",
        "kid_trunk, female",
        "floor, female",
        "kid_trunk, male",
        "floor, male",
    ]
    alike = figures["kid_trunk"]
    assert alike.low < 0 < alike.high and alike.n == 40
    assert "not comparable with published KID" in alike.protocol and "jackknife" in alike.protocol
    dark = compute("kid", build_eval_set(real // 2, real))["kid_trunk"]
    assert dark.low > 100 * alike.high > 0
