"""Age, and gender as in the real faces: known values, from a face reader that reads pixels."""

import numpy as np
import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.correlation import pearson, per_identity, resampled_r
from voice2face_gan.evaluation.readers import Reading

READ = [20, 30, 40, 50, 60, 70]


def aged(people, ages, gender=None) -> torch.Tensor:
    """A face a person, with the age written where `ReadsPixels` reads it."""
    faces = people(len(ages), gender or (["female", "male"] * len(ages))[: len(ages)])
    faces[:, 0, 0, 1] = torch.tensor(ages, dtype=torch.uint8)
    return faces


def test_age_follows_the_real_faces(people, build_eval_set):
    """Ten years too old, but in order: r is 1, and a difference of ten."""
    figures = compute("age", build_eval_set(aged(people, [a + 10 for a in READ]), aged(people, READ)))
    assert set(figures) == {
        "r", "r, female", "r, male", "difference", "difference, female", "difference, male"
    }  # fmt: skip
    assert figures["r"].value == pytest.approx(1) and figures["r"].n == 6 and figures["r"].chance == 0
    assert figures["r, female"].value == pytest.approx(1) and figures["r, female"].n == 3
    assert figures["difference"].value == pytest.approx(10) and figures["difference"].unit == "years"


def test_age_between_the_genders_is_not_age_within_them(people, build_eval_set):
    """Women young and men old, but within either the wrong way round."""
    made, real = [20, 70, 21, 71, 22, 72], [22, 72, 21, 71, 20, 70]
    figures = compute("age", build_eval_set(aged(people, made), aged(people, real)))
    assert figures["r"].value > 0.99
    assert figures["r, female"].value == pytest.approx(-1) and figures["r, male"].value == pytest.approx(-1)


def test_age_is_the_mean_of_a_persons_images(people, build_eval_set):
    """p0 is heard twice, at 10 and 30, and seen twice, at 20 and 40."""
    made, real = aged(people, [10, 30, 50, 90]), aged(people, [20, 40, 50, 90])
    who, whose = ["p0", "p0", "p1", "p2"], ["p0", "p0", "p1", "p2"]
    figures = compute("age", build_eval_set(made, real, who, whose, ["female"] * 4))
    assert figures["r"].value == pytest.approx(np.corrcoef([20, 50, 90], [30, 50, 90])[0, 1])
    assert figures["difference"].value == pytest.approx((((20 + 0) / 2) + 0 + 0) / 3)


def test_labels_and_the_judges_own_r(people, build_eval_set):
    """The label is the reverse of what is read in the real faces; p0's is unknown."""
    label = np.array([np.nan, 60, 50, 40, 30, 20])
    figures = compute("age", build_eval_set(aged(people, READ), aged(people, READ), real_age=label))
    assert figures["r label"].value == pytest.approx(-1) and figures["r label"].n == 5
    assert figures["real"].value == pytest.approx(-1) and figures["r"].value == pytest.approx(1)
    nobody = build_eval_set(aged(people, READ), aged(people, READ), real_age=np.full(6, np.nan))
    assert not {"r label", "real"} & set(compute("age", nobody))


def test_one_age_for_all_has_no_r(people, build_eval_set):
    figure = compute("age", build_eval_set(aged(people, [40] * 6), aged(people, READ)))["r"]
    assert np.isnan(figure.value) and figure.low is None and figure.to_dict()["value"] is None


def test_age_needs_three_people_and_a_judge_that_reads_it(people, build_eval_set):
    with pytest.raises(MetricError, match="3 identities"):
        compute("age", build_eval_set(aged(people, [20, 30]), aged(people, [20, 30])))

    class Blind:
        name, about = "blind", {}

        def read(self, faces):
            return Reading(np.ones((len(faces), 2)), None, None, np.ones(len(faces), dtype=bool))

    with pytest.raises(MetricError, match="blind does not read age"):
        compute("age", build_eval_set(aged(people, READ), aged(people, READ), reader=Blind()))


def test_the_interval_of_r_is_that_of_the_people():
    """Of 300 people with r = 0.6 the interval is that of Fisher's z: tanh(atanh r +- 1.96 / sqrt(297))."""
    random = np.random.default_rng(0)
    a = random.standard_normal(300)
    b = 0.6 * a + 0.8 * random.standard_normal(300)
    r, drawn = resampled_r(a, b, 0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert r == pytest.approx(np.corrcoef(a, b)[0, 1])
    ends = np.tanh(np.arctanh(r) + np.array([-1.96, 1.96]) / np.sqrt(297))
    assert (low, high) == pytest.approx(tuple(ends), abs=0.03)


def test_correlation_of_columns_and_constants():
    a = np.array([[1.0, 5, 1e8], [2, 5, 1e8], [4, 5, 1e8 + 1e-3]])
    r = pearson(a, np.array([[3.0, 1, 1], [5, 2, 2], [9, 3, 4]]))
    assert r[0] == pytest.approx(1) and np.isnan(r[1:]).all()
    means = per_identity(np.array([1.0, np.nan, 3]), np.array(["a", "a", "b"]), np.array(["a", "b", "c"]))
    assert means[:2].tolist() == [1, 3] and np.isnan(means[2])


# Gender as in the real faces


def test_gender_without_labels(people, build_eval_set):
    """p0's real faces look female, female, male; p1's male; p1's generated face looks female."""
    real = people(4, ["female", "female", "male", "male"])
    made = people(3, ["female", "male", "female"])
    judged = build_eval_set(made, real, ["p0", "p0", "p1"], ["p0", "p0", "p0", "p1"], ["", "", ""])
    figures = compute("gender", judged)
    assert set(figures) == {"real face"}
    assert figures["real face"].value == pytest.approx((50 + 0) / 2) and figures["real face"].n == 3


def test_gender_of_people_without_real_faces_is_left_out(people, build_eval_set):
    made, real = people(2, ["female", "male"]), people(1, ["female"])
    figures = compute("gender", build_eval_set(made, real, whose=["p0"]))
    assert figures["real face"].n == 1 and figures["real face"].value == 100
    assert figures["generated"].n == 2
