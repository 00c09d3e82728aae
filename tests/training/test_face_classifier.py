"""Training a judge: it learns, its figures are of people it never saw, of each data set by itself."""

import copy

import numpy as np
import pytest
import torch

from voice2face_gan.data.batches.sampling import FaceBank, classes
from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.data.synthetic import JUDGE_SEED, synthetic_store
from voice2face_gan.errors import DataError
from voice2face_gan.models.face_readers.classifier import FaceClassifier
from voice2face_gan.training import face_classifier
from voice2face_gan.training.augmentation.face_augment import augment_faces
from voice2face_gan.training.engine.trainer import Reporter
from voice2face_gan.training.face_classifier import measure, nearer, train_face_classifier, trained_on


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


class Told(Reporter):
    def __init__(self):
        self.losses = []

    def tick(self, name, iteration, losses, per_second):
        self.losses.append((iteration, losses))


@pytest.fixture(scope="module")
def world(own_cache):
    return synthetic_store("synthetic:50", seed=JUDGE_SEED, clips=0)


@pytest.fixture(scope="module")
def singles(tmp_path_factory, store):
    """Twenty faces of 32 pixels, one a person, half of the genders unknown, no ages; half are held out."""
    faces = torch.from_numpy(np.asarray(store.faces[::6])).unfold(1, 2, 2).unfold(2, 2, 2)
    small = faces.float().mean(dim=(-1, -2)).round().byte().numpy()
    rows = np.flatnonzero(store.has_face)[::6]
    source = {"layout": "faces", "family": "faces/singles"}
    folder = tmp_path_factory.mktemp("singles") / "store"
    with StoreWriter(folder, store.about["features"], side=32, source=source) as writer:
        for i, row in enumerate(rows):
            gender = str(store.gender[row]) if i % 4 < 2 else None
            split = "train" if i % 2 else "test"
            record = Record(source=f"{i}.png", identity=f"single{i}", gender=gender, split=split)
            writer.add(record, None, small[store.face_index[row] // 6])
        writer.finish()
    return Store(folder)


def test_figures_have_the_values_they_must(store):
    test = store.of_split("test")
    figures = measure(Perfect(test), test)
    assert figures["faces"] == 24 and figures["identities"] == 4
    assert figures["gender_accuracy"] == 1 and figures["same_person_nearer"] == 1
    assert figures["same_person_nearer_same_gender"] == 1
    assert figures["age_r"] == pytest.approx(1) and figures["age_mean_absolute_error"] < 1e-4


def test_a_judge_learns(monkeypatch, world):
    monkeypatch.setattr(face_classifier, "_BATCH", 32)
    told = Told()
    net, figures = train_face_classifier([world], 40, 0, torch.device("cpu"), told)
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert list(figures) == ["synthetic"]
    assert figures["synthetic"]["identities"] == 10 and figures["synthetic"]["faces"] == 60
    assert [step for step, _ in told.losses] == [20, 40]
    early, late = (losses for _, losses in told.losses)
    assert late["gender"] < 0.6 and late["identity"] < early["identity"]  # chance is log 2 = 0.69
    # Its own figures are of people it never saw; these are of those it was trained on.
    assert measure(FaceClassifier("", net, {}), world.of_split("train"))["same_person_nearer"] > 0.5
    assert trained_on(world) == "210 rendered faces of 35 people (synthetic world 1, training split)"


def test_faces_taken_nearer_are_refused(singles):
    near = copy.copy(singles)
    near.about = {**singles.about, "zoom": 1.4}
    with pytest.raises(DataError, match=r"zoom 1.4.*faces.zoom=1"):
        train_face_classifier([near], 1, 0, torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.slow
def test_people_with_one_face_and_without_labels_are_learnt_from(monkeypatch, singles):
    """Each is told from the others through what disturbs its face; what is unknown costs nothing."""
    monkeypatch.setattr(face_classifier, "_BATCH", 16)
    monkeypatch.setattr(face_classifier, "_WEIGHTS", {"identity": 1.0, "gender": 1.0, "age": 1.0})
    told = Told()
    net, figures = train_face_classifier([singles], 60, 0, torch.device("cpu"), told)
    losses = [losses for _, losses in told.losses]
    assert losses[-1]["identity"] < 0.7 * losses[0]["identity"]
    assert all(row["age"] == 0 for row in losses)
    assert list(figures) == ["faces/singles"]
    assert set(figures["faces/singles"]) == {"faces", "identities", "gender_accuracy"}
    # Two disturbed forms of a training face are nearer to each other than to another's.
    train = singles.of_split("train")
    faces, _ = FaceBank(train, np.zeros(len(train), dtype=np.int64)).batch(np.arange(len(train)))
    twice = torch.cat(
        [augment_faces(face_classifier.at_side(faces), np.random.default_rng(k)) for k in (5, 6)]
    )
    h = torch.nn.functional.normalize(net(twice)[0], dim=1).numpy()
    labels = np.tile(np.arange(len(train)), 2)
    assert nearer(h, labels, np.zeros(len(labels))) > 0.75


def test_data_sets_are_measured_one_by_one(monkeypatch, world, store, singles):
    """Nobody of an unseen store is trained on, and everybody of it is measured."""
    monkeypatch.setattr(face_classifier, "_BATCH", 8)
    _, figures = train_face_classifier([world], 1, 0, torch.device("cpu"), unseen=[singles])
    assert {k: v["faces"] for k, v in figures.items()} == {"synthetic": 60, "faces/singles": len(singles)}
    with pytest.raises(DataError, match="'synthetic' is given twice"):
        train_face_classifier([world], 1, 0, torch.device("cpu"), unseen=[store])


def test_both_genders_are_needed(store):
    with pytest.raises(DataError, match="both genders"):
        train_face_classifier([store.of_gender("female")], 1, 0, torch.device("cpu"))


# Who is nearer


def test_nearer_by_hand():
    """Persons 0 and 1 share a direction, but for one face of 0 that points at 2; 2's faces agree."""
    h = np.array([[1.0, 0], [0, 1], [1, 0], [1, 0], [0, 1], [0, 1]])
    labels = np.array([0, 0, 1, 1, 2, 2])
    share = nearer(h[[2, 3, 4, 5]], labels[[2, 3, 4, 5]], np.zeros(4))
    assert share == 1
    # Face 0: its fellow (1) is never nearer. Face 2: 3 is nearer than 1, 4, 5, as near as 0. And so on.
    wins = {0: 0, 1: 0, 2: 3 / 4, 3: 3 / 4, 4: 3 / 4, 5: 3 / 4}
    assert nearer(h, labels, np.zeros(6)) == pytest.approx(np.mean(list(wins.values())), abs=0.02)


def test_nearer_within_a_group_only():
    """Two women alike in all, two men unlike them: sex alone tells them apart, within it nothing."""
    h = np.array([[1.0, 0], [1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]])
    labels, sex = np.repeat(np.arange(4), 2), np.repeat(["female", "male"], 4)
    assert nearer(h, labels, sex) == 0  # as near is not nearer
    assert nearer(h, labels, np.zeros(8)) == pytest.approx(4 / 6, abs=0.02)
    assert nearer(h[:2], labels[:2], sex[:2]) is None and nearer(h[::2], labels[::2], sex[::2]) is None


def test_chance_is_one_half():
    random = np.random.default_rng(0)
    h = random.standard_normal((3000, 16))
    labels = np.repeat(np.arange(1000), 3)
    assert nearer(h, labels, np.zeros(3000)) == pytest.approx(0.5, abs=0.02)


# What disturbs a face


def test_disturbed_faces(store):
    faces, _ = FaceBank(store, np.zeros(len(store), dtype=np.int64)).batch(np.arange(16))
    before = faces.clone()
    a, b, c = (augment_faces(faces, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(faces, before)
    assert a.shape == faces.shape and a.dtype == torch.float32 and a.abs().max() < 3
    # Neither is it another face: each is more like itself than like the others, for most.
    flat, disturbed = (
        torch.nn.functional.normalize((x - x.mean(dim=(1, 2, 3), keepdim=True)).flatten(1), dim=1)
        for x in (faces[::6], a[::6])
    )
    assert ((disturbed @ flat.t()).argmax(dim=1) == torch.arange(3)).sum() >= 2
