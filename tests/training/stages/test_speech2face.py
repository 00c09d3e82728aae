"""The stage of Speech2Face's voice encoder: what it learns from, what its checkpoints hold, refusals."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import torch

from voice2face_gan import VoiceToFace
from voice2face_gan.data.batches.pairing import Pairing
from voice2face_gan.errors import CheckpointError, DataError, RecipeError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.generators.face_decoder import FaceDecoder
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.probes import input_quality
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages import speech2face
from voice2face_gan.training.stages.face_embedding import predicted_variance
from voice2face_gan.training.stages.speech2face import Speech2FaceStage
from voice2face_gan.training.stages.speech2face_losses import distillation_loss, feature_loss, layer_loss

CPU = torch.device("cpu")
SMALL = (
    "model.encoder.width=0.015625",
    "encoder.batch=2",
    "encoder.iterations=2",
    "encoder.crop_frames=[260,280]",
    "run.log_every=1",
    "run.precision='fp32'",
    "run.tensorboard=false",
)
LSTM = ("model.encoder.type='lstm'", "model.encoder.channels=[4,8,8,8]", *SMALL[1:])
AST = (
    "model.encoder.ast={hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, "
    "max_length=64, num_mel_bins=32, hidden_dropout_prob=0.1}",
    "speech2face.pretrained=''",
    "speech2face.head_iterations=1",
    *SMALL[1:],
)


@pytest.fixture(autouse=True)
def _few_clips(monkeypatch):
    """Checkpoints measure on few clips, and so do the probes of warnings."""
    monkeypatch.setattr(speech2face, "MEASURED", 6)
    monkeypatch.setattr(input_quality, "CLIPS", 8)
    monkeypatch.setattr(input_quality, "SOUND_CLIPS", 4)


@pytest.fixture
def make_stage(paired_store, decoder_folder):
    """Function (*overrides, recipe, data) -> a new stage of a small encoder on the training people."""

    def make(*overrides: str, recipe="speech2face", data=paired_store) -> Speech2FaceStage:
        small = AST if recipe.endswith("ast") else LSTM if any("lstm" in x for x in overrides) else SMALL
        resolved = load_recipe(recipe, (*small, *overrides))
        decoder = load_checkpoint(decoder_folder)
        return Speech2FaceStage(data.of_split("train"), resolved, 0, CPU, decoder=decoder, people=data)

    return make


@pytest.fixture
def paired_run(decoder_folder, tmp_path):
    """Function (*overrides, init, recipe) -> a run that is not trained yet."""

    def make(*overrides: str, init=decoder_folder, recipe="speech2face") -> Run:
        resolved = load_recipe(recipe, (*(AST if recipe.endswith("ast") else SMALL), *overrides))
        settings = {"data": "synthetic:10", "gender": "all", "seed": 0, "init": init and str(init)}
        return Run.create(tmp_path / "runs", resolved, settings)

    return make


# Pairings


NAMES = np.array(list("aabbbbc")), np.array(list("cabbbaa"))  # whose clips, whose faces
E = torch.arange(7.0)[:, None] * torch.ones(1, 3)


def pairing(kind: str, seed: int = 0) -> Pairing:
    return Pairing(kind, *NAMES, E, seed)


def test_every_pairing_gives_a_face_of_the_same_person():
    clips = np.arange(7)
    for kind in ("all-to-all", "one-to-one", "all-to-one"):
        for iteration in range(20):
            faces = pairing(kind).faces_of(clips, iteration)
            assert (NAMES[1][faces] == NAMES[0]).all(), kind


def test_all_to_all_draws_every_face_again_and_again():
    one = pairing("all-to-all")
    drawn = Counter(int(f) for i in range(300) for f in one.faces_of(np.array([0, 2]), i))
    assert drawn.keys() == {1, 5, 6, 2, 3, 4}
    assert all(70 < count < 130 for count in drawn.values())
    assert np.array_equal(
        one.faces_of(np.array([0, 2]), 3), pairing("all-to-all").faces_of(np.array([0, 2]), 3)
    )


def test_one_to_one_keeps_a_face_for_each_clip_and_uses_all_alike():
    faces = [pairing("one-to-one").faces_of(np.arange(7), i) for i in (0, 9)]
    assert np.array_equal(*faces)
    assert len(set(faces[0][:2])) == 2 and sorted(Counter(faces[0][2:6]).values()) == [1, 1, 2]
    assert any(
        not np.array_equal(faces[0], pairing("one-to-one", s).faces_of(np.arange(7), 0)) for s in (1, 2, 3)
    )


def test_all_to_one_has_a_face_for_each_person_and_all_to_mean_the_mean():
    faces = pairing("all-to-one").faces_of(np.arange(7), 5)
    assert len(set(faces[:2])) == len(set(faces[2:6])) == 1
    assert len({tuple(pairing("all-to-one", s).faces_of(np.arange(7), 0)) for s in range(6)}) > 1
    mean = pairing("all-to-mean").draw(np.array([0, 2, 6]), 0)[:, 0]
    assert mean.tolist() == pytest.approx([(1 + 5 + 6) / 3, (2 + 3 + 4) / 3, 0])


# Learning


def test_the_loss_is_equation_3_of_voices_and_faces_of_the_same_people(make_stage):
    """Of the first iteration, written out one clip at a time."""
    stage = make_stage("speech2face.layer_loss=0.5", "speech2face.feature_loss=3")
    items = stage.sampler.draw(0, 2)
    voices, e = stage._batch(0)
    faces = stage.store.select(stage.store.has_face)
    rows = stage.pairing.faces_of(items, 0)
    assert (faces.identity[rows] == stage.voices.identity[items]).all()
    assert torch.equal(e, stage._e_of(faces)[torch.from_numpy(rows)]) and voices.shape[0] == 2
    assert voices.shape[1] % 160 == 0 and 260 * 160 <= voices.shape[1] <= 280 * 160
    stage.encoder.train()
    with torch.no_grad():
        s = stage.encoder(voices)
        layer = layer_loss(stage.decoder.stem(s), stage.decoder.stem(e)).mean()
        feature = feature_loss(s, e).mean()
    stage = make_stage("speech2face.layer_loss=0.5", "speech2face.feature_loss=3")
    losses = stage.step(0)
    assert losses.keys() == {"loss", "layer", "feature"}, "a space without classes has no third term"
    torch.testing.assert_close(losses["layer"], layer)
    torch.testing.assert_close(losses["feature"], feature)
    torch.testing.assert_close(losses["loss"], 0.5 * layer + 3 * feature)


def test_classes_of_the_face_reader_are_distilled(make_stage):
    """A space whose e has classes: the term is there, at the recipe's weight and temperature."""
    weight = torch.randn(9, 64, generator=torch.Generator().manual_seed(0))
    stages = [make_stage("speech2face.temperature=3") for _ in range(2)]
    for stage in stages:
        stage.space.classify = lambda e: e @ weight.t()
    voices, e = stages[0]._batch(0)
    stages[0].encoder.train()
    with torch.no_grad():
        s = stages[0].encoder(voices)
    wanted = distillation_loss(s @ weight.t(), e @ weight.t(), 3.0).mean()
    losses = stages[1].step(0)
    torch.testing.assert_close(losses["classes"], wanted)
    total = losses["layer"] + 0.025 * losses["feature"] + 200 * wanted
    torch.testing.assert_close(losses["loss"], total)


@pytest.mark.parametrize("encoder", ["speech2face", "lstm"])
def test_it_learns_and_the_decoder_stays(make_stage, encoder):
    own = {"lstm": ("model.encoder.type='lstm'", "encoder.lr=2e-2", "encoder.batch=14")}
    overrides = own.get(encoder, ("encoder.lr=3e-3",))
    stage = make_stage(*overrides, "speech2face.pairing='all-to-mean'")
    before = {n: p.clone() for n, p in stage.encoder.named_parameters()}
    decoder = {n: p.clone() for n, p in stage.decoder.state_dict().items()}
    losses = [float(stage.step(i)["loss"]) for i in range(12)]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:2])
    moved = {n for n, p in stage.encoder.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(before)
    assert all(torch.equal(p, decoder[n]) for n, p in stage.decoder.state_dict().items())


def test_the_learning_rate_falls_as_published(make_stage):
    stage = make_stage("encoder.lr=1e-3")
    for iteration, wanted in ((0, 1e-3), (10_000, 0.95e-3), (20_000, 0.95**2 * 1e-3)):
        stage._set_phase(iteration)
        assert stage.optimiser.param_groups[0]["lr"] == pytest.approx(wanted)
    group = stage.optimiser.param_groups[0]
    assert group["eps"] == 1e-4 and group["betas"] == (0.5, 0.999) and group["weight_decay"] == 0
    published = load_recipe("speech2face")
    assert published.encoder.batch == 8 and published.encoder.crop_frames == (600, 600)
    assert published.model.encoder.width == 1


def test_an_asts_head_learns_first_then_everything(make_stage):
    pytest.importorskip("transformers", reason="the extra speech2face is not installed")
    stage = make_stage("encoder.lr=1e-2", "encoder.crop_frames=[70,80]", recipe="speech2face-ast")
    for iteration, moves in ((0, {"norm", "last"}), (1, {"norm", "last", "ast"})):
        before = {n: p.clone() for n, p in stage.encoder.named_parameters()}
        assert torch.isfinite(stage.step(iteration)["loss"])
        moved = {
            n.split(".")[0] for n, p in stage.encoder.named_parameters() if not torch.equal(p, before[n])
        }
        assert moved == moves
        assert stage.optimiser.param_groups[0]["lr"] == pytest.approx(
            1e-3 if iteration < 1 else 1e-2, rel=1e-3
        )


def test_an_ast_begins_with_a_trained_one(make_stage, tmp_path):
    transformers = pytest.importorskip("transformers", reason="the extra speech2face is not installed")
    settings = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    theirs = transformers.ASTModel(transformers.ASTConfig(**settings, max_length=40, num_mel_bins=32))
    theirs.save_pretrained(tmp_path / "ast")
    folder = f"speech2face.pretrained={json.dumps(str(tmp_path / 'ast'))}"
    resolved = load_recipe("speech2face-ast", (*AST[2:], folder))
    assert "model.encoder.ast" in resolved.idle
    decoder = load_checkpoint(make_stage().given.folder)
    data = make_stage().people
    stage = Speech2FaceStage(data.of_split("train"), resolved, 0, CPU, decoder=decoder)
    assert stage.config.ast["hidden_size"] == 8 and stage.encoder.fbank.frames == 40
    layer = "layers.0.intermediate.dense.weight"
    ours = stage.encoder.ast.state_dict()
    assert [k for k in ours if torch.equal(ours[k], theirs.state_dict()[k])] == list(ours), layer


# Runs


def test_a_run_makes_a_checkpoint_that_answers_recordings(
    paired_run, paired_store, decoder_folder, clips, cli, space_folder
):
    run = paired_run()
    assert train(run, paired_store, CPU).finished
    made, given = load_checkpoint(run.folder), load_checkpoint(decoder_folder)
    assert isinstance(made.generator, FaceDecoder) and made.encoder_config.type == "speech2face"
    theirs = given.generator.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in made.generator.state_dict().items())
    assert made.face_space.keys() == given.face_space.keys()
    assert len(made.controls.residual_std) == 64 and not made.controls.normalise_embedding
    about = made.info["speech2face"]
    assert about["residual_of"] == "training people" and about["pairing"] == "all-to-all"
    assert made.gender_probe is not None and "speech" in made.probes
    assert (run.folder / "grids" / "0000002.png").is_file()
    model = VoiceToFace.from_pretrained(run.folder)
    faces = model.generate(clips[0], variants=2)
    assert faces[0].size == (64, 64) and faces[0].tobytes() != faces[1].tobytes()
    told = cli("generate", clips[0], "--checkpoint", run.folder, "--gender", "female", "-o", "face.png")
    assert told.code == 0 and (cli.here / "face.png").is_file()
    refused = cli("export", "onnx", run.folder, "-o", "onnx")
    assert refused.code == 2 and "takes speech" in refused.stderr and not (cli.here / "onnx").exists()
    from voice2face_gan.models.face_embedding_space import FaceSpace

    r2 = predicted_variance(made, FaceSpace.load(space_folder), str(space_folder))  # a generator trains on it
    assert r2.shape == (64,)


@pytest.mark.parametrize("recipe", ["speech2face", "speech2face-ast"])
def test_a_resumed_run_is_an_uninterrupted_one(paired_run, paired_store, recipe, decoder_folder, tmp_path):
    if recipe.endswith("ast"):
        pytest.importorskip("transformers", reason="the extra speech2face is not installed")
    import shutil

    own = shutil.copytree(decoder_folder, tmp_path / "own")  # which is gone when the run goes on
    whole, parted = paired_run(recipe=recipe), paired_run(recipe=recipe, init=own)
    assert train(whole, paired_store, CPU).finished
    assert not train(parted, paired_store, CPU, iterations=1).iteration > 1
    shutil.rmtree(own)
    assert train(Run.open(parted.folder), paired_store, CPU).finished
    one, two = (load_checkpoint(run.checkpoint_folder("encoder", 2)) for run in (whole, parted))
    for name, value in one.tensors().items():
        assert torch.equal(value, two.tensors()[name]), name
    assert one.controls == two.controls


def test_minutes_stop_a_run_which_goes_on(paired_run, paired_store):
    run = paired_run("encoder.iterations=100000")
    stopped = train(run, paired_store, CPU, minutes=1 / 60)
    assert stopped.reason == "minutes" and stopped.checkpoint.is_dir() and not stopped.finished


def test_the_given_encoder_goes_on_where_it_is_the_recipes_own(paired_run, paired_store, make_stage):
    run = paired_run()
    train(run, paired_store, CPU)
    first = load_checkpoint(run.folder)
    recipe = load_recipe("speech2face", SMALL)
    again = Speech2FaceStage(paired_store.of_split("train"), recipe, 5, CPU, decoder=first)
    assert torch.equal(again.encoder.last.weight, first.encoder.last.weight)
    assert not torch.equal(make_stage().encoder.last.weight, first.encoder.last.weight)


def test_what_is_measured_on_is_of_validation_people_where_there_are_enough(make_stage, monkeypatch):
    assert make_stage()._measured[2] == "training people"
    monkeypatch.setattr(speech2face, "VALIDATION", 1)
    stage = make_stage()
    clips, e, whose = stage._measured
    assert whose == "validation people" and set(clips.split) == {"val"} and e.shape == (len(clips), 64)
    numbers, about = stage._figures()[:2]
    assert len(numbers) == 64 and all(0 <= r <= 1 for r in numbers) and about["residual_of"] == whose
    assert make_stage("data.split='all'")._measured[2] == "training people", "they were trained on"


# Refusals


def test_a_wrong_init_is_refused_before_a_run_is_made(cli, space_encoder, model_folder):
    for init, sentence in (
        ((), "give a checkpoint with one, .* with --init"),
        (("--init", model_folder), "has a generator of the type 'wen2019'; --init must be .* face decoder"),
        (("--init", space_encoder), "has no generator; --init must be .* face decoder"),
    ):
        told = cli("train", "--data", "synthetic:10", "--recipe", "speech2face", *init)
        assert told.code == 2 and not (cli.here / "runs").exists(), told.stderr
        assert re.search(sentence, " ".join(told.stderr.split())), told.stderr
    told = cli("train", "--data", "synthetic:10", "--recipe", "speech2face", "--encoder", space_encoder)
    assert told.code == 2 and "--encoder has no effect" in " ".join(told.stderr.split())


def test_other_things_that_cannot_be_are_refused_in_a_sentence(make_stage, store, decoder_folder, tmp_path):
    with pytest.raises(RecipeError, match="set model.encoder.last_relu=false"):
        make_stage("model.encoder.last_relu=true")
    with pytest.raises(DataError, match="takes speech, .* --keep-speech"):
        make_stage(data=store)
    spaceless = load_checkpoint(decoder_folder)
    spaceless.face_space = {}
    recipe = load_recipe("speech2face", SMALL)
    with pytest.raises(CheckpointError, match="keeps no face space"):
        Speech2FaceStage(store, recipe, 0, CPU, decoder=spaceless)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("speech2face.pairing='one'",), "pairing must be all-to-all, one-to-one, all-to-one, all-to-mean"),
        (("speech2face.temperature=0",), "temperature must be above 0"),
        (("speech2face.lr_decay=1.5",), "lr_decay must be above 0 and at most 1"),
        (("speech2face.head_iterations=5",), "it needs model.encoder.type = 'ast'"),
        (("model.encoder.embedding=32",), "as large as the face decoder of --init takes it"),
        (("speech2face.classes_loss=0", "speech2face.temperature=1"), "classes_loss above 0"),
        (("stages=['encoder','gan']",), "it needs stages"),
        (("encoder.space='somewhere'", "model.encoder.type='lstm'"), "a teacher trains the voice encoder"),
    ],
)
def test_keys_without_an_effect_are_refused(overrides, sentence):
    with pytest.raises(RecipeError, match=sentence):
        load_recipe("speech2face", ("speech2face.pairing='one-to-one'", *overrides))
