"""Faces from noise against faces from voices: closed forms, a model that hears, one that is deaf."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from voice2face_gan.audio.features import FeatureSettings
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.noise import (
    CLIPS,
    STATE,
    kept_discriminator,
    noise_clips,
    noise_faces,
    placements,
    realism,
)
from voice2face_gan.evaluation.registry import Options
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.pipeline import VoiceToFace


def test_placements_are_the_auc():
    assert placements(np.array([1.0, 2, 0]), np.array([0.0, 1.5])).tolist() == [0.5, 1, 0.25]


def test_realism_by_hand():
    """Real faces at 0, 1, 3 and 7 have neighbours at 1, 1, 2 and 4; the balls of 0 and 1 stay."""
    real, made = np.array([[0.0], [1], [3], [7]]), np.array([[0.5], [5], [1]])
    assert realism(made[:2], real, neighbour=1).tolist() == pytest.approx([1 / 0.5, 1 / 4])
    assert np.isfinite(realism(made[2:], real, neighbour=1)).all()


def test_white_and_pink_noise():
    clips = noise_clips(16_000, seed=1)
    assert clips.shape == (2 * CLIPS, 16_000) and np.allclose(clips.std(axis=1), 0.1, atol=1e-4)
    power = (np.abs(np.fft.rfft(clips)) ** 2).reshape(2, CLIPS, -1).mean(axis=1)
    low, high = power[:, 200:400].sum(axis=1), power[:, 2000:4000].sum(axis=1)
    # In an octave ten times as high there is ten times the white noise, and as much pink noise.
    assert high / low == pytest.approx([10, 1], rel=0.1)
    assert np.array_equal(clips, noise_clips(16_000, seed=1))
    assert not np.array_equal(clips, noise_clips(16_000, seed=2))


class Paints:
    """A model that paints one of two faces: embeddings above 0.5 are voices."""

    def __init__(self, voice, noise):
        self.faces = torch.stack([noise, voice])
        self.checkpoint = SimpleNamespace(folder=None)

    def embed(self, log_mel):
        assert log_mel.shape == (64, 1000)
        return log_mel.mean()[None]

    def decode(self, e):
        return self.faces[(e[:, 0] > 0.5).long()]


@pytest.mark.parametrize(("hears", "auc"), [(True, 100.0), (False, 50.0)])
def test_a_model_that_hears_and_one_that_is_deaf(people, case, hears, auc):
    real = people(8, ["female"] * 8)
    far = torch.full((64, 64, 3), 255, dtype=torch.uint8)
    near = real.float().mean(dim=0).to(torch.uint8)
    model = Paints(near, far if hears else near)
    voices = SimpleNamespace(about={"features": FeatureSettings().to_dict()})
    given = case(near[None].repeat(8, 1, 1, 1), real, model=model, voices=voices)
    figures = compute("noise", given)
    assert set(figures) == {"AUC realism", "realism voice", "realism noise"}
    figure = figures["AUC realism"]
    assert (figure.value, figure.chance, figure.unit, figure.n) == (auc, 50, "%", 8)
    assert (figures["realism voice"].value > figures["realism noise"].value) is hears
    assert figures["realism noise"].n == 2 * CLIPS


def test_what_is_needed(people, case):
    faces = people(3, ["female"] * 3)
    with pytest.raises(MetricError, match="needs the model"):
        compute("noise", case(faces, faces))
    voices = SimpleNamespace(about={"features": FeatureSettings().to_dict()})
    with pytest.raises(MetricError, match="more than 3 real faces"):
        compute("noise", case(faces, faces, model=Paints(faces[0], faces[1]), voices=voices))


# The run's own discriminator


def test_the_name_of_the_training_state():
    from voice2face_gan.training import run

    assert run.STATE == STATE


def test_the_runs_discriminator_is_asked(trained, store, judge_folder):
    from voice2face_gan.evaluation.judges import open_judge
    from voice2face_gan.evaluation.protocol import generate_case
    from voice2face_gan.models.wen2019 import Discriminator, FaceTrunk

    model = VoiceToFace.from_pretrained(trained)
    given = generate_case(model, store, judge=open_judge(str(judge_folder)))
    figures = compute("noise", given, Options(seed=5))
    state = torch.load(model.checkpoint.folder / STATE, weights_only=True)
    trunk, head = FaceTrunk(model.config), Discriminator(model.config)
    trunk.load_state_dict(state["trunk"])
    head.load_state_dict(state["discriminator"])
    heard, noise = given.generated, noise_faces(model, store.about["features"], 5)
    with torch.no_grad():
        a, b = (torch.sigmoid(head(trunk(to_unit(x)))) for x in (heard, noise))
    assert figures["discriminator voice"].value == pytest.approx(float(a.mean()), abs=1e-5)
    assert figures["discriminator noise"].value == pytest.approx(float(b.mean()), abs=1e-5)
    above = (a[:, None] > b).double().mean() + (a[:, None] == b).double().mean() / 2
    assert figures["AUC discriminator"].value == pytest.approx(100 * float(above), abs=0.5)


def test_a_state_that_cannot_be_read(run_copy, model, store, judge_folder):
    from voice2face_gan.evaluation.judges import open_judge
    from voice2face_gan.evaluation.protocol import generate_case

    assert kept_discriminator(model) is None  # a packaged checkpoint
    spoilt = VoiceToFace.from_pretrained(run_copy)
    (spoilt.checkpoint.folder / STATE).write_bytes(b"not a state")
    with pytest.raises(MetricError, match="holds no discriminator"):
        kept_discriminator(spoilt)
    options = Options()
    figures = compute("noise", generate_case(spoilt, store, judge=open_judge(str(judge_folder))), options)
    assert set(figures) == {"AUC realism", "realism voice", "realism noise"}
    assert len(options.notes) == 1 and STATE in options.notes[0]
