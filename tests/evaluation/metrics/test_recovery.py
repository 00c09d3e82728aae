"""What of a voice's causes is in the face: the world is known, so are the answers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.metrics import recovery
from voice2face_gan.evaluation.metrics.recovery import (
    ATTRIBUTES,
    Reader,
    attributes_of,
    predicted_from_voice,
    r2,
)
from voice2face_gan.synthetic import VOICE_DETERMINED, VOICE_FREE, render, sample_speakers

SEED, PEOPLE = 0, 40


@pytest.fixture(autouse=True)
def few_readers(monkeypatch):
    """A reader that learnt from few people, so that it is there in a second."""
    monkeypatch.setattr(recovery, "_READER_SPEAKERS", 240)
    monkeypatch.setattr(recovery, "_READER_VIEWS", 1)


@pytest.fixture(scope="module")
def world():
    """(speakers, two real faces of each (2 x 40, 64, 64, 3), the names of all of these)."""
    some = sample_speakers(PEOPLE, seed=SEED)
    faces = torch.from_numpy(np.concatenate([render(some, seed=SEED, view=k) for k in range(2)]))
    return some, faces, some.name * 2


@pytest.fixture
def built(build_eval_set, world):
    """Function (generated faces, whose) -> an evaluation set of the synthetic world."""

    def make(generated, whose, store=None):
        about = {"source": {"layout": "synthetic", "seed": SEED}}
        return build_eval_set(
            generated, world[1], whose, world[2], store=store or SimpleNamespace(about=about)
        )

    return make


def test_real_faces_reach_the_ceiling(built, world):
    _, faces, names = world
    figures = compute("recovery", built(faces, names))
    for name in (*ATTRIBUTES, "determined", "free"):
        assert figures[name].value == figures[f"{name} ceiling"].value
        assert figures[name].low <= figures[name].value <= figures[name].high
    assert figures["determined"].value > 0.5 and figures["female"].value > 0.7
    # Whoever shows these people's own hair and skin has seen them: that is what a leak looks like.
    assert figures["skin_tone"].low > 0.5 and figures["free"].low > 0
    assert "is a leak" in figures["skin_tone"].protocol and figures["skin_tone"].chance == 0


def test_faces_of_others_recover_nothing(built, world):
    some, faces, names = world
    order = np.random.default_rng(3).permutation(PEOPLE)
    figures = compute("recovery", built(faces[:PEOPLE][order], some.name))
    assert figures["free"].value < 0 and np.mean([figures[a].value for a in VOICE_DETERMINED]) < 0
    assert figures["determined"].value < 0.1 < figures["determined ceiling"].value


def test_one_face_for_all_recovers_nothing(built, world):
    figures = compute("recovery", built(world[1][:1].repeat(PEOPLE, 1, 1, 1), world[0].name))
    assert all(figures[name].value <= 1e-9 for name in ATTRIBUTES)
    assert figures["determined"].value == pytest.approx(0, abs=1e-9) and figures["free"].value < 0


def test_several_clips_are_averaged(built, world, monkeypatch):
    """Two faces a speaker whose readings err in opposite directions by as much."""
    some, _, names = world
    truth = attributes_of(some)

    class Errs:
        def read(self, faces):
            return np.concatenate([truth + 1, truth - 1]) if len(faces) == 2 * PEOPLE else None

    monkeypatch.setattr(recovery, "fitted_reader", lambda speakers, views: Errs())
    figures = compute("recovery", built(world[1], names))
    assert all(figures[name].value == pytest.approx(1) for name in ATTRIBUTES)


def test_what_a_voice_tells():
    speakers = sample_speakers(500, seed=77)
    predicted = dict(
        zip(ATTRIBUTES, r2(attributes_of(speakers), predicted_from_voice(speakers)), strict=True)
    )
    assert predicted["female"] > 0.999  # f0 lies below 160 Hz or above
    assert predicted["age"] > 0.7 and predicted["brow_heaviness"] > 0.7
    assert all(0.2 < predicted[name] < 1 + 1e-9 for name in VOICE_DETERMINED)
    assert all(abs(predicted[name]) < 0.03 for name in VOICE_FREE)


def test_r2_by_hand():
    truth = np.array([[1.0, 5], [2, 5], [3, 5]])
    read = np.array([[1.0, 5], [2, 5], [2, 5]])
    scores = r2(truth, read)
    assert scores[0] == pytest.approx(1 - 1 / 2) and np.isnan(scores[1])
    # A speaker drawn twice counts twice; one not drawn not at all.
    twice = r2(truth, read, np.array([[2.0, 0, 1], [1, 1, 0]]))
    assert twice[0, 0] == pytest.approx(1 - 1 / (8 / 3)) and twice[1, 0] == pytest.approx(1)


def test_a_reader_reads_what_is_painted():
    """Faces whose red is the attribute."""
    rng = np.random.default_rng(0)
    red = rng.integers(0, 256, 60)
    faces = torch.from_numpy(rng.integers(0, 30, (60, 64, 64, 3), dtype=np.uint8))
    faces[..., 0] = torch.from_numpy(red.astype(np.uint8))[:, None, None]
    reader = Reader.fit(faces[:40], red[:40, None].astype(float))
    assert np.corrcoef(reader.read(faces[40:])[:, 0], red[40:])[0, 1] > 0.99


def test_attributes_that_nobody_differs_in_are_left_out(built, world):
    some, faces, _ = world
    women = np.flatnonzero(some.female)
    figures = compute("recovery", built(faces[women], [some.name[i] for i in women]))
    assert "female" not in figures and "age" in figures and np.isfinite(figures["determined"].value)
    assert figures["age"].n == len(women)


def test_what_is_needed(built, world, build_eval_set):
    some, faces, names = world
    elsewhere = SimpleNamespace(about={"source": {"layout": "voxceleb1"}})
    with pytest.raises(MetricError, match="needs the synthetic world"):
        compute("recovery", built(faces, names, elsewhere))
    with pytest.raises(MetricError, match="needs the synthetic world"):
        compute("recovery", build_eval_set(faces, faces, names))
    with pytest.raises(MetricError, match="10 speakers or more, and there are 3"):
        compute("recovery", built(faces[:3], some.name[:3]))
