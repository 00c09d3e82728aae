"""Figures from e: a linear map that is known is found; nothing where there is nothing to fit on."""

import numpy as np
import pytest
import torch

from voice2face_gan.data.synthetic import synthetic_store
from voice2face_gan.evaluation import compute, protocol
from voice2face_gan.evaluation.from_embedding import MIN_PEOPLE, TrainingPart, training_part
from voice2face_gan.evaluation.metrics import recovery
from voice2face_gan.evaluation.metrics.recovery import attributes_of
from voice2face_gan.synthetic import sample_speakers


def known(e: np.ndarray, faces: torch.Tensor) -> TrainingPart:
    """A clip and a face a person."""
    people = np.arange(len(e))
    return TrainingPart(np.array([f"t{i:03d}" for i in people]), e, people, faces, people)


def test_the_map_is_that_of_a_ridge_regression_and_means_are_of_identities():
    random = np.random.default_rng(0)
    e, weights = random.standard_normal((300, 4)), random.standard_normal((4, 2))
    part = known(e, torch.zeros(300, 1))
    new = random.standard_normal((5, 4))
    found = part.map_to(e @ weights + 7, torch.from_numpy(new))
    assert np.abs(found - new @ weights / 1.1 - 7).max() < 0.3, "a ridge of a tenth of the variance"
    part = TrainingPart(part.names[:2], e[:3], np.array([0, 0, 1]), torch.zeros(3, 1), np.array([1, 0, 1]))
    assert part.means(np.array([[2.0], [5.0], [4.0]])).tolist() == [[5.0], [3.0]]


@pytest.mark.parametrize("informed", [True, False])
def test_matching_from_e_says_what_e_knows(build_eval_set, people, informed):
    """The generated faces are all alike; whether e knows the faces is seen in the rows from e alone."""
    names = [f"p{i}" for i in range(40)]
    real, other = people(40, ["female"] * 40), people(300, ["female"] * 300, seed=5)
    random = np.random.default_rng(1)

    def e_of(faces):
        pixels = faces[:, 4:8, 4:8].flatten(1).numpy() / 127.5 - 1
        return pixels if informed else random.standard_normal((len(faces), 48))

    eval_set = build_eval_set(
        real[:1].repeat(40, 1, 1, 1), real, names, names, ["female"] * 40,
        model=object(), e=torch.from_numpy(e_of(real)).float(), fitted_on={"part": known(e_of(other), other)},
    )  # fmt: skip
    figures = compute("matching", eval_set)
    assert (figures["G from e"].value > 95) is informed and figures["U"].value < 60
    assert "fitted on 300 training identities" in figures["U from e"].protocol
    assert figures["U from e"].n == figures["U"].n
    assert "G from e" not in compute("matching", eval_set.with_generated(real)), "faces of another e"


def test_of_a_model_on_the_synthetic_world(model, monkeypatch):
    """Training people of the data are read: their e, their faces, and, for recovery, their causes."""
    monkeypatch.setattr(recovery, "_READER_SPEAKERS", 240)
    monkeypatch.setattr(recovery, "_READER_VIEWS", 1)
    world = synthetic_store("synthetic:20")
    eval_set = protocol.generate_eval_set(model, world, "all")
    part = training_part(eval_set)
    assert len(part.names) == 14 >= MIN_PEOPLE and part.e.shape == (28, 64) and len(part.faces) == 28
    assert (
        training_part(eval_set.part(*(np.ones(len(x), bool) for x in (eval_set.generated, eval_set.real))))
        is part
    )
    figures = compute("recovery", eval_set)
    assert figures["determined from e"].chance == 0 and "free from e" not in figures
    truth = attributes_of(sample_speakers(20, seed=0))
    guess = part.map_to(truth[recovery._number(part.names)], eval_set.e)
    who = recovery._number(eval_set.generated_identity)
    read = recovery._per_speaker(guess, np.unique(who, return_inverse=True)[1])
    expected = recovery.r2(truth[np.unique(who)], read)[recovery.ATTRIBUTES.index("age")]
    assert figures["age from e"].value == pytest.approx(expected)


def test_too_few_training_people_give_no_rows(model):
    few = protocol.generate_eval_set(model, synthetic_store("synthetic:10"), "test")
    assert few.e is not None and training_part(few) is None
    assert "U from e" not in compute("matching", few)
