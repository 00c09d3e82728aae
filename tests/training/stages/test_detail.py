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
from voice2face_gan.models.conditioning import soft_clip
from voice2face_gan.models.generators.detail import MOVED, SMALLEST, SPREAD, drawn_sigmas, start
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.engine.warm_start import given_nets, start_from
from voice2face_gan.training.fits.appearance_model import E_NOISE, coefficients_of, textures_of
from voice2face_gan.training.fits.portraits import faults
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.detail import (
    DetailDistillationStage,
    DetailStage,
    finer,
    repeated_beyond,
)

CPU = torch.device("cpu")
OWN = (
    "model.generator.texture_side=32",
    "model.generator.linear=0",
    "model.generator.texture_noise=2",
    "appearance_model.flow_iterations=5",
    "run.log_every=1",
)
DETAIL = ("model.generator.detail_channels=[16,16,16]", "model.generator.detail_steps=2")
STUDENT = {"kind": DetailDistillationStage, "name": "face-detail-distilled"}


@pytest.fixture
def recipe(small_model, space_folder, decoder_folder):
    """Function (name, *overrides) -> a recipe of small nets."""
    folder = f"face_embedding.space={json.dumps(str(space_folder))}"
    decoder = f"appearance_model.decoder={json.dumps(str(decoder_folder))}"
    return lambda name, *overrides: load_recipe(name, (*small_model, *OWN, folder, decoder, *overrides))


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
    """Function (*overrides, fit, kind, name) -> a new stage, fitted."""

    def make(*overrides: str, fit=True, kind=DetailStage, name="face-detail") -> DetailStage:
        encoder = load_checkpoint(space_encoder, need_generator=False)
        people = marked.of_split("train"), marked.of_split("val")
        stage = kind(*people, encoder, recipe(name, *DETAIL, *overrides), 0, CPU)
        if fit:
            stage.prepare(lambda sentence: None)
        return stage

    return make


@pytest.fixture
def make_student(make_stage):
    """Function (*overrides) -> a new stage of distillation, its teacher a fitted model of random detail."""

    def make(*overrides: str) -> DetailDistillationStage:
        given = make_stage()
        model = given.generator
        torch.manual_seed(1)
        for part in model.diffusion.parameters():
            torch.nn.init.normal_(part, std=0.05)
        stage = make_stage(*overrides, fit=False, **STUDENT)
        assert not stage.take_generator(model.state_dict(), given.config), (
            "its rate is the recipe's whole one"
        )
        stage.prepare(lambda sentence: pytest.fail("it is fitted again"))
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
    stage = make_stage("gan.ema_decay=0", "appearance_model.head_weight=3")
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
        weight = (1 - hidden) * model.detailed * (1 + 2 * F.avg_pool2d(model.head[None, None], 2))
        assert weight[0, 0, 16, 16] < 0.2 * weight[0, 0].max(), "a face counts as little as it gets"
        assert weight[0, 0, 8, 16] > 2 * weight[0, 0, 1, 1], "hair counts more than what is behind"
        wanted = model.diffusion.loss(
            detail, coarse + moved[:, None, None, None] * added, weight, e, sigma, moved, noise
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


def test_a_share_of_the_faces_is_learned_from(make_stage):
    whole = make_stage(fit=False).batches.faces
    best = make_stage("appearance_model.portraits=0.25", fit=False).batches.faces
    assert len(best) == round(0.25 * len(whole))
    first, second = (
        faults(faces.batch(np.arange(len(faces)))[0].nan_to_num(), 1.0) for faces in (best, whole)
    )
    assert (first.mean(dim=0) < second.mean(dim=0)).all()


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
        stage.config = again.recipe.model.generator
        given, state = given_nets(again)
        start_from(stage, given, state)
        assert stage.fine_tunes is fine_tunes
        distilled = replace(given.generator_config, detail_smallest=1.0)
        start_from(stage, replace(given, generator_config=distilled), state)
        assert not stage.fine_tunes, "most levels of noise are new to it"

    refined = Run.create(tmp_path, recipe("appearance-model"), settings | {"init": str(run.folder)})
    with pytest.raises(CheckpointError, match="detail_channels"):
        given_nets(refined)


def test_a_student_of_two_steps_comes_to_draw_what_its_guided_teacher_draws(make_student):
    stage = make_student("gan.lr=3e-3", "gan.lr_decay=0", "gan.ema_decay=0")
    teacher = {name: part.clone() for name, part in stage.teacher.state_dict().items()}
    before = {n: p.clone() for n, p in stage.generator.state_dict().items()}
    e, coarse, x = stage._begun(1000)
    share = stage.generator.detailed
    guidance = stage.generator.guidance(2.0)
    wanted = stage.teacher.path(coarse, e, x, finer(stage.sigmas, 3), guidance, share)[-1]

    def error() -> float:
        with torch.no_grad():
            found = stage.generator.diffusion.path(coarse, e, x, stage.sigmas, share=share)[-1]
            return float((found - wanted).abs().mean())

    first = error()
    for iteration in range(40):
        assert stage.step(iteration).keys() == {"G_detail"}
    assert error() < 0.85 * first
    changed = {n for n, p in stage.generator.state_dict().items() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if n.startswith("diffusion.")}
    assert all(torch.equal(part, teacher[name]) for name, part in stage.teacher.state_dict().items())


def test_the_loss_of_a_student_is_that_of_the_text(make_student):
    """The step that one evaluation takes, from where the teacher stands, beside where the teacher goes."""
    stage = make_student("appearance_model.teacher_steps=2", "appearance_model.teacher_guidance=3")
    assert stage.sigmas == [20, pytest.approx(1)]
    e, coarse, x = stage._begun(0)
    with torch.no_grad():
        share = stage.generator.detailed
        assert share.min() < 0.2 and share.max() > 0.9
        guidance = 1 + 2 * stage.generator.hair
        path = stage.teacher.path(coarse, e, x, [20, 20**0.5, 1, SMALLEST], guidance, share)
        still = torch.zeros(6)
        middle, end = path[2], path[4]
        one = share * stage.generator.diffusion.denoised(x, coarse, e, still + 20, still)
        two = share * stage.generator.diffusion.denoised(middle, coarse, e, still + 1, still)
        wanted = ((x / 20 + 19 / 20 * one - middle) * 20 / 19).abs().mean() + (two - end).abs().mean()
    assert float(stage.step(0)["G_detail"]) == pytest.approx(float(wanted) / 2, rel=1e-3)


def test_a_student_sees_faces_as_the_model_draws_them(make_student):
    stage = make_student("face_embedding.simulated_voices=0.5")
    e, coarse, x = stage._begun(3)
    model, batch, z = stage.generator, stage.batches.draw(3), stage.streams.z(3, 8)
    assert 0 < batch.own_e.sum() < 6
    assert torch.equal(e[batch.own_e], batch.e[batch.own_e])
    assert torch.equal(e[~batch.own_e], soft_clip(batch.e, stage.limits)[~batch.own_e])
    with torch.no_grad():
        for i in range(6):
            noise = model.noise(e[i : i + 1], z[i : i + 1] if i % 2 else None)
            image = model.decoded(e[i : i + 1], model.flow.draw(e[i : i + 1], model.truncated(noise))).image
            image = model.small(model.blurred(image))
            torch.testing.assert_close(coarse[i : i + 1], image, atol=1e-4, rtol=1e-3)
            begun = start(model.detail_start(noise, image))
            torch.testing.assert_close(x[i : i + 1], begun, atol=1e-4, rtol=1e-3)


def test_a_student_of_one_step_learns_from_one_of_two(make_student):
    """The distilled teacher is evaluated where it was taught, without guidance."""
    stage = make_student("model.generator.detail_steps=1")
    assert stage.sigmas == [20]
    given = stage.checkpoint(0)
    two = replace(given.generator_config, detail_steps=2, detail_smallest=1.5)
    torch.nn.init.normal_(given.generator.diffusion.last.weight, std=0.05)
    weights = given.generator.state_dict()
    assert not stage.take_generator(weights, two), "it learns at its whole rate"
    e, coarse, x = stage._begun(0)
    share, still = stage.generator.detailed, torch.zeros(6)
    with torch.no_grad():
        wanted = stage.teacher.path(coarse, e, x, [20, 1.5], 1.0, share)[-1]
        found = share * stage.generator.diffusion.denoised(x, coarse, e, still + 20, still)
    loss = (found - wanted).abs().mean()
    assert float(stage.step(0)["G_detail"]) == pytest.approx(float(loss), rel=1e-3)
    rest = make_student("model.generator.detail_steps=1")
    rest.load(stage.state())
    assert float(rest.step(1)["G_detail"]) == pytest.approx(float(stage.step(1)["G_detail"]), rel=1e-3)


@pytest.mark.parametrize("count", [1, 2])
def test_a_teacher_takes_several_steps_for_each_of_its_students(count):
    sigmas = drawn_sigmas(count, 1.0)
    found = finer(sigmas, 3)
    assert found[::3] == [pytest.approx(sigma) for sigma in sigmas] and found == sorted(found)[::-1]
    assert len(found) == 3 * count and found[-1] == pytest.approx(SMALLEST)
    assert finer(sigmas, 1) == [pytest.approx(sigma) for sigma in sigmas]


def test_a_student_goes_on_with_its_teacher(make_student, make_stage):
    whole = make_student()
    whole.step(0)
    rest = make_stage(fit=False, **STUDENT)
    rest.load(whole.state())
    rest.prepare(lambda sentence: pytest.fail("it is fitted again"))
    assert float(rest.step(1)["G_detail"]) == pytest.approx(float(whole.step(1)["G_detail"]), rel=1e-4)
    older = make_stage(fit=False, **STUDENT)
    older.load({name: part for name, part in whole.state().items() if name != "taught"})
    assert older.taught == whole.taught, "a state saved before teachers were distilled"


def test_a_diffusion_is_distilled_to_fewer_evaluations_and_only_if_there_is_one(make_stage, recipe, tmp_path):
    run = Run.create(tmp_path, recipe("face-detail-distilled", *DETAIL), {"gender": "all", "init": None})
    with pytest.raises(CheckpointError, match="distils a trained diffusion: give a run .* with --init"):
        given_nets(run)
    made = make_stage().checkpoint(4)
    whole = made.save(tmp_path / "whole")
    run.settings["init"] = str(whole)
    assert given_nets(run)[0].folder == whole
    config = replace(made.generator_config, detail_smallest=1.0)
    run.settings["init"] = str(replace(made, generator_config=config).save(tmp_path / "distilled"))
    with pytest.raises(CheckpointError, match="distilled is distilled already .* = 2.* asks for 2: give"):
        given_nets(run)
    fewer = recipe("face-detail-one-step", DETAIL[0])
    further = Run.create(tmp_path, fewer, {"gender": "all", "init": run.settings["init"]})
    assert given_nets(further)[0].generator_config.detail_steps == 2
    config = replace(config, detail_steps=1)
    further.settings["init"] = str(replace(made, generator_config=config).save(tmp_path / "one"))
    with pytest.raises(CheckpointError, match="one is distilled already .* = 1.* asks for 1: "):
        given_nets(further)
    config = replace(made.generator_config, detail_channels=())
    without = replace(made, generator_config=config, generator=build_generator(config))
    run.settings["init"] = str(without.save(tmp_path / "without"))
    with pytest.raises(CheckpointError, match="without has no diffusion"):
        given_nets(run)


@pytest.mark.parametrize(
    ("name", "overrides", "problem"),
    [
        ("face-detail", ["model.generator.detail_channels=[]"], "needs model.generator.detail_channels"),
        ("face-detail", ["appearance_model.part='hair'"], "part must be refiner, detail, distillation"),
        ("face-detail", ["gan.l1=1"], "only the refiner learns"),
        ("face-detail", ["appearance_model.embedding_loss=1"], "has one loss"),
        ("face-detail", ["face_embedding.simulated_voices=0.5"], "by themselves"),
        ("face-detail", ["appearance_model.teacher_steps=2"], "needs appearance_model.part = 'distillation'"),
        ("face-detail-portraits", ["appearance_model.portraits=0"], "portraits must be above 0"),
        ("face-detail-portraits", ["appearance_model.head_weight=0"], "head_weight must be above 0"),
        (
            "face-detail-distilled",
            ["appearance_model.head_weight=2"],
            "needs appearance_model.part = 'detail'",
        ),
        ("appearance-model", ["appearance_model.portraits=0.5"], "only a diffusion learns from portraits"),
        ("face-detail-distilled", ["model.generator.detail_steps=3"], "detail_steps of 1 or 2"),
        ("face-detail-distilled", ["model.generator.detail_guidance=2"], "detail_guidance of 1"),
        ("face-detail-distilled", ["appearance_model.teacher_steps=0"], "teacher_steps must be 1 or more"),
        ("face-detail-distilled", ["appearance_model.teacher_guidance=0.5"], "teacher_guidance must be 1"),
    ],
)
def test_a_recipe_that_cannot_train_detail_is_refused(recipe, name, overrides, problem):
    with pytest.raises(RecipeError, match=problem):
        recipe(name, *DETAIL, *overrides)
