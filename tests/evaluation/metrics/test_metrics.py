"""Figures whose values are known: identical sets, known shifts, a face reader that reads what we wrote."""

import numpy as np
import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import METRICS, compute
from voice2face_gan.evaluation.registry import Options, mean_over_identities

GENDERS = ["female", "male"] * 4


def test_identical_faces(people, build_eval_set):
    faces = people(8, GENDERS)
    same = build_eval_set(faces, faces)
    assert compute("l1", same)["l1"].value == 0
    assert compute("cosine", same)["cosine"].value == pytest.approx(1, abs=1e-6)
    figures = compute("gender", same)
    assert {f.value for f in figures.values()} == {100.0}
    names = {f"{which}{whom}" for which in ("generated", "real face") for whom in ("", ", female", ", male")}
    assert set(figures) == names | {"real"}


def test_l1_of_a_known_shift(people, build_eval_set):
    faces = people(6, GENDERS[:6]).clamp(0, 250)
    assert compute("l1", build_eval_set(faces + 5, faces))["l1"].value == pytest.approx(5, abs=1e-4)
    black, white = (
        torch.zeros(2, 64, 64, 3, dtype=torch.uint8),
        torch.full((2, 64, 64, 3), 255, dtype=torch.uint8),
    )
    figure = compute("l1", build_eval_set(black, white))["l1"]
    assert figure.value == 255 and figure.n == 2 and figure.counted == "clips"


def test_l1_averages_faces_then_clips_then_people(build_eval_set):
    """p0: two clips at 10 and 20 from its one face; p1: one clip, at 0 and 40 from its two faces."""

    def flat(*values):
        return torch.stack([torch.full((64, 64, 3), v, dtype=torch.uint8) for v in values])

    figure = compute(
        "l1", build_eval_set(flat(10, 20, 100), flat(0, 100, 140), ["p0", "p0", "p1"], ["p0", "p1", "p1"])
    )["l1"]
    assert figure.value == pytest.approx((15 + 20) / 2) and figure.n == 3


def test_the_cosine_of_others_is_of_the_same_gender_only(people, build_eval_set):
    faces = people(4, ["female", "female", "male", "male"])
    faces[:, 4:8, 4:8] = 128
    faces[0, 4:8, 4:8, 0], faces[1, 4:8, 4:8, 0] = 255, 0  # opposite in their embeddings, but for rounding
    faces[2:, 4:8, 4:8, 1] = 255
    figures = compute("cosine", build_eval_set(faces, faces, gender=["female", "female", "male", "male"]))
    assert figures["cosine"].value == pytest.approx(1, abs=1e-5)
    assert figures["other"].value == pytest.approx((-1 - 1 + 1 + 1) / 4, abs=0.02)


def test_a_single_person_has_no_others(people, build_eval_set):
    faces = people(1, ["female"])
    assert set(compute("cosine", build_eval_set(faces, faces))) == {"cosine"}


def test_gender_counts_people_not_clips(people, build_eval_set):
    """p0 (female): 3 clips right, 1 wrong; p1 (male): its one clip wrong."""
    generated = people(5, ["female", "female", "female", "male", "female"])
    real = people(2, ["female", "male"])
    who = ["p0"] * 4 + ["p1"]
    figures = compute("gender", build_eval_set(generated, real, who, ["p0", "p1"], ["female"] * 4 + ["male"]))
    assert figures["generated"].value == pytest.approx((75 + 0) / 2)
    assert figures["generated, female"].value == pytest.approx(75)
    assert figures["generated, male"].value == 0 and figures["generated, male"].n == 1
    assert figures["real"].value == 100 and figures["real"].chance == 50 and figures["real"].unit == "%"


def test_unknown_genders_are_left_out(people, build_eval_set):
    faces = people(3, ["female", "male", "male"])
    figures = compute("gender", build_eval_set(faces, faces, gender=["female", "male", ""]))
    assert figures["generated"].n == 2 and figures["generated"].value == 100
    unlabelled = compute("gender", build_eval_set(faces, faces, gender=["", "", ""]))
    assert set(unlabelled) == {"real face"} and unlabelled["real face"].value == 100


# Intervals


def test_the_mean_is_over_people():
    mean, low, high = mean_over_identities(np.array([1.0, 1, 1, 5]), np.array(["a", "a", "a", "b"]))
    assert mean == 3 and (low, high) == (1, 5)


def test_a_single_person_has_no_spread():
    assert mean_over_identities(np.array([2.0, 4.0]), np.array(["a", "a"])) == (3, 3, 3)


def test_the_interval_is_that_of_the_people():
    """400 people of standard deviation 1, ten equal clips each: +-1.96 / 20, not / 63."""
    values = np.random.default_rng(0).standard_normal(400)
    mean, low, high = mean_over_identities(np.repeat(values, 10), np.repeat(np.arange(400), 10))
    assert mean == pytest.approx(values.mean())
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.12)


def test_the_seed_decides_the_interval():
    values, who = np.random.default_rng(0).standard_normal(50), np.arange(50)
    assert mean_over_identities(values, who, 1) == mean_over_identities(values, who, 1)
    assert mean_over_identities(values, who, 1) != mean_over_identities(values, who, 2)


# Names


def test_every_metric_says_how_it_was_made(people, build_eval_set):
    assert {"fid", "l1", "cosine", "gender"} <= set(METRICS)
    faces = people(8, GENDERS)
    for name in ("l1", "cosine", "gender"):
        for figure in compute(name, build_eval_set(faces, faces), Options(seed=1)).values():
            told = figure.to_dict()
            assert told["protocol"] and told["counted"] and told["n"] > 0
            assert told["low"] <= told["value"] <= told["high"]


def test_an_unknown_metric_is_refused():
    with pytest.raises(MetricError, match="'fidd'; there are .*cosine, .*fid, "):
        compute("fidd", None)
