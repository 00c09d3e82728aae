"""Precision, recall, density, coverage: sets whose figures follow from where they lie."""

import numpy as np
import pytest

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.metrics import prdc
from voice2face_gan.evaluation.metrics.prdc import manifolds, nearest


@pytest.fixture(params=[1024, 7], autouse=True)
def chunk(request, monkeypatch):
    monkeypatch.setattr(prdc, "_CHUNK", request.param)


def blob(count: int, at: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32) + np.float32([at, 0, 0])


def test_nearest_neighbours_on_a_line():
    x = np.array([[0.0], [1], [3], [7], [15]])
    first, third = nearest(x, (1, 3))
    assert first.tolist() == [1, 1, 4, 16, 64]
    assert third.tolist() == [49, 36, 16, 49, 196]


def test_identical_sets():
    """A generated face lies in its own ball, and on average k others: k + 1 of k."""
    x = np.arange(40, dtype=float)[:, None] ** 3  # whole numbers; no point is halfway between two others
    assert manifolds(x, x) == {"precision": 1, "recall": 1, "density": 6 / 5, "coverage": 1}


def test_alike_sets_have_density_1():
    found = [manifolds(blob(150, 0, 2 * i), blob(150, 0, 2 * i + 1))["density"] for i in range(30)]
    assert np.mean(found) == pytest.approx(1, abs=4 * np.std(found) / np.sqrt(30))


def test_disjoint_sets():
    found = manifolds(blob(50, 0, 0), blob(60, 1000, 1))
    assert found == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_a_mode_that_is_dropped():
    """Real faces around two places, generated ones around the first alone: all look real, half is missing."""
    real = np.concatenate([blob(100, 0, 0), blob(100, 1000, 1)])
    whole = np.concatenate([blob(100, 0, 2), blob(100, 1000, 3)])
    both, one = manifolds(real, whole), manifolds(real, blob(200, 0, 4))
    assert one["precision"] > 0.75 and one["precision"] > both["precision"] - 0.1
    assert both["recall"] > 0.75 and both["coverage"] > 0.8
    assert 0.4 < one["recall"] <= 0.5 and 0.45 < one["coverage"] <= 0.5
    # The other way round: a mode that nobody has.
    extra = manifolds(blob(200, 0, 4), real)
    assert 0.4 < extra["precision"] <= 0.5 and extra["recall"] > 0.75


def test_an_outlier_sways_precision_and_not_density():
    """A real outlier's ball takes in generated faces far from all other real ones. Naeem et al. 2020,
    figure 1."""
    real, fake = blob(60, 0, 0), blob(60, 50, 1)
    assert manifolds(real, fake)["precision"] == 0
    swayed = manifolds(np.concatenate([real, [[100, 0, 0]]]), fake)
    assert swayed["precision"] > 0.9 and swayed["density"] < 0.25 and swayed["coverage"] < 0.05


def test_generated_faces_that_are_all_alike():
    one = manifolds(blob(100, 0, 0), np.zeros((100, 3), dtype=np.float32))
    assert one["precision"] == 1 and one["recall"] == 0 and one["coverage"] < 0.3


def test_figures(build_eval_set, people):
    genders = ["female", "male"] * 30
    real = people(60, genders)
    figures = compute("prdc", build_eval_set(real[:40], real, who=range(40), whose=range(60)))
    names = ["precision", "recall", "density", "coverage"]
    assert list(figures) == [f"{n}_trunk" for n in names] + [f"real {n}" for n in names]
    assert figures["precision_trunk"].n == 40 and figures["real recall"].n == 30
    assert "k = 3; 40 generated against 40 real" in figures["recall_trunk"].protocol
    assert "k = 5" in figures["coverage_trunk"].protocol
    assert "not comparable with published coverage" in figures["coverage_trunk"].protocol
    few = build_eval_set(real[:5], real[:5])
    with pytest.raises(MetricError, match="6 images or more"):
        compute("prdc", few)
