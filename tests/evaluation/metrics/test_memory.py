"""Memory: copies of training faces are found out, faces as new as the held-out ones are not."""

import numpy as np
import pytest
import torch

from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.metrics import memory
from voice2face_gan.evaluation.metrics.memory import (
    averaged,
    closest,
    closest_sheet,
    nearest_angle,
    nearest_image,
)
from voice2face_gan.evaluation.registry import Options


@pytest.fixture
def trained_on(tmp_path):
    """Function (faces, gender of each) -> a store whose training split they are, one person each."""

    def make(faces, gender=None, split="train") -> Store:
        gender = ["female", "male"] * len(faces) if gender is None else gender
        with StoreWriter(tmp_path / "store", {"n_mels": 64}, side=64, source={"layout": "test"}) as writer:
            for i, face in enumerate(faces.numpy()):
                record = Record(source=f"{i}", identity=f"t{i}", gender=gender[i], split=split)
                writer.add(record, None, face)
            writer.finish()
        return Store(tmp_path / "store")

    return make


@pytest.fixture
def new(people):
    """Function (count, seed) -> faces of one distribution."""
    return lambda count, seed: people(count, (["female", "male"] * count)[:count], seed)


def test_copies_are_found_out(build_eval_set, new, trained_on):
    trained = new(60, 0)
    figures = compute("memory", build_eval_set(trained[:40], new(40, 1), store=trained_on(trained)))
    for suffix in ("", ", pixels"):
        assert figures["generated nearest" + suffix].value == pytest.approx(0, abs=1e-9)
        assert figures["held-out real nearest" + suffix].value > 0.05
        assert figures["ratio" + suffix].value == pytest.approx(0, abs=1e-9)
        near = figures["nearer than held-out" + suffix]
        assert (near.value, near.low, near.high, near.chance, near.unit) == (100, 100, 100, 5, "%")
        assert "60 training faces" in near.protocol


def test_half_of_them_copies(build_eval_set, new, trained_on):
    trained = new(60, 0)
    made = torch.cat([trained[:50], new(50, 2)])
    near = compute("memory", build_eval_set(made, new(100, 1), store=trained_on(trained)))[
        "nearer than held-out"
    ]
    assert 50 <= near.value < 65 and near.low < 50 < near.high


def test_new_faces_are_as_far_as_held_out_ones(build_eval_set, new, trained_on):
    figures = compute("memory", build_eval_set(new(400, 2), new(400, 1), store=trained_on(new(200, 0))))
    for suffix in ("", ", pixels"):
        assert figures["ratio" + suffix].value == pytest.approx(1, abs=0.05)
        assert figures["ratio" + suffix].low < 1 < figures["ratio" + suffix].high
        near = figures["nearer than held-out" + suffix]
        assert 1 < near.value < 12 and near.low < 5 < near.high


def test_what_is_remembered_is_nearer_than_what_was_never_seen(build_eval_set, new, trained_on):
    """Copies of training faces against none of theirs, new faces and one average against both alike."""
    faces = new(160, 0)
    store = trained_on(faces)
    store.split[80:] = "val"
    made = {"copies": faces[:40], "new": new(300, 2), "average": faces.float().mean(0).byte()[None]}
    told = {
        name: compute("memory", build_eval_set(x, new(len(x), 1), store=store)) for name, x in made.items()
    }
    for suffix in ("", ", pixels"):
        ratio = {name: figures["trained / unseen" + suffix] for name, figures in told.items()}
        assert ratio["copies"].value == ratio["copies"].high == 0
        assert ratio["new"].value == pytest.approx(1, abs=0.06)
        assert ratio["average"].value == pytest.approx(1, abs=0.15)
        assert "of 80 training faces" in ratio["new"].protocol and ratio["new"].chance == 1
    judged = build_eval_set(new(40, 2), faces[80:120], whose=[f"t{i}" for i in range(80, 120)], store=store)
    assert "nearest of 40 training" in compute("memory", judged)["trained / unseen"].protocol


def test_too_few_unseen_faces_tell_nothing(build_eval_set, new, trained_on):
    assert "trained / unseen" not in compute(
        "memory", build_eval_set(new(4, 1), new(4, 2), store=trained_on(new(20, 0)))
    )


def test_a_faint_change_is_still_a_copy(build_eval_set, new, trained_on):
    trained = new(60, 0)
    changed = trained + torch.randint(0, 5, trained.shape, dtype=torch.uint8)
    figures = compute("memory", build_eval_set(changed, new(60, 1), store=trained_on(trained)))
    assert figures["nearer than held-out"].value == figures["nearer than held-out, pixels"].value == 100
    assert 0 < figures["ratio"].value < 0.1


def test_only_training_faces_of_the_gender_judged(build_eval_set, new, trained_on):
    trained = new(20, 0)
    part = build_eval_set(trained[1::2], new(10, 1), gender=["male"] * 10, store=trained_on(trained))
    part.about["gender"] = "male"
    figures = compute("memory", part)
    assert figures["ratio"].value == pytest.approx(0, abs=1e-9) and "10 training" in figures["ratio"].protocol
    part.about["gender"] = "female"
    assert compute("memory", part)["ratio"].value > 0.5


def test_nearest_by_hand():
    index = nearest_angle(np.eye(2, dtype=np.float32), np.float32([[0, 1], [0.6, 0.8], [-1, 0]]))
    assert np.allclose(index[0], [0.4, 0]) and index[1].tolist() == [1, 0]
    a = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    b = torch.stack([a[0] + 9, a[0] + 4])
    assert nearest_image(a, b) == pytest.approx([4])
    b[1, :4, :4] = 36  # one of 256 squares, 36 away, the others 4: sqrt((255 x 16 + 1296) / 256)
    assert nearest_image(a, b) == pytest.approx([np.sqrt((255 * 16 + 1296) / 256)])
    fine = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    fine[:, ::2] = 100  # stripes that a square of 4 x 4 pixels averages away
    assert np.allclose(averaged(fine), 50 - 127.5) and averaged(fine).shape == (1, 768)


def test_parts_give_the_same(new, monkeypatch):
    a, b = new(20, 0), new(30, 1)
    whole = nearest_image(a, b)
    monkeypatch.setattr(memory, "_FACES_PER_CHUNK", 7)
    assert np.allclose(nearest_image(a, b), whole)
    assert np.allclose(whole, [np.sqrt(((averaged(b) - x) ** 2).mean(axis=1)).min() for x in averaged(a)])


def test_the_interval_draws_people():
    """Two people whose faces are all at 1 and all at 3 from training faces."""
    made, who = np.array([1.0, 1, 1, 3, 3, 3]), np.array(["a"] * 3 + ["b"] * 3)
    low, high = memory.interval(made, who, made, who, seed=0)
    assert (low[0], high[0], low[2], high[2]) == (1, 3, 1, 1)


def test_closest(build_eval_set, new, trained_on):
    trained = new(60, 0)
    made = new(6, 2)
    made[3], made[4] = trained[17], trained[40]
    made[3, 5, 5, 0] += 9  # nearly
    made[5] = made[4]
    part = build_eval_set(made, new(4, 1), who=list("abcdee"), whose=list("abcd"), store=trained_on(trained))
    matches = closest(part, 3)
    assert [m.index for m in matches[:2]] == [4, 3]  # one face a speaker
    assert torch.equal(matches[0].face, trained[40]) and matches[0].distance == pytest.approx(0, abs=1e-9)
    assert torch.equal(matches[1].face, trained[17]) and 0 < matches[1].distance < matches[2].distance
    assert len(closest(part, 99)) == 5
    sheet = np.array(closest_sheet(part, 2, scale=1))
    assert sheet.shape == (130, 130, 3)
    assert np.array_equal(sheet[:64, :64], made[4].numpy())
    assert np.array_equal(sheet[66:, 66:], trained[17].numpy())
    part.generated = part.generated[:, ::2, ::2].contiguous()  # a model of 32 pixels
    assert closest_sheet(part, 2, scale=1).size == (66, 66)


def test_what_cannot_be_told(build_eval_set, new, trained_on):
    made, real = new(4, 1), new(4, 2)
    with pytest.raises(MetricError, match="images alone"):
        compute("memory", build_eval_set(made, real))
    store = trained_on(new(6, 0))
    with pytest.raises(MetricError, match="may have been"):
        compute("memory", build_eval_set(made, real, whose=["t0", "x", "y", "z"], store=store))
    with pytest.raises(MetricError, match="may have been"):
        compute("memory", build_eval_set(made, real, store=store, about={"trained_on": True}))
    with pytest.raises(MetricError, match="may have been"):
        closest(build_eval_set(made, real, store=store, about={"trained_on": True}))


def test_no_training_faces(build_eval_set, new, trained_on):
    with pytest.raises(MetricError, match="needs training faces.*'train' is empty"):
        compute("memory", build_eval_set(new(4, 1), new(4, 2), store=trained_on(new(6, 0), split="test")))


def test_a_model_of_other_data(build_eval_set, new, trained_on, model):
    """The checkpoint says that it was trained on the synthetic world of 14 people."""
    options = Options()
    part = build_eval_set(new(4, 1), new(4, 2), store=trained_on(new(6, 0)), model=model)
    compute("memory", part, options)
    (note,) = options.notes
    assert "84 faces of 14 identities" in note and "has 6 of 6" in note


def test_the_built_in_world(model, store):
    """With the shipped judge; the training faces' readings are kept on disk."""
    from voice2face_gan.evaluation.protocol import generate_eval_set

    options = Options()
    part = generate_eval_set(model, store)
    first = compute("memory", part, options)
    assert not options.notes and first["generated nearest"].n == 16
    assert first["held-out real nearest"].n == 24
    assert compute("memory", part, options) == first
