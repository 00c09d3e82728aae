"""Faces from noise against faces from voices: closed forms, a model that hears, one that is deaf."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.metrics.noise import (
    CLIPS_PER_COLOUR,
    STATE,
    kept_discriminator,
    noise_clips,
    noise_embeddings,
    placements,
    realism,
)
from voice2face_gan.evaluation.registry import Options
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.pipeline import VoiceToFace


def test_placements_are_the_auc():
    noise = np.array([0.0, 1.5])
    assert placements(np.array([1.0, 2, 0]), noise).tolist() == [0.5, 1, 0.25]
    rows = np.array([[0.0, 1.5], [2.0, 3.0], [-1.0, -2.0]])  # of each its own
    assert placements(np.array([1.0, 2, 0]), rows).tolist() == [0.5, 0.25, 1]


def test_realism_by_hand():
    """Real faces at 0, 1, 3 and 7 have neighbours at 1, 1, 2 and 4; the balls of 0 and 1 stay."""
    real, made = np.array([[0.0], [1], [3], [7]]), np.array([[0.5], [5], [1]])
    assert realism(made[:2], real, neighbour=1).tolist() == pytest.approx([1 / 0.5, 1 / 4])
    assert np.isfinite(realism(made[2:], real, neighbour=1)).all()


def test_white_and_pink_noise():
    clips = noise_clips(16_000, seed=1)
    assert clips.shape == (2 * CLIPS_PER_COLOUR, 16_000) and np.allclose(clips.std(axis=1), 0.1, atol=1e-4)
    power = (np.abs(np.fft.rfft(clips)) ** 2).reshape(2, CLIPS_PER_COLOUR, -1).mean(axis=1)
    low, high = power[:, 200:400].sum(axis=1), power[:, 2000:4000].sum(axis=1)
    # In an octave ten times as high there is ten times the white noise, and as much pink noise.
    assert high / low == pytest.approx([10, 1], rel=0.1)
    assert np.array_equal(clips, noise_clips(16_000, seed=1))
    assert not np.array_equal(clips, noise_clips(16_000, seed=2))


class Paints:
    """A model that paints one of two faces: embeddings above 0.5 are voices."""

    def __init__(self, voice, noise):
        self.faces = torch.stack([noise, voice])
        self.checkpoint, self.encoder = SimpleNamespace(folder=None), SimpleNamespace(takes="log_mel")

    def generator_input(self, log_mel, strength=None):
        assert log_mel.shape == (64, 1000)
        return log_mel.mean()[None]

    zoom = 1.0

    def decode(self, e, z=None, noise_scale=1.0):
        return self.faces[(e[:, 0] > 0.5).long()]


@pytest.mark.parametrize(("hears", "auc"), [(True, 100.0), (False, 50.0)])
def test_a_model_that_hears_and_one_that_is_deaf(people, build_eval_set, hears, auc):
    real = people(8, ["female"] * 8)
    far = torch.full((64, 64, 3), 255, dtype=torch.uint8)
    near = real.float().mean(dim=0).to(torch.uint8)
    model = Paints(near, far if hears else near)
    voices = SimpleNamespace(about={"features": FeatureSettings().to_dict()})
    given = build_eval_set(near[None].repeat(8, 1, 1, 1), real, model=model, voices=voices)
    figures = compute("noise", given)
    assert set(figures) == {"AUC realism", "realism voice", "realism noise"}
    figure = figures["AUC realism"]
    assert (figure.value, figure.chance, figure.unit, figure.n) == (auc, 50, "%", 8)
    assert (figures["realism voice"].value > figures["realism noise"].value) is hears
    assert figures["realism noise"].n == 2 * CLIPS_PER_COLOUR


def test_what_is_needed(people, build_eval_set):
    faces = people(3, ["female"] * 3)
    with pytest.raises(MetricError, match="needs the model"):
        compute("noise", build_eval_set(faces, faces))
    voices = SimpleNamespace(about={"features": FeatureSettings().to_dict()})
    with pytest.raises(MetricError, match="more than 3 real faces"):
        compute("noise", build_eval_set(faces, faces, model=Paints(faces[0], faces[1]), voices=voices))


# The run's own discriminator


def test_the_name_of_the_training_state():
    from voice2face_gan.training.run import folder as run

    assert run.STATE == STATE


def test_the_runs_discriminator_is_asked(trained, store, judge_folder):
    from voice2face_gan.evaluation.protocol import generate_eval_set
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.models.discriminators.wen2019 import Discriminator, FaceTrunk

    model = VoiceToFace.from_pretrained(trained)
    given = generate_eval_set(model, store, reader=open_reader(str(judge_folder)))
    figures = compute("noise", given, Options(seed=5))
    state = torch.load(model.checkpoint.folder / STATE, weights_only=True)
    config = model.checkpoint.generator_config
    trunk, head = FaceTrunk(config), Discriminator(config)
    trunk.load_state_dict(state["trunk"])
    head.load_state_dict(state["discriminator"])
    e, noise = given.generated, model.decode(noise_embeddings(given, 5))
    with torch.no_grad():
        a, b = (torch.sigmoid(head(trunk(to_unit(x)))) for x in (e, noise))
    assert figures["discriminator voice"].value == pytest.approx(float(a.mean()), abs=1e-5)
    assert figures["discriminator noise"].value == pytest.approx(float(b.mean()), abs=1e-5)
    above = (a[:, None] > b).double().mean() + (a[:, None] == b).double().mean() / 2
    assert figures["AUC discriminator"].value == pytest.approx(100 * float(above), abs=0.5)


@pytest.fixture(scope="module")
def r3gan_folder(tmp_path_factory, trained, store):
    """The checkpoint of a r3gan run of an iteration, whose discriminator is far from where it began."""
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.recipe.recipe import load_recipe
    from voice2face_gan.training.stages.r3gan import R3GANStage

    small = ("model.generator.width=4", "model.generator.z_dim=6", "gan.batch=8")
    small += ("data.crop_frames=[100,200]",)
    recipe = load_recipe("r3gan", (*small, "run.precision='fp32'"))
    encoder = load_checkpoint(trained / "encoder", need_generator=False)
    people = store.of_split("train"), store.of_split("val")
    stage = R3GANStage(*people, encoder, recipe, 0, torch.device("cpu"))
    stage.step(0)
    with torch.no_grad():
        for parameter in (*stage.discriminator_parameters, *stage.generator_ema.parameters()):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    folder = stage.checkpoint(1).save(tmp_path_factory.mktemp("r3gan") / "gan")
    torch.save(stage.state(), folder / STATE)
    return folder


def test_a_discriminator_of_pairs_is_asked_at_each_voices_own_e(r3gan_folder, store, judge_folder):
    from voice2face_gan.evaluation.protocol import generate_eval_set, generator_inputs
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.models.discriminators.r3gan import FaceTrunk, Heads

    model, options = VoiceToFace.from_pretrained(r3gan_folder), Options(seed=5)
    given = generate_eval_set(model, store, reader=open_reader(str(judge_folder)))
    figures = compute("noise", given, options)
    assert options.notes == []
    assert set(figures) == {"AUC realism", "realism voice", "realism noise", "AUC discriminator"}
    state = torch.load(r3gan_folder / STATE, weights_only=True)
    config = model.checkpoint.generator_config
    trunk, heads = FaceTrunk(config), Heads(config, 14)
    trunk.load_state_dict(state["trunk"])
    heads.load_state_dict(state["heads"])
    others = to_unit(model.decode(noise_embeddings(given, 5)))
    placed = []
    with torch.no_grad():
        e = generator_inputs(model, given.voices)
        for face, at in zip(given.generated, e, strict=True):
            own = heads.score(trunk(to_unit(face[None])), at[None])
            made = heads.score(trunk(others), at.expand(len(others), -1))
            placed.append(((own > made).double() + (own == made).double() / 2).mean())
    assert figures["AUC discriminator"].value == pytest.approx(
        100 * float(sum(placed) / len(placed)), abs=0.5
    )
    assert figures["AUC discriminator"].n == len(given.generated) and "this voice" in str(figures)


def test_what_a_score_adds_at_one_e_counts_for_nothing(r3gan_folder, people):
    """Scores at other e may lie anywhere; a face is compared at its own alone, and of one face none is above
    the other."""
    kept = kept_discriminator(VoiceToFace.from_pretrained(r3gan_folder))
    faces, e = people(12, ["female"] * 12), torch.randn(6, 64, generator=torch.Generator().manual_seed(2))
    plain = placements(*kept.scores(faces[:6], faces[6:], e))
    assert 0 < plain.mean() < 1
    one = faces[:1].expand(70, -1, -1, -1)
    assert placements(*kept.scores(one, one[:5], torch.randn(70, 64))).tolist() == [0.5] * 70
    score = kept.heads.score
    kept.heads.score = lambda h, e: score(h, e) + e.sum(dim=1)
    assert placements(*kept.scores(faces[:6], faces[6:], e)).tolist() == plain.tolist()


def test_a_state_that_cannot_be_read(run_copy, model, store, judge_folder):
    from voice2face_gan.evaluation.protocol import generate_eval_set
    from voice2face_gan.evaluation.readers import open_reader

    assert kept_discriminator(model) is None  # a packaged checkpoint
    spoilt = VoiceToFace.from_pretrained(run_copy)
    (spoilt.checkpoint.folder / STATE).write_bytes(b"not a state")
    with pytest.raises(MetricError, match="holds no discriminator"):
        kept_discriminator(spoilt)
    options = Options()
    figures = compute(
        "noise", generate_eval_set(spoilt, store, reader=open_reader(str(judge_folder))), options
    )
    assert set(figures) == {"AUC realism", "realism voice", "realism noise"}
    assert len(options.notes) == 1 and STATE in options.notes[0]
