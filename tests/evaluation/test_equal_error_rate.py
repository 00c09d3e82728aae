"""The equal error rate against cases whose answer is known."""

import math

import numpy as np
import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.equal_error_rate import equal_error_rate, trials, verification_figure
from voice2face_gan.evaluation.registry import METRICS


def test_told_apart_is_0_and_the_wrong_way_round_1():
    same = np.array([True, True, False, False, False])
    scores = np.array([0.9, 0.8, 0.1, 0.2, 0.3])
    assert equal_error_rate(scores, same) == 0
    assert equal_error_rate(-scores, same) == 1


def test_scores_that_say_nothing_are_a_half():
    same = np.arange(10) < 3
    assert equal_error_rate(np.ones(10), same) == 0.5
    # The same scores in both kinds of pairs.
    assert equal_error_rate(np.tile(np.arange(50.0), 2), np.repeat([True, False], 50)) == pytest.approx(0.5)


def test_a_quarter_on_either_side():
    """At a threshold of 0.5 one of four own pairs is rejected and one of four others accepted."""
    scores = np.array([0.4, 0.6, 0.7, 0.8, 0.6, 0.1, 0.2, 0.3])
    assert equal_error_rate(scores, np.repeat([True, False], 4)) == pytest.approx(0.25)


def test_two_normal_distributions():
    """Means 2 apart, unit variance: the rate is the tail beyond 1, Phi(-1) = 0.1587."""
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(2, 1, 20_000), rng.normal(0, 1, 200_000)])
    wanted = 0.5 * math.erfc(1 / math.sqrt(2))
    assert equal_error_rate(scores, np.arange(220_000) < 20_000) == pytest.approx(wanted, abs=0.006)


def test_it_depends_on_order_alone_and_weights_are_repetitions():
    rng = np.random.default_rng(1)
    scores, same = rng.normal(size=300).round(1), rng.random(300) < 0.3  # rounded: many are equal
    scores = scores + same
    rate = equal_error_rate(scores, same)
    assert equal_error_rate(np.exp(3 * scores), same) == pytest.approx(rate)
    times = rng.integers(0, 4, 300)
    repeated = equal_error_rate(np.repeat(scores, times), np.repeat(same, times))
    assert equal_error_rate(scores, same, times) == pytest.approx(repeated)


def test_pairs_of_one_kind_have_no_rate():
    for same in (np.ones(4, dtype=bool), np.zeros(4, dtype=bool), np.zeros(0, dtype=bool)):
        with pytest.raises(MetricError, match="pairs of one speaker and pairs of two"):
            equal_error_rate(np.arange(float(len(same))), same)


def test_all_pairs_or_a_seeded_choice_that_keeps_those_of_one_person():
    names = np.repeat([f"p{i}" for i in range(20)], 3)
    every = trials(names)
    assert len(every) == 60 * 59 // 2 == len({tuple(p) for p in every.tolist()})
    assert (every[:, 0] < every[:, 1]).all()
    some = trials(names, max_trials=200)
    same = names[some[:, 0]] == names[some[:, 1]]
    assert len(some) == 200 and same.sum() == 60, "all 20 x 3 pairs of one person"
    np.testing.assert_array_equal(some, trials(names, max_trials=200))
    assert not np.array_equal(some, trials(names, max_trials=200, seed=1))


def test_the_figure_of_embeddings():
    rng = np.random.default_rng(0)
    people = rng.standard_normal((12, 16))
    names = np.repeat([f"p{i:02d}" for i in range(12)], 4)
    clear = torch.from_numpy(np.repeat(people, 4, axis=0) * rng.uniform(0.1, 9, (48, 1)))
    figure = verification_figure(clear, names)
    assert figure.value == 0 and (figure.low, figure.high) == (0, 0), "length does not matter, angle does"
    assert figure.chance == 50 and figure.unit == "%" and figure.n == 48 * 47 // 2
    assert "12 speakers, 72 pairs of one speaker" in figure.protocol
    nothing = verification_figure(torch.from_numpy(rng.standard_normal((48, 16))), names)
    assert nothing.low < 50 < nothing.high and nothing.low < nothing.value < nothing.high
    between = torch.from_numpy(np.repeat(people, 4, axis=0) + 1.0 * rng.standard_normal((48, 16)))
    assert 0 < verification_figure(between, names).value < nothing.value


def test_it_is_no_metric_of_faces():
    assert not [name for name in METRICS if "equal" in name or "eer" in name]
