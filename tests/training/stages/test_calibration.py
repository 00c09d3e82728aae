"""The stage that calibrates an appearance model, on the small world: its loss, what learns, how it begins."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.data.batches.sampling import gaussian
from voice2face_gan.errors import CheckpointError, DataError, RecipeError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.conditioning import soft_clip
from voice2face_gan.models.generators.regions import smooth_blur
from voice2face_gan.models.registry import build_generator, generator_config
from voice2face_gan.training.engine.warm_start import given_nets
from voice2face_gan.training.probes.gender import embed_store
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.calibration import FINE, CalibrationStage

CPU = torch.device("cpu")
OWN = (
    "model.generator.texture_side=32",
    "model.generator.linear=8",
    "model.generator.texture_noise=2",
    "model.generator.detail_channels=[16,16,16]",
)


@pytest.fixture
def recipe(small_model, space_folder):
    """Function (*overrides) -> the recipe of small nets."""
    folder = f"face_embedding.space={json.dumps(str(space_folder))}"
    return lambda *overrides: load_recipe("face-detail-calibrated", (*small_model, *OWN, folder, *overrides))


@pytest.fixture
def make_stage(marked, recipe, space_encoder):
    """Function (*overrides, given) -> a new stage that begins with weights and config, or with a model that
    draws some face of each e."""

    def make(*overrides: str, given=None) -> CalibrationStage:
        encoder = load_checkpoint(space_encoder, need_generator=False)
        people = marked.of_split("train"), marked.of_split("val")
        stage = CalibrationStage(*people, encoder, recipe(*overrides), 0, CPU)
        weights, config = given or some_model(stage.config)
        assert not stage.take_generator(weights, config), "its rate is the recipe's whole one"
        return stage

    return make


def some_model(config, seed: int = 3):
    """Weights of a model whose faces differ by e and noise, and its config."""
    torch.manual_seed(seed)
    model = build_generator(config)
    for name, part in model.named_parameters():
        if name.startswith(("decoder.", "shape.", "texture.")) and part.ndim > 1:
            torch.nn.init.normal_(part, std=0.3 / part.shape[1] ** 0.5)
    return model.state_dict(), config


def test_faces_come_to_show_what_e_says_by_the_stem_alone(make_stage):
    stage = make_stage("appearance_model.fine_loss=0", "appearance_model.image_loss=0", "gan.lr=0.02")
    before = {n: p.clone() for n, p in stage.generator.state_dict().items()}
    with torch.no_grad():
        average = stage.generator(torch.zeros(1, 64))
    losses = [stage.step(0) for _ in range(12)]  # of one batch
    assert losses[0].keys() == {"G_embedding", "G_attributes", "G_image", "G_fine"}
    total = [float(x["G_embedding"] + 0.05 * x["G_attributes"]) for x in losses]
    assert total[-1] < 0.9 * total[0], total
    after = stage.generator.state_dict()
    assert {n for n, p in after.items() if not torch.equal(p, before[n])} == {"decoder.stem.weight"}
    expected = before["decoder.stem.weight"] @ stage.map.weight
    torch.testing.assert_close(after["decoder.stem.weight"], expected)
    with torch.no_grad():
        torch.testing.assert_close(stage.generator(torch.zeros(1, 64)), average)
    assert stage.discriminator_optimiser is None


def test_the_loss_is_that_of_the_text(make_stage):
    """Of a later iteration, written out."""
    stage = make_stage("gan.lr=0.05")
    first = stage.before.state_dict()
    stage.step(0)
    model, space = stage.generator, stage.space
    e, z = stage._e(stage.streams, 1), stage.streams.every_second_z(1, 8)
    with torch.no_grad():
        faces, before = model(e, z).clamp(-1, 1), stage.before(e, z).clamp(-1, 1)
        embedding, attributes = space.read(faces, stage.streams.zooms(1))
        plain = [stage._e(replace(stage.streams, batch=32), i) for i in range(4)]
        read = [space.read(stage.before(e, torch.zeros(32, 8)).clamp(-1, 1)) for e in plain]
        means = [torch.cat(parts).mean(dim=0) for parts in zip(*read, strict=True)]
        asked = [torch.cat(parts).mean(dim=0) for parts in zip(*map(space.target, plain), strict=True)]
        wanted, sex_age = space.target(e)
        cosine = F.cosine_similarity(embedding - means[0], wanted - asked[0])
        change = faces - before
        blur = smooth_blur(64, FINE)
        losses = {
            "G_embedding": 1 - cosine.mean(),
            "G_attributes": ((attributes - means[1]) - (sex_age - asked[1])).square().mean(),
            "G_image": change.square().mean(),
            "G_fine": (change - blur @ change @ blur.t()).square().mean(),
        }
    assert change.abs().max() > 1e-3
    found = stage.step(1)
    for name, value in losses.items():
        assert float(found[name]) == pytest.approx(float(value), rel=2e-3, abs=1e-7), name
    assert stage.before.state_dict().keys() == first.keys()
    assert all(torch.equal(part, first[name]) for name, part in stage.before.state_dict().items())


def test_e_is_that_of_voices_at_strengths_of_the_recipe(make_stage, marked):
    stage = make_stage("face_embedding.strength_range=[1.5,3.0]", "gan.batch=64")
    voices = marked.of_split("train")
    voices = voices.select(voices.has_voice)
    known = embed_store(voices, stage.encoder, stage.controls, CPU)
    torch.testing.assert_close(stage.voices, known)
    e, z = stage._e(stage.streams, 2), stage.streams.every_second_z(2, 8)
    items = torch.from_numpy(stage.sampler.draw(2, 64))
    # Elements far below their limits are as they are.
    strengths = []
    for found, voice in zip(e, known[items], strict=True):
        small = found.abs() < 0.5 * stage.limits
        strength = (found[small] / voice[small]).median()
        torch.testing.assert_close(found, soft_clip(strength * voice[None], stage.limits)[0])
        strengths.append(float(strength))
    assert 1.5 <= min(strengths) < 1.8 and 2.7 < max(strengths) <= 3.0
    assert (z[::2] == 0).all() and torch.equal(z[1::2], gaussian((64, 8), 0, "z", 2)[1::2])


def test_a_calibration_goes_on_where_it_was(make_stage):
    whole, rest = make_stage(), make_stage(given=some_model(make_stage().config, seed=4))
    whole.step(0)
    rest.load(deepcopy(whole.state()))
    again, found = rest.step(1), whole.step(1)
    for name, value in found.items():
        assert float(again[name]) == pytest.approx(float(value), rel=1e-4), name
    torch.testing.assert_close(rest.generator.decoder.stem.weight, whole.generator.decoder.stem.weight)


def test_what_is_calibrated_is_a_trained_model_with_the_same_detail(make_stage, recipe, tmp_path):
    run = Run.create(tmp_path, recipe(), {"gender": "all", "init": None})
    with pytest.raises(CheckpointError, match="calibrates a trained model: give default, or .* with --init"):
        given_nets(run)
    made = make_stage().checkpoint(4)
    run.settings["init"] = str(made.save(tmp_path / "one"))
    assert given_nets(run)[0].folder == tmp_path / "one"
    two = replace(made, generator_config=replace(made.generator_config, detail_steps=2))
    run.settings["init"] = str(two.save(tmp_path / "two"))
    config = generator_config({"type": "r3gan", "embedding": 64, "width": 2})
    other = replace(made, generator_config=config, generator=build_generator(config))
    with pytest.raises(CheckpointError, match="other has no appearance model to calibrate: give default"):
        run.settings["init"] = str(other.save(tmp_path / "other"))
        given_nets(run)
    run.settings["init"] = str(tmp_path / "two")
    with pytest.raises(CheckpointError, match="two is drawn with .*detail_steps = 2, and .* 1: "):
        given_nets(run)


def test_a_model_without_voices_is_not_calibrated(marked, recipe, space_encoder):
    encoder = load_checkpoint(space_encoder, need_generator=False)
    without = replace(encoder, encoder_config=replace(encoder.encoder_config))
    object.__setattr__(without.encoder_config, "type", "none")
    people = marked.of_split("train"), marked.of_split("val")
    with pytest.raises(DataError, match="by voices' e; give a checkpoint with a voice encoder"):
        CalibrationStage(*people, without, recipe(), 0, CPU)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("appearance_model.embedding_loss=0", "needs appearance_model.embedding_loss above 0"),
        ("appearance_model.fine_loss=-1", "fine_loss must not be negative"),
        ("appearance_model.flow_iterations=5", "fitted already"),
        ("appearance_model.portraits=0.5", "only a diffusion learns from portraits"),
        ("face_embedding.simulated_voices=0.5", "e is that of the data's voices"),
        ("gan.g_adversarial=1", "only the refiner learns against a discriminator"),
    ],
)
def test_a_recipe_that_cannot_calibrate_is_refused(recipe, override, problem):
    with pytest.raises(RecipeError, match=problem):
        recipe(override)


def test_weights_of_the_calibration_are_refused_elsewhere():
    with pytest.raises(RecipeError, match="needs appearance_model.part = 'calibration'"):
        load_recipe("face-detail", ("appearance_model.fine_loss=3",))
