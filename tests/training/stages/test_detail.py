"""The stage of an appearance model's detail on the small world: its loss, what learns, where it starts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.data.batches.sampling import gaussian
from voice2face_gan.errors import CheckpointError, DataError, RecipeError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.generators.detail import MOVED, SPREAD
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.engine.warm_start import given_nets, start_from
from voice2face_gan.training.fits.appearance_model import E_NOISE, coefficients_of, textures_of
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.detail import DetailStage, repeated_beyond

CPU = torch.device("cpu")
SMALL = (
    "model.generator.side=64",
    "model.generator.texture_side=32",
    "model.generator.narrow=4",
    "model.generator.linear=0",
    "model.generator.shape_components=3",
    "model.generator.texture_components=5",
    "model.generator.texture_noise=2",
    "model.generator.flow_width=16",
    "model.generator.flow_blocks=1",
    "model.generator.flow_steps=2",
    "model.generator.channels=[4,4,4]",
    "appearance_model.flow_iterations=5",
    "gan.batch=6",
    "gan.iterations=4",
    "run.log_every=1",
    "run.precision='fp32'",
    "run.tensorboard=false",
)
DETAIL = ("model.generator.detail_channels=[16,16,16]", "model.generator.detail_steps=2")


@pytest.fixture
def recipe(space_folder, decoder_folder):
    """Function (name, *overrides) -> a recipe of small nets."""
    folder = f"face_embedding.space={json.dumps(str(space_folder))}"
    decoder = f"appearance_model.decoder={json.dumps(str(decoder_folder))}"
    return lambda name, *overrides: load_recipe(name, (*SMALL, folder, decoder, *overrides))


@pytest.fixture
def decoder_folder(decoder_folder, tmp_path):
    """The small world's face decoder with textures of 32 pixels."""
    given = load_checkpoint(decoder_folder)
    config = replace(given.generator_config, side=32)
    net = type(given.generator)(config)
    shapes = net.state_dict()
    fitting = {k: v for k, v in given.generator.state_dict().items() if shapes[k].shape == v.shape}
    net.load_state_dict(fitting, strict=False)
    return replace(given, generator_config=config, generator=net).save(tmp_path / "decoder")


@pytest.fixture
def make_stage(marked, recipe, space_encoder):
    """Function (*overrides, fit) -> a new stage, fitted."""

    def make(*overrides: str, fit=True) -> DetailStage:
        encoder = load_checkpoint(space_encoder, need_generator=False)
        people = marked.of_split("train"), marked.of_split("val")
        stage = DetailStage(*people, encoder, recipe("face-detail", *DETAIL, *overrides), 0, CPU)
        if fit:
            stage.prepare(lambda sentence: None)
        return stage

    return make


def test_only_the_diffusion_learns_and_there_is_no_discriminator(make_stage):
    stage = make_stage("gan.ema_decay=0")
    before = {n: p.clone() for n, p in stage.generator.state_dict().items()}
    for iteration in range(6):
        assert stage.step(iteration).keys() == {"G_detail"}
    changed = {n for n, p in stage.generator.state_dict().items() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if n.startswith("diffusion.")}
    assert stage.discriminator_optimiser is None


def test_the_loss_is_that_of_the_text(make_stage):
    """Of a later iteration, written out."""
    stage = make_stage("gan.ema_decay=0")
    stage.step(0)
    model, batch = stage.generator, stage.batches.draw(1)
    assert batch.own_e.all(), "each face by its own e"
    sigma, moved, kept, length = stage._drawn(1)
    assert sigma.shape == moved.shape == kept.shape == length.shape == (6,)
    e = length[:, None] * batch.e + E_NOISE * gaussian(batch.e.shape, 0, "noise", 1)
    with torch.no_grad():
        coefficients = coefficients_of(
            model, textures_of(model, batch.e, batch.real, batch.visible, 64 * batch.landmarks)
        )
        for i, count in enumerate(kept.int().tolist()):
            coefficients[i, 3 + count :] = 0
        coarse = F.avg_pool2d(model.decoded(batch.e, coefficients, torch.ones(6)).image, 2)
        hidden = F.max_pool2d(1 - batch.visible, 2)
        detail = repeated_beyond((F.avg_pool2d(batch.real, 2) - coarse) / SPREAD, 1 - hidden)
        noise, added = (gaussian(detail.shape, 0, s, 1) for s in ("detail noise", "coarse noise"))
        wanted = model.diffusion.loss(
            detail, coarse + moved[:, None, None, None] * added, 1 - hidden, e, sigma, moved, noise
        ).mean()
    assert float(stage.step(1)["G_detail"]) == pytest.approx(float(wanted), rel=1e-4)


def test_what_is_hidden_repeats_what_is_next_to_it():
    images = torch.arange(2 * 3 * 16.0).view(2, 3, 4, 4)
    visible = torch.zeros(2, 1, 4, 4)
    visible[0, :, 1:3, :3] = 1
    visible[1] = 1
    filled = repeated_beyond(images, visible)
    assert torch.equal(filled[1], images[1])
    rows, columns = [1, 1, 2, 2], [0, 1, 2, 2]
    assert torch.equal(filled[0], images[0][:, rows][:, :, columns])


def test_faces_that_are_mostly_hidden_are_left_out(make_stage, marked):
    whole = len(make_stage(fit=False).batches.faces)
    part = marked.of_split("train")
    part = part.select(part.has_face)
    box = np.array(marked.visible_box)
    some = part.face_index[::2]
    box[some] = [10, 10, 50, 50]  # of 64 pixels: 39 %
    marked.visible_box = box
    assert len(make_stage(fit=False).batches.faces) == whole - len(some)
    box[:] = [10, 10, 50, 50]
    with pytest.raises(DataError, match="75 %"):
        make_stage(fit=False)


def test_what_is_drawn_is_spread_as_the_text_says(make_stage):
    stage = make_stage("gan.batch=2000", fit=False)
    sigma, moved, kept, length = stage._drawn(3)
    assert float((length == 1).float().mean()) == pytest.approx(0.5, abs=0.05) and length.min() < 0.05
    assert float(sigma.log().mean()) == pytest.approx(0, abs=0.1)
    assert float(sigma.log().std()) == pytest.approx(1.2, abs=0.1)
    assert float((moved == 0).float().mean()) == pytest.approx(0.3, abs=0.04) and moved.max() <= MOVED
    assert torch.bincount(kept.int()).tolist() == [pytest.approx(667, abs=80)] * 3
    assert not torch.equal(stage._drawn(4)[0], sigma)


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
    assert float(again["G_detail"]) == pytest.approx(float(losses["G_detail"]), rel=1e-4)


def test_it_starts_from_a_model_without_detail_at_its_whole_rate_and_goes_on_from_one_with_it(
    tmp_path, marked, recipe, space_encoder
):
    settings = {"data": "", "gender": "all", "seed": 0, "iterations": None, "encoder": str(space_encoder)}
    base = Run.create(tmp_path, recipe("appearance-model"), settings)
    assert train(base, marked, CPU).finished
    before = load_checkpoint(base.folder)
    assert before.generator.diffusion is None
    settings |= {"encoder": None, "init": str(base.folder)}
    run = Run.create(tmp_path, recipe("face-detail", *DETAIL), settings)
    assert train(run, marked, CPU).finished
    made = load_checkpoint(run.folder)
    for name, part in before.generator.state_dict().items():
        assert torch.equal(made.generator.state_dict()[name], part), name
    e = torch.randn(2, 64)
    with torch.no_grad():
        assert not torch.allclose(made.generator(e), before.generator(e), atol=1e-3)
    assert (run.folder / "grids" / "0000004.png").is_file()

    for folder, fine_tunes in ((base.folder, False), (run.folder, True)):
        again = Run.create(tmp_path, recipe("face-detail", *DETAIL), settings | {"init": str(folder)})
        stage = object.__new__(DetailStage)
        stage.probe = None
        stage.generator = load_checkpoint(run.folder).generator
        stage.generator_ema = load_checkpoint(run.folder).generator
        start_from(stage, *given_nets(again))
        assert stage.fine_tunes is fine_tunes

    refined = Run.create(tmp_path, recipe("appearance-model"), settings | {"init": str(run.folder)})
    with pytest.raises(CheckpointError, match="detail_channels"):
        given_nets(refined)


def test_a_recipe_that_cannot_train_detail_is_refused(recipe):
    with pytest.raises(RecipeError, match="needs model.generator.detail_channels"):
        recipe("face-detail", "model.generator.detail_channels=[]")
    with pytest.raises(RecipeError, match="appearance_model.part must be refiner or detail"):
        recipe("face-detail", *DETAIL, "appearance_model.part='hair'")
    with pytest.raises(RecipeError, match="by one loss"):
        recipe("face-detail", *DETAIL, "gan.l1=1")
