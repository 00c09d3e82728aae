"""Training a judge: it learns, its figures are of people it never saw."""

import pytest
import torch

from voice2face_gan.data.builtin import JUDGE_SEED, builtin_store
from voice2face_gan.data.sampling import FaceBank, classes
from voice2face_gan.errors import DataError
from voice2face_gan.models.judge import Judge
from voice2face_gan.training import judge
from voice2face_gan.training.judge import measure, train_judge
from voice2face_gan.training.loop import Reporter


class Perfect:
    """Reads gender and age from a table of faces, and gives each person an axis of her own."""

    def __init__(self, store):
        names, labels = classes(store)
        faces, _ = FaceBank(store, labels).batch(torch.arange(len(store)).numpy())
        self.known = {face.numpy().tobytes(): i for i, face in enumerate(faces)}
        self.store, self.labels = store, labels

    def read(self, faces):
        rows = [self.known[face.numpy().tobytes()] for face in faces]
        h = torch.eye(64)[self.labels[rows]]
        return (
            h,
            torch.tensor(self.store.gender[rows] == "female").float(),
            torch.tensor(self.store.age[rows]).float(),
        )


def test_figures_have_the_values_they_must(store):
    test = store.of_split("test")
    figures = measure(Perfect(test), test)
    assert figures["faces"] == 24 and figures["identities"] == 4
    assert figures["gender_accuracy"] == 1 and figures["same_person_nearer"] == 1
    assert figures["age_r"] == pytest.approx(1) and figures["age_mean_absolute_error"] < 1e-4


class Told(Reporter):
    def __init__(self):
        self.losses = []

    def tick(self, name, iteration, losses, per_second):
        self.losses.append((iteration, losses))


def test_a_judge_learns(monkeypatch):
    world = builtin_store("builtin:50", seed=JUDGE_SEED, clips=0)
    monkeypatch.setattr(judge, "_BATCH", 32)
    told = Told()
    net, figures = train_judge(world, 40, 0, torch.device("cpu"), told)
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert figures["identities"] == 10 and figures["faces"] == 60
    assert [step for step, _ in told.losses] == [20, 40]
    early, late = (losses for _, losses in told.losses)
    assert late["gender"] < 0.6 and late["identity"] < early["identity"]  # chance is log 2 = 0.69
    # Its own figures are of people it never saw; these are of those it was trained on.
    assert measure(Judge("", net, {}), world.of_split("train"))["same_person_nearer"] > 0.5


def test_both_genders_are_needed(store):
    with pytest.raises(DataError, match="both genders"):
        train_judge(store.of_gender("female"), 1, 0, torch.device("cpu"))
