"""Retrieval: chance, oracles, and galleries smaller than the data against galleries drawn one by one."""

import numpy as np
import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.metrics.retrieval import others_nearer
from voice2face_gan.evaluation.readers import Reading
from voice2face_gan.evaluation.registry import Options

WAYS = ("cosine", "L2", "L1")


@pytest.fixture
def embedded(build_eval_set):
    """Function (generated, real, who, whose) -> an evaluation set with given readings."""

    def make(generated, real, who, whose, gender=None):
        images = [torch.zeros(len(x), 8, 8, 3, dtype=torch.uint8) for x in (generated, real)]
        readings = {
            which: Reading(np.asarray(x, dtype=np.float32), None, None, np.ones(len(x), dtype=bool))
            for which, x in (("generated", generated), ("real", real))
        }
        return build_eval_set(*images, who, whose, gender or ["female"] * len(who), _readings=readings)

    return make


def names(count: int, each: int = 1) -> np.ndarray:
    return np.repeat([f"p{i:03d}" for i in range(count)], each)


def deviation(figure) -> float:
    """Standard deviation of a percentage of n guesses."""
    return (figure.chance * (100 - figure.chance) / figure.n) ** 0.5


def test_an_oracle_finds_everybody(embedded):
    real = np.random.default_rng(0).standard_normal((12, 6))
    gender = ["female", "male"] * 6
    figures = compute("retrieval", embedded(real, real, names(12), names(12), gender))
    assert set(figures) == {
        f"R@{k} {way}{s}" for k in (1, 2, 5, 10) for way in WAYS for s in ("", ", female", ", male")
    }
    assert {f.value for f in figures.values()} == {100.0}
    assert figures["R@5 L1"].chance == pytest.approx(500 / 12) and figures["R@5 L1"].unit == "%"
    assert all("gallery of 12 identities" in f.protocol for f in figures.values())
    assert all("chance " in f.protocol and "reads-pixels" in f.protocol for f in figures.values())


def test_faces_without_any_likeness_are_at_chance(embedded):
    random = np.random.default_rng(1)
    made = embedded(*random.standard_normal((2, 400, 6)), names(100, 4), names(100, 4))
    for options in (Options(), Options(gallery=20)):
        for figure in compute("retrieval", made, options).values():
            assert figure.value == pytest.approx(figure.chance, abs=4 * deviation(figure))
            assert figure.low < figure.value < figure.high


def test_a_rank_that_is_known(embedded):
    """On a line, people at 0, 10 ... 110; the faces made lie 21 to the right of them. The next four people
    (11, 1, 9 and 19 away) are nearer, nobody else. So ranks are 5, but 4, 3, 2 and 1 for the last four."""
    real = np.stack([10.0 * np.arange(12), np.zeros(12)], axis=1)
    figures = compute("retrieval", embedded(real + [21, 0], real, names(12), names(12)))
    for way in ("L2", "L1"):
        assert figures[f"R@1 {way}"].value == pytest.approx(100 / 12)
        assert figures[f"R@2 {way}"].value == pytest.approx(200 / 12)
        assert figures[f"R@5 {way}"].value == 100
    assert figures["R@1 L2"].n == 12 and figures["R@1 L2"].counted == "clips"


def test_the_three_ways_differ(embedded):
    """From (1, 0): (9, 0) is nearest by direction, (1.6, 0.7) by L2, at 0.92, and (1, 1) by L1, at 1."""
    query, faces = [[1.0, 0]], np.array([[9.0, 0], [1.6, 0.7], [1.0, 1.0]])
    nearest = {"cosine": 0, "L2": 1, "L1": 2}
    for way, best in nearest.items():
        order = [best, *(i for i in range(3) if i != best)]
        figures = compute("retrieval", embedded(query, faces[order], names(1), names(3)))
        won = {w: figures[f"R@1 {w}"].value for w in WAYS}
        assert won == {w: 100.0 * (w == way) for w in WAYS}


def test_a_smaller_gallery_is_the_mean_over_all_of_its_kind(embedded):
    """Against galleries drawn one by one, each with the speaker's own face."""
    random = np.random.default_rng(2)
    real = random.standard_normal((30, 4)).astype(np.float32)
    made = (real + 1.2 * random.standard_normal((30, 4))).astype(np.float32)
    figures = compute("retrieval", embedded(made, real, names(30), names(30)), Options(gallery=8))
    away = ((made[:, None] - real) ** 2).sum(axis=2)
    draws, found = 1000, dict.fromkeys((1, 2, 5), 0)
    for i in range(30):
        others = np.delete(np.arange(30), i)
        drawn = random.permuted(np.tile(others, (draws, 1)), axis=1)[:, :7]
        rank = 1 + (away[i, drawn] < away[i, i]).sum(axis=1)
        found = {k: n + (rank <= k).sum() for k, n in found.items()}
    for k, count in found.items():
        assert figures[f"R@{k} L2"].value == pytest.approx(100 * count / (30 * draws), abs=0.8)
        assert figures[f"R@{k} L2"].chance == 100 * k / 8
        assert "gallery of 8 identities with one face each, of 30 at random" in figures[f"R@{k} L2"].protocol
    assert "R@10 L2" not in figures  # it would always be 100


def test_equal_faces_are_at_chance_and_not_first(embedded):
    same = np.tile(np.random.default_rng(3).standard_normal(6), (1000, 1))
    for figure in compute("retrieval", embedded(same, same[:250], names(250, 4), names(250))).values():
        assert figure.value == pytest.approx(figure.chance, abs=4 * deviation(figure))


def test_ties_are_in_random_order():
    faces = np.zeros((5, 3), dtype=np.float32)
    own = np.arange(5).repeat(200)
    nearer = others_nearer(np.zeros((1000, 3), np.float32), faces, own, 1.0, np.random.default_rng(0))
    assert np.bincount(nearer, minlength=5) == pytest.approx(200, abs=50)


def test_the_images_of_an_identity_take_turns(embedded):
    """Two people with an image just like what was generated and one far away. Two galleries: of the two near
    and the two far ones, of which p000 loses one; or of a near and a far one, and whose is far is lost."""
    real = np.array([[0.0, 1], [100, 0], [0, 2], [99, 1]])
    made = embedded(real[[0, 2]], real, names(2), names(2, 2))
    values = [compute("retrieval", made, Options(seed=seed))["R@1 L2"].value for seed in range(12)]
    assert set(values) == {75.0, 50.0}
    assert compute("retrieval", made) == compute("retrieval", made)


def test_ranks_that_the_gallery_cannot_miss_are_left_out(embedded):
    real = np.eye(5)
    assert set(compute("retrieval", embedded(real, real, names(5), names(5)))) == {
        f"R@{k} {way}" for k in (1, 2) for way in WAYS
    }


def test_speakers_without_a_face_are_left_out_and_silent_people_are_not(embedded):
    real = np.eye(4)
    figures = compute("retrieval", embedded(real[[0, 3]], real[:3], ["p000", "p999"], names(3)))
    assert figures["R@1 L1"].n == 1 and figures["R@1 L1"].value == 100
    assert "gallery of 3" in figures["R@1 L1"].protocol


def test_galleries_that_cannot_be(embedded):
    real = np.eye(3)
    whole = embedded(real, real, names(3), names(3))
    for size in (4, 1, -2):
        with pytest.raises(
            MetricError, match=f"gallery of {size}: these data have real faces of 3 identities"
        ):
            compute("retrieval", whole, Options(gallery=size))
    with pytest.raises(MetricError, match="of 1 identities"):
        compute("retrieval", embedded(real[:1], real[:1], names(1), names(1)))
