"""The recipe voice-to-face on a small world: its two stages, what a checkpoint keeps, how a run goes on."""

import json

import numpy as np
import pytest
import torch

from voice2face_gan.errors import DataError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.classifier_space import CLASSIFIER
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.engine.warm_start import training_records
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.ridge import folds_of, ridge_regression
from voice2face_gan.training.run.folder import Run, read_state
from voice2face_gan.training.stages.face_embedding import open_space
from voice2face_gan.training.stages.ridge_encoder import RidgeEncoderStage

CPU = torch.device("cpu")
SMALL = (
    "model.generator.width=4",
    "model.generator.z_dim=2",
    "gan.batch=6",
    "gan.iterations=6",
    "run.checkpoint_every=3",
    "run.log_every=1",
    "run.precision='fp32'",
    "run.tensorboard=false",
)


def new_run(root, *more: str, encoder=None) -> Run:
    recipe = load_recipe("voice-to-face", (*SMALL, *more))
    given = None if encoder is None else str(encoder)
    settings = {"data": "synthetic:20", "gender": recipe.data.gender, "seed": 0, "iterations": None}
    return Run.create(root, recipe, {**settings, "init": None, "encoder": given})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, store) -> Run:
    run = new_run(tmp_path_factory.mktemp("voice-to-face"))
    assert train(run, store, CPU).finished
    return run


def test_a_checkpoint_has_a_space_a_simulation_and_what_voices_predict(finished):
    made = load_checkpoint(finished.folder)
    assert made.generator.linear.weight.abs().sum() > 0
    assert made.encoder_config.type == "statistics" and not made.controls.normalise_embedding
    assert len(made.controls.residual_std) == 64 and min(made.controls.residual_std) < 0.6
    space = open_space(CLASSIFIER, made)
    assert space.name == made.info["face_space"]["name"]
    encoder = load_checkpoint(finished.encoder_folder, need_generator=False)
    about = encoder.info["voice_regression"]
    assert about["space"] == space.name and about["people"] == 14 and about["r_sex"] > 0.7
    assert torch.equal(made.voice_simulation.weights, encoder.voice_simulation.weights)


def test_without_an_adversarial_loss_there_is_no_discriminator(finished, tmp_path, store):
    alone = new_run(tmp_path, "gan.g_adversarial=0", "gan.iterations=3")
    assert train(alone, store, CPU).finished
    for run, last, has_discriminator in ((finished, 6, True), (alone, 3, False)):
        state = read_state(run.folder / "checkpoints" / f"gan-000000{last}")
        assert {"generator", "generator_optimiser"} <= state.keys()
        found = {"trunk", "heads", "discriminator_optimiser"} & state.keys()
        assert len(found) == (3 if has_discriminator else 0)
        losses = json.loads((run.folder / "train.jsonl").read_text().splitlines()[-1])
        assert {"G_perceptual", "G_face_embedding", "G_l1"} <= losses.keys()
        assert ({"D", "D_penalty", "G"} <= losses.keys()) == has_discriminator


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(finished, tmp_path, store):
    run = new_run(tmp_path)
    assert not train(run, store, CPU, iterations=None, minutes=1e-9).finished
    train(run, store, CPU, iterations=3)
    assert train(Run.open(run.folder), store, CPU).finished
    ours, theirs = (load_checkpoint(r.folder).tensors() for r in (run, finished))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_trained_encoder_is_kept(finished, tmp_path, store):
    run = new_run(tmp_path, encoder=finished.encoder_folder)
    train(run, store, CPU, iterations=1)
    ours, theirs = (load_checkpoint(r.folder) for r in (run, finished))
    assert torch.equal(ours.encoder.last.weight, theirs.encoder.last.weight)
    assert ours.face_space.keys() == theirs.face_space.keys()


def test_the_encoder_alone_is_a_recipe_too(tmp_path, store):
    recipe = load_recipe(
        "voice-to-face", ('stages=["encoder"]', "run.evaluate_every=0", "run.tensorboard=false")
    )
    run = Run.create(tmp_path, recipe, {"data": "", "gender": "all", "seed": 0, "iterations": None})
    assert train(run, store, CPU).finished
    made = load_checkpoint(run.folder, need_generator=False)
    assert made.generator is None and made.face_space and not made.controls.normalise_embedding


def test_its_predictions_are_those_of_two_ridge_regressions(finished, store):
    """Elements one at a time on statistics, then all together on the predictions of identities left out."""
    records = training_records(store, finished)
    stage = RidgeEncoderStage(records, finished.recipe, 0, CPU)
    losses = stage.step(0)
    assert losses["r_sex"] > 0.7 and losses["r2"] < 1
    people, own = stage._fit_space()
    clips = stage._clips(people)
    statistics = stage._statistics(clips.items)
    x = ((statistics - stage.encoder.mean) / stage.encoder.std).double()
    e, weight = own[clips.who].double(), clips.weight.double()
    folds, ridges = folds_of(people, clips.who), stage.about["ridges"]

    def predictions(on: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
        columns = []
        for k, ridge in enumerate(ridges):
            mean, slope, offset = ridge_regression(x[on], e[on][:, k : k + 1], weight[on], ridge)
            columns.append((x[of] - mean) @ slope + offset)
        return torch.cat(columns, dim=1)

    left_out = torch.zeros_like(e)
    for fold in range(5):
        out = torch.from_numpy(folds == fold)
        left_out[out] = predictions(~out, out)
    mean, slope, offset = ridge_regression(left_out, e, weight, 0.03)
    everybody = torch.ones(len(e), dtype=torch.bool)
    wanted = (predictions(everybody, everybody) - mean) @ slope + offset
    found = stage.encoder.last(x.float()).double()
    assert (found - wanted).abs().max() < 0.01 * wanted.std()


def test_too_few_people_are_refused(store):
    recipe = load_recipe("voice-to-face", SMALL)
    few = store.select(np.isin(store.identity, np.unique(store.identity)[:4]))
    with pytest.raises(DataError, match="4 people with both voices and faces are too few"):
        RidgeEncoderStage(few, recipe, 0, CPU)
