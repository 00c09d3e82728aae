"""The stage of the appearance model on the small world: its losses, what learns, what is kept and refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.errors import CheckpointError, DataError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.generators.appearance_model import AppearanceModel
from voice2face_gan.models.generators.expression import openings
from voice2face_gan.models.generators.face_decoder import FaceDecoder
from voice2face_gan.training.augmentation.windows import draw_windows
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.engine.warm_start import check_zoom
from voice2face_gan.training.fits.appearance_model import coefficients_of, take_decoder, textures_of
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.appearance_model import AppearanceModelStage

CPU = torch.device("cpu")
OWN = (
    "model.generator.linear=0",
    "appearance_model.flow_iterations=5",
    "run.log_every=1",
)


@pytest.fixture
def recipe(small_model, space_folder, decoder_folder):
    """Function (*overrides) -> a recipe of small nets."""
    folder = f"face_embedding.space={json.dumps(str(space_folder))}"
    decoder = f"appearance_model.decoder={json.dumps(str(decoder_folder))}"
    return lambda *overrides: load_recipe(
        "appearance-model", (*small_model, *OWN, folder, decoder, *overrides)
    )


@pytest.fixture
def make_stage(marked, recipe, space_encoder):
    """Function (*overrides, data, fit) -> a new stage, fitted."""

    def make(*overrides: str, data=marked, fit=True) -> AppearanceModelStage:
        encoder = load_checkpoint(space_encoder, need_generator=False)
        people = data.of_split("train"), data.of_split("val")
        stage = AppearanceModelStage(*people, encoder, recipe(*overrides), 0, CPU)
        if fit:
            stage.prepare(lambda sentence: None)
        return stage

    return make


def test_it_is_fitted_before_the_first_iteration_and_only_the_refiner_learns(make_stage):
    stage, said = make_stage("gan.ema_decay=0", fit=False), []
    assert not stage.generator.texture.weight.any()
    stage.prepare(said.append)
    assert stage.generator.texture.weight.any() and len(said) == 2
    assert "ears" in said[1].lower(), "the small world shows none"
    stage.prepare(said.append)
    assert len(said) == 2, "once"
    stage.step(0)
    before = {n: p.clone() for n, p in stage.generator.state_dict().items()}
    discriminator = [p.clone() for p in stage.discriminator_parameters]
    for iteration in (1, 2, 3):
        stage.step(iteration)
    changed = {n for n, p in stage.generator.state_dict().items() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if n.startswith("refiner.")}
    # But for a number that is added to all scores, which a relativistic loss does not see.
    pairs = zip(stage.discriminator_parameters, discriminator, strict=True)
    assert not [after for after, before in pairs if after.equal(before) and after.numel() > 1]


def test_the_ema_begins_with_what_was_fitted(make_stage):
    stage = make_stage()
    stage.step(0)
    for name in ("decoder", "shape", "texture", "flow"):
        ours, theirs = (getattr(net, name).state_dict() for net in (stage.generator, stage.generator_ema))
        assert all(torch.equal(part, theirs[key]) for key, part in ours.items()), name


def test_own_faces_have_their_own_coefficients_and_the_others_drawn_ones(make_stage):
    stage = make_stage()
    stage.step(0)
    model, batch = stage.generator, stage.batches.draw(1)
    assert batch.own_e.any() and not batch.own_e.all()
    with torch.no_grad():
        e, coefficients, coarse = stage._coarse(1, batch)
        faces = textures_of(model, batch.face_e, batch.real, batch.visible, 64 * batch.landmarks)
        own = coefficients_of(model, faces)
        drawn = model.flow.draw(e, model.truncated(stage.streams.z(1, 8)))
    wanted = torch.where(batch.own_e[:, None], own, drawn)
    torch.testing.assert_close(coefficients, wanted)
    assert model.expression.displacement.any()
    lips = openings((model.decoded(e, wanted).landmarks - model.warp.mean).flatten(1) / model.spread)[:, 0]
    torch.testing.assert_close(lips, torch.zeros_like(lips), atol=1e-3, rtol=0)
    torch.testing.assert_close(coarse, model.decoded(e, wanted, batch.own_e).image)
    assert not torch.allclose(coarse[batch.own_e], model.decoded(e, wanted).image[batch.own_e])
    assert torch.equal(e[batch.own_e], batch.face_e[batch.own_e])


def test_simulated_e_is_clipped_as_a_voices_is(make_stage):
    stage = make_stage("face_embedding.strength_range=[50,60]")
    limits = np.quantile(stage.batches.e.abs().numpy(), 0.95, axis=0)
    np.testing.assert_allclose(stage.limits, limits, atol=1e-3)  # the encoder has none
    stage.limits = torch.full((64,), 0.5)
    batch = stage.batches.draw(1)
    with torch.no_grad():
        e, *_ = stage._coarse(1, batch)
    assert batch.e[~batch.own_e].abs().max() > 1 and e[~batch.own_e].abs().max() <= 0.5


@pytest.mark.parametrize("window", [64, 32])
def test_the_losses_are_those_of_the_text(make_stage, window):
    """Of a later iteration, written out; the generator's through the discriminator after its step. All but
    the reading are of a part of the images."""
    overrides = (
        "r3gan.augment=0",
        "appearance_model.embedding_share=0.5",
        f"appearance_model.window={window}",
    )
    stage = make_stage(*overrides)
    assert stage.generator.state_dict().keys() == make_stage().generator.state_dict().keys()
    stage.step(0)
    batch = stage.batches.draw(1)
    own = batch.own_e
    with torch.no_grad():
        e, coefficients, coarse = stage._coarse(1, batch)
        part, judged = draw_windows(stage.seed, 1, 64, window, stage.config.face_scale)
        assert (judged.side, part.side) == (window, 64)
        whole = stage.generator.refine(e, coefficients, coarse, stage.generator.refined)  # all of it
        assert (whole - coarse).abs().max() > 1e-3
        shown = judged.of(batch.visible * stage.generator.refined)
        masked, shown_real = judged.of(whole) * shown, judged.of(batch.real) * shown
        before = F.softplus(stage.discriminator(masked) - stage.discriminator(shown_real)).mean()
        reading = stage.space.read(whole[:3], stage.streams.zooms(1)[:3])[0] - stage.space.centre
        target = stage.space.target(e[:3])[0] - stage.space.centre
    losses = {name: float(value) for name, value in stage.step(1).items()}
    assert losses.keys() == {
        *("D", "D_penalty", "G", "G_features", "G_l1", "G_coarse", "G_embedding"),
    }
    with torch.no_grad():
        real, fake_score = stage.discriminator(shown_real), stage.discriminator(masked)
        maps, wanted = (stage.discriminator.with_maps(x)[1] for x in (masked, shown_real))
    features = [(a - b)[own].abs().mean() / b.abs().mean() for a, b in zip(maps, wanted, strict=True)]
    expected = {
        "D": before,
        "G": F.softplus(real - fake_score).mean(),
        "G_l1": (masked - shown_real)[own].abs().mean(),
        "G_coarse": (F.avg_pool2d(whole, 8) - F.avg_pool2d(coarse, 8))[~own].abs().mean(),
        "G_features": sum(features) / len(features),
        "G_embedding": (1 - F.cosine_similarity(reading, target, dim=1)).mean(),
    }
    for name, value in expected.items():
        assert losses[name] == pytest.approx(float(value), rel=2e-3, abs=1e-6), name


def test_a_term_of_weight_0_is_left_out(make_stage):
    stage = make_stage("gan.l1=0", "appearance_model.embedding_loss=0", "appearance_model.feature_matching=0")
    assert not stage.step(0).keys() & {"G_l1", "G_embedding", "G_features"}


def test_a_resumed_stage_goes_on_as_an_uninterrupted_one(make_stage):
    whole, half = make_stage(), make_stage()
    for iteration in range(3):
        losses = whole.step(iteration)
    half.step(0)
    rest = make_stage(fit=False)
    rest.load(half.state())
    rest.prepare(lambda sentence: pytest.fail("it is fitted again"))
    for iteration in (1, 2):
        again = rest.step(iteration)
    for name, value in losses.items():
        assert float(again[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-7), name


def test_a_run_makes_a_checkpoint_that_answers_voices(tmp_path, marked, recipe, space_encoder):
    settings = {"data": "", "gender": "all", "seed": 0, "iterations": None, "encoder": str(space_encoder)}
    run = Run.create(tmp_path, recipe(), settings)
    assert train(run, marked, CPU).finished
    made = load_checkpoint(run.folder)
    assert isinstance(made.generator, AppearanceModel) and made.generator_config.face_scale == marked.zoom
    e, z = torch.randn(2, 64), torch.randn(2, 8)
    with torch.no_grad():
        plain, drawn = made.generator(e), made.generator(e, z)
    assert plain.shape == (2, 3, 64, 64) and not torch.equal(plain, drawn)
    assert (run.folder / "grids" / "0000004.png").is_file()


def test_a_store_without_landmarks_is_refused_with_what_to_do(make_stage, read_store):
    with pytest.raises(DataError, match="--set faces.landmarks=true"):
        make_stage(data=read_store)


def test_faces_of_another_size_than_it_was_fitted_on_are_refused(tmp_path, marked, recipe, space_encoder):
    settings = {"data": "", "gender": "all", "seed": 0, "iterations": None, "encoder": str(space_encoder)}
    run = Run.create(tmp_path, recipe(), settings)
    train(run, marked, CPU)
    made = load_checkpoint(run.folder)
    check_zoom(made, marked)
    marked.about = {**marked.about, "zoom": 1.4}
    with pytest.raises(DataError, match="--set faces.zoom=1"):
        check_zoom(made, marked)


def test_a_decoder_that_does_not_fit_is_refused_in_a_sentence(
    make_stage, decoder_folder, space_encoder, trained
):
    stage = make_stage(fit=False)
    given = load_checkpoint(decoder_folder)
    with pytest.raises(CheckpointError, match="takes e of the face space .*, and this one is other"):
        take_decoder(stage.generator, given, "other")
    with pytest.raises(CheckpointError, match="has no face decoder; train one with the recipe face-decoder"):
        take_decoder(stage.generator, load_checkpoint(trained), stage.space.name)
    wide = make_stage("model.generator.narrow=5", fit=False)
    with pytest.raises(CheckpointError, match="its narrow is 4, the recipe's 5"):
        wide.prepare(lambda sentence: None)


def test_a_decoders_linear_texture_is_made_smaller(make_stage, decoder_folder):
    """Of an image twice as large whose texture head works at half its side."""
    given = load_checkpoint(decoder_folder)
    config = replace(given.generator_config, side=128, head_scale=2, linear=5)
    torch.manual_seed(0)
    net = FaceDecoder(config)
    for part in net.linear.parameters():
        torch.nn.init.normal_(part, std=0.1)
    larger = replace(given, generator_config=config, generator=net)
    model = make_stage("model.generator.linear=5", "model.generator.head_gain=1", fit=False).generator
    take_decoder(model, larger, given.info["face_space"]["name"])
    e = torch.randn(2, 64)
    with torch.no_grad():
        theirs, ours = net.decoded(e), model.decoder.decoded(e)
        small = F.interpolate(net.linear.texture_of(net.stem(e)), (64, 64), mode="area")
        torch.testing.assert_close(model.decoder.linear.texture_of(model.decoder.stem(e)), small)
    torch.testing.assert_close(2 * ours.landmarks, theirs.landmarks, atol=1e-3, rtol=1e-4)
