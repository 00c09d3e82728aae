"""Identification: a model that paints whom its clip says, in a store whose last clips are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.metrics import identity
from voice2face_gan.evaluation.metrics.identity import centroids, some_faces
from voice2face_gan.evaluation.protocol import generate_eval_set
from voice2face_gan.evaluation.registry import Options

FEATURES = {"n_mels": 4, "hop_ms": 10, "min_frames": 20}
NAMES = [f"p{i}" for i in range(9)]  # p0 to p7 train, p8 tests


@pytest.fixture(scope="module")
def faces():
    """The face of each person, uint8 (9, 64, 64, 3)."""
    return np.random.default_rng(0).integers(0, 256, (len(NAMES), 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def small(tmp_path_factory, faces):
    """Three voices and two faces a person; a voice's numbers say whom to paint: the last one its speaker, the
    others the next person. p6 has one voice, p7 has none."""
    folder = tmp_path_factory.mktemp("store") / "small"
    with StoreWriter(folder, FEATURES) as writer:
        for clip in range(3):
            for i, name in enumerate(NAMES):
                says = i if clip == 2 else (i + 1) % 8
                mel = np.full((4, 30), says, dtype=np.float32)
                silent = name == "p7" or (name == "p6" and clip < 2)
                labels = {"gender": ("female", "male")[i % 2], "split": "test" if i == 8 else "train"}
                writer.add(
                    Record(f"{name}/{clip}", name, **labels),
                    None if silent else mel,
                    faces[i] if clip < 2 else None,
                )
        writer.finish()
    return Store(folder)


@pytest.fixture
def heard(build_eval_set, faces):
    """Function (store, shift, info of the checkpoint) -> an evaluation set with a model that paints the
    person whom a
    voice says, or the one `shift` further."""

    def make(store, shift: int = 0, about=None, **info):
        model = SimpleNamespace(
            generator_input=lambda mel, strength=None: mel.mean(dim=1),
            zoom=1.0,
            decode=lambda e, z=None, noise_scale=1.0: torch.from_numpy(faces)[(e[:, 0].long() + shift) % 6],
            checkpoint=SimpleNamespace(info={"data": {"identities": 7}, **info}),
            encoder=SimpleNamespace(takes="log_mel"),
        )
        images = torch.from_numpy(faces[8:])
        return build_eval_set(images, images, ["p8"], model=model, store=store, about=about or {})

    return make


def test_who_is_painted_is_found(heard, small):
    """p0 to p5 have a last clip of more than one; p6, with one clip, is in the gallery; p7 and p8 are not."""
    figures = compute("identity", heard(small))
    assert set(figures) == {f"top-{k}{s}" for k in (1, 5) for s in ("", ", female", ", male")}
    assert {f.value for f in figures.values()} == {100.0}
    assert figures["top-1"].n == 6 and figures["top-1, male"].n == 3 and figures["top-1"].unit == "%"
    assert figures["top-1"].chance == pytest.approx(100 / 7)
    assert figures["top-5"].chance == pytest.approx(500 / 7)
    assert "nearest of 7 training identities' mean faces" in figures["top-1"].protocol
    assert "reads-pixels" in figures["top-1"].protocol


def test_who_paints_others_is_not(heard, small):
    figures = compute("identity", heard(small, shift=1))
    assert figures["top-1"].value == 0 and figures["top-5"].value > 0


def test_the_protocol_tells_what_training_had_to_do_with_the_clips(heard, small):
    def told(**info) -> str:
        return compute("identity", heard(small, **info))["top-1"].protocol

    assert told().endswith("the clip was trained on")
    assert told(recipe={"data": {"hold_out_clip": False}}).endswith("the clip was trained on")
    assert told(recipe={"data": {"hold_out_clip": True}}).endswith("the clip was held out from training")
    assert told(recipe={"data": {"split": "all"}}, data={"identities": 8}).endswith("the clip was trained on")
    assert "OTHER data (700 identities, and here are 7" in told(data={"identities": 700})
    options = Options()
    compute("identity", heard(small), options)
    assert not options.notes
    compute("identity", heard(small, data={"identities": 6}), options)
    assert len(options.notes) == 1 and "6 identities" in options.notes[0]


def test_a_model_of_one_gender_is_asked_for_its_own(heard, small):
    figures = compute("identity", heard(small, gender="female", data={"identities": 4}))
    assert set(figures) == {"top-1"}  # of p0, p2, p4 and p6: top-5 would always be 100
    assert figures["top-1"].n == 3 and figures["top-1"].chance == 25
    of_case = compute("identity", heard(small, about={"gender": "male"}))
    assert of_case["top-1"].n == 3 and "nearest of 3 training" in of_case["top-1"].protocol


def test_big_sets_are_drawn_from(heard, small, monkeypatch):
    monkeypatch.setattr(identity, "MAX_IDENTITIES", 5)
    drawn = [compute("identity", heard(small), Options(seed=seed))["top-1"] for seed in range(8)]
    assert {f.n for f in drawn} == {5}  # p6, who has one clip, comes last
    assert all(f.value == 100 and f.chance == 20 for f in drawn)
    assert all("nearest of 5 training" in f.protocol and "the 5 drawn from 7" in f.protocol for f in drawn)
    assert drawn[0] == compute("identity", heard(small))["top-1"]
    monkeypatch.setattr(identity, "MAX_IDENTITIES", 6)
    only_two = np.isin(small.identity, ["p4", "p5"]) | np.char.endswith(small.source, "/0") & small.has_face
    few = small.select(only_two | (small.source == "p6/2"))
    assert compute("identity", heard(few))["top-1"].n == 2


def test_a_person_has_no_more_faces_than_the_limit(small, monkeypatch):
    part = small.select(small.has_face)
    everything = some_faces(part, np.random.default_rng(0))
    assert np.array_equal(everything.face_index, part.face_index)
    monkeypatch.setattr(identity, "MAX_FACES_PER_IDENTITY", 1)
    kept = [some_faces(part, np.random.default_rng(seed)) for seed in range(2)]
    for some in kept:
        assert sorted(some.identity.tolist()) == NAMES
    assert not np.array_equal(kept[0].face_index, kept[1].face_index)


def test_a_centroid_is_the_mean_of_unit_vectors():
    unit = np.array([[0, 1], [1, 0], [0.6, 0.8], [-1, 0], [1, 0]], dtype=np.float32)
    middle = centroids(unit, np.array(["b", "a", "a", "c", "c"]))
    assert middle == pytest.approx(np.array([[2, 1] / np.sqrt(5), [0, 1], [0, 0]]), abs=1e-6)


def test_what_cannot_be_asked(heard, small, build_eval_set, faces):
    images = torch.from_numpy(faces)
    with pytest.raises(MetricError, match="a checkpoint and its data"):
        compute("identity", build_eval_set(images, images))
    with pytest.raises(MetricError, match="training identities with voices and faces: .*'train' is empty"):
        compute("identity", heard(small.of_split("test")))
    with pytest.raises(MetricError, match="of 1 in these data, 1 have two voices"):
        compute("identity", heard(small.select(small.identity == "p0")))
    first = small.select(np.char.endswith(small.source, "/0"))
    with pytest.raises(MetricError, match="of 6 in these data, 0 have two voices"):
        compute("identity", heard(first))


def test_a_trained_model(model, store, judge_folder):
    from voice2face_gan.evaluation.readers import open_reader

    figures = compute("identity", generate_eval_set(model, store, reader=open_reader(str(judge_folder))))
    assert figures["top-1"].n == 14 and figures["top-5"].chance == pytest.approx(500 / 14)
    assert figures["top-1"].value <= figures["top-5"].value
    assert "judge-random" in figures["top-1"].protocol
    held_out = model.checkpoint.info["recipe"]["data"].get("hold_out_clip", False)
    assert figures["top-1"].protocol.endswith("held out from training" if held_out else "trained on")
