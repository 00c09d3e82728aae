"""Distillation into an encoder of e: the ridge map, its cross-validation, and the stage."""

import copy
import json

import numpy as np
import pytest
import torch

from voice2face_gan.audio.log_mel import log_mels
from voice2face_gan.data.batches.sampling import VoiceBank, random_source
from voice2face_gan.data.batches.speech import SpeechBank
from voice2face_gan.data.face_embedding import write_face_embedding
from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import CheckpointError, DataError, RecipeError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.encoders.ge2e import DIMENSIONS, GE2EEncoder
from voice2face_gan.models.encoders.lstm import PIECE
from voice2face_gan.models.face_embedding_space import AGE, COMPONENTS, SEX, SIZE, FaceSpace
from voice2face_gan.models.registry import build_encoder, encoder_config
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.ridge import RidgeMap, best_ridges, fold_into_last_layer, ridge_regression
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages import layerwise_distillation
from voice2face_gan.training.stages.distillation import DistillationStage, cached_targets, compute_targets
from voice2face_gan.training.stages.speaker_classification import SpeakerClassificationStage

CPU = torch.device("cpu")
PEOPLE = 22


@pytest.fixture(scope="module")
def space(space_folder):
    return FaceSpace.load(space_folder)


# The ridge map


@pytest.fixture
def pairs(tmp_path, space):
    """Function (person of each clip, e) -> a store of such records, with a voice and a read face each."""

    def make(who, e: torch.Tensor, name: str = "") -> Store:
        with StoreWriter(tmp_path / "pairs", {"n_mels": 2, "hop_ms": 10}, side=4) as writer:
            for i, person in enumerate(who):
                face = np.full((4, 4, 3), i % 251, dtype=np.uint8)
                writer.add(Record(f"{i}", f"p{person}"), np.zeros((2, 3), np.float32), face)
            writer.finish()
        store = Store(tmp_path / "pairs")
        write_face_embedding(store, e.numpy(), name or space.name)
        return store

    return make


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_linear_map_is_found(pairs, space):
    """t holds eight causes in 256 numbers, e is linear in them and in nothing else."""
    causes = normal(300, 8)
    t = 0.5 + causes @ normal(8, DIMENSIONS, seed=1)
    e = 0.2 + causes @ normal(8, SIZE, seed=2) / 3
    line = RidgeMap.fit(pairs(range(300), e), t, space)
    found = (t - line.mean) @ line.weights + line.offset
    # The ridge, 0.3 of the mean variance of 256 numbers, takes a hundredth of that of eight causes.
    assert (found - e).norm() < 0.05 * (e - e.mean(0)).norm()
    new = normal(50, 8, seed=3)
    wanted = 0.2 + new @ normal(8, SIZE, seed=2) / 3
    given = (0.5 + new @ normal(8, DIMENSIONS, seed=1) - line.mean) @ line.weights + line.offset
    assert (given - wanted).norm() < 0.05 * (wanted - 0.2).norm()
    assert torch.isfinite(line.residual_std).all() and line.residual_std.max() < 0.1
    assert line.about["pairs"] == line.about["people"] == 300 and line.about["space"] == space.name


def test_the_residual_is_what_the_voice_leaves_open(pairs, space):
    """Element k is r_k of a cause in t and sqrt(1 - r_k^2) of its own noise: its residual is the latter."""
    causes = normal(800, 8)
    r = torch.linspace(0, 0.95, SIZE)
    e = r * causes[:, torch.arange(SIZE) % 8] + (1 - r**2).sqrt() * normal(800, SIZE, seed=2)
    line = RidgeMap.fit(pairs(range(800), e), causes @ normal(8, DIMENSIONS, seed=1), space)
    assert ((1 - line.residual_std**2).sqrt() - r)[r > 0.2].abs().max() < 0.12
    assert (
        line.residual_std[r < 0.1].min() > 0.95
        and ((line.residual_std >= 0) & (line.residual_std <= 1)).all()
    )
    assert line.about["r_sex"] == pytest.approx(float(r[SEX]), abs=0.05)
    assert line.about["r_age"] == pytest.approx(float(r[AGE]), abs=0.05)


def test_nobody_is_predicted_from_other_clips_of_himself(pairs, space):
    """t says who speaks and nothing else: were clips left out and not people, e would be known by heart."""
    who = np.arange(50).repeat(6)
    t = normal(50, DIMENSIONS)[who] + 0.05 * normal(300, DIMENSIONS, seed=1)
    e = normal(50, SIZE, seed=2)[who]
    line = RidgeMap.fit(pairs(who, e), t, space)
    assert line.residual_std[:COMPONENTS].mean() > 0.95 and line.about["people"] == 50
    by_clip = RidgeMap.fit(pairs(range(300), e), t, space)  # each clip a person of its own
    assert by_clip.residual_std.mean() < 0.5


def test_somebody_with_many_clips_counts_less_than_with_as_many_weights():
    """A weight of two is a clip twice; without a ridge it is least squares."""
    x, y = normal(40, 3).double(), normal(40, 2, seed=1).double()
    weight = torch.ones(40).double()
    weight[:5] = 2
    once = ridge_regression(x, y, weight, 0.5)
    twice = ridge_regression(torch.cat([x, x[:5]]), torch.cat([y, y[:5]]), torch.ones(45).double(), 0.5)
    for a, b in zip(once, twice, strict=True):
        torch.testing.assert_close(a, b)
    mean, slope, offset = ridge_regression(x, y, torch.ones(40).double(), 0.0)
    plain = torch.linalg.lstsq(torch.cat([x, torch.ones(40, 1).double()], dim=1), y).solution
    torch.testing.assert_close(slope, plain[:3])
    torch.testing.assert_close(offset - mean @ slope, plain[3])


def test_clips_are_weighted_by_the_root_of_their_number(pairs, space):
    """Two kinds of people, one with nine clips each: the mean lies where weights of 1 and 9 / 3 lay it."""
    who = [*range(20), *np.arange(20, 40).repeat(9)]
    kind = torch.tensor([0.0] * 20 + [1.0] * 180)
    t = kind[:, None] + 0.01 * normal(200, DIMENSIONS)
    e = kind[:, None] * 4 + 0.01 * normal(200, SIZE, seed=1)
    line = RidgeMap.fit(pairs(who, e), t, space)
    assert line.mean.mean() == pytest.approx(0.75, abs=0.01)
    assert line.offset.mean() == pytest.approx(3.0, abs=0.02)


def test_pairs_that_are_none_are_refused(pairs, space):
    with pytest.raises(DataError, match="read by another-space, not by face-space-"):
        RidgeMap.fit(pairs(range(30), torch.zeros(30, SIZE), "another-space"), normal(30, DIMENSIONS), space)
    with pytest.raises(DataError, match="19 people with both voices and faces are too few; 20"):
        RidgeMap.fit(pairs(np.arange(38) // 2, torch.zeros(38, SIZE)), normal(38, DIMENSIONS), space)


# Folding


@pytest.mark.parametrize("kind", ["conv", "lstm"])
def test_the_map_is_multiplied_into_the_last_layer(kind):
    torch.manual_seed(0)
    settings = {"type": kind, "channels": (8, 8, 8, 8)}
    wide = build_encoder(encoder_config({**settings, "embedding": DIMENSIONS}))
    narrow = build_encoder(encoder_config(settings)).eval()
    wide(torch.randn(8, 64, 90))  # its normalisation has seen something
    wide.eval()
    weights = torch.randn(DIMENSIONS, SIZE) / 16
    line = RidgeMap(torch.randn(DIMENSIONS), weights, torch.randn(SIZE), torch.ones(SIZE), {})
    narrow.load_state_dict(fold_into_last_layer(wide, line))
    for frames in (1, 33, 200):
        mel = torch.randn(3, 64, frames)
        with torch.no_grad():
            wanted = (wide(mel) - line.mean) @ line.weights + line.offset
            torch.testing.assert_close(narrow(mel), wanted, atol=1e-5, rtol=1e-5)


# The stage


@pytest.fixture(scope="module")
def recipe(space_folder, teacher_file):
    """Function (*overrides) -> the recipe `default-encoder`, few iterations of small batches."""

    def make(*overrides: str):
        small = (
            "encoder.batch=4",
            "encoder.iterations=4",
            "encoder.augment=0.25",
            "run.precision='fp32'",
            "run.tensorboard='off'",
            f"encoder.space={json.dumps(str(space_folder))}",
            f"encoder.teacher={json.dumps(str(teacher_file))}",
        )
        return load_recipe("default-encoder", (*small, *overrides))

    return make


@pytest.fixture
def make_stage(taught_store, recipe, monkeypatch):
    """Function (*overrides, store) -> a stage that buffers and prepares with few batches of speech."""
    monkeypatch.setattr(layerwise_distillation, "ECHO_BATCHES", 1)
    monkeypatch.setattr(layerwise_distillation, "PREPARATION_BATCHES", 1)

    def make(*overrides: str, store: Store = taught_store) -> DistillationStage:
        return DistillationStage(store, recipe(*overrides), 0, CPU)

    return make


NOT_AUGMENTED = "encoder.augment=1e-9"


def test_targets_are_the_teachers_of_each_whole_clip(taught_store, teacher_file):
    teacher = GE2EEncoder(teacher_file)
    speech = SpeechBank(taught_store.select(np.arange(PEOPLE) < 3))
    targets = compute_targets(teacher, speech)
    assert targets.shape == (3, DIMENSIONS) and not targets.requires_grad
    for clip in range(3):
        torch.testing.assert_close(targets[clip], teacher(speech.whole(clip)))


def test_targets_are_cached(taught_store, teacher_file, tmp_path, monkeypatch):
    monkeypatch.setenv("V2F_CACHE", str(tmp_path))
    teacher, some = GE2EEncoder(teacher_file), taught_store.select(np.arange(PEOPLE) < 3)
    speech, calls = SpeechBank(some), []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    first = cached_targets(teacher, speech)
    assert len(calls) == 3 and torch.equal(first, compute_targets(teacher, speech))
    calls.clear()
    assert torch.equal(cached_targets(teacher, speech), first) and not calls
    speech.length[0] -= 160
    cached_targets(teacher, speech)
    assert len(calls) == 3  # other speech
    with torch.no_grad():
        teacher.linear.bias[0] += 1
    cached_targets(teacher, speech)
    assert len(calls) == 6  # another teacher


def test_speech_has_the_perturbations_speed(make_stage):
    """Crops, not augmented, of the same speech, read at 0.8, 1 and 1.25 times the pace."""
    stage = make_stage("encoder.speeds=[0.8,1.0,1.25]", NOT_AUGMENTED)
    clips, speeds = np.array([5, 6, 7]), np.array([0.8, 1.0, 1.25])
    rng = np.random.default_rng(0)
    crops = stage._crops(clips, np.arange(3), rng)
    speech = stage.augmenter.speech_of(crops, PIECE, stage.labels[clips], rng)
    features, samples = stage.augmenter.features, stage.augmenter.samples(PIECE)
    assert speech.shape == (3, samples)
    mel = log_mels(speech, features, normalised=False)
    more = stage.augmenter.of_signals.samples_needed(samples)
    longest = int(np.ceil(more * stage.perturbation.max_speed)) + 64
    raw = stage.augmenter.speech.crops(clips, longest, np.random.default_rng(0))
    for row, speed in enumerate(speeds):
        wave = np.interp(np.arange(samples) * speed, np.arange(raw.shape[1]), raw[row].numpy())
        wanted = log_mels(torch.from_numpy(wave).float()[None], features, normalised=False)[0]
        low = slice(0, 40)  # what lies between samples is guessed badly for high tones
        alike = torch.corrcoef(torch.stack([mel[row, low].flatten(), wanted[low].flatten()]))[0, 1]
        assert alike > (0.999 if speed == 1 else 0.9), speed


def test_clips_come_once_a_pass_and_in_all_perturbations(make_stage):
    """Of a batch perturbations, crops and augmentation are drawn independently."""
    stage = make_stage(NOT_AUGMENTED, f"encoder.batch={PEOPLE}")
    augmented, clean = stage._speech(0)
    assert augmented.shape == (PEOPLE, (PIECE - 1) * 160 + 400) and torch.equal(
        augmented, stage._speech(0)[0]
    )
    assert torch.equal(augmented, clean), "nothing is augmented"
    clips = stage.sampler.draw(0, PEOPLE)
    assert sorted(clips) == list(range(PEOPLE))
    which = random_source(0, "perturbation", 0).integers(stage.perturbation.count, size=PEOPLE)
    wanted = stage._crops(clips, which, random_source(0, "cuts", 0))[:, : clean.shape[1]]
    assert torch.equal(clean, wanted) and (stage.perturbation.formants[clips, which] != 1).any()
    assert stage.perturbation.count == 7 + 25
    more = make_stage("encoder.augment=1", f"encoder.batch={PEOPLE}")._speech(0)[1]
    assert (torch.cosine_similarity(more, clean) > 0.999).all(), "the same crops, but for the level"


def test_the_teacher_reads_clean_speech_as_loud(make_stage):
    stage, plain = make_stage("encoder.augment=1"), make_stage(NOT_AUGMENTED)
    (augmented, clean), (crop, _) = stage._speech(0), plain._speech(0)
    power = augmented.square().mean(dim=1)
    torch.testing.assert_close(clean.square().mean(dim=1), power, atol=1e-9, rtol=1e-3)
    assert (torch.cosine_similarity(clean, crop) > 0.999).all(), "not augmented, but for the level"
    assert (torch.cosine_similarity(augmented, crop) < 0.99).all()


def test_without_augmentation_the_student_reads_clean_speech(make_stage):
    stage = make_stage("encoder.augment=0")
    augmented, clean = stage._speech(0)
    assert torch.equal(augmented, clean) and torch.isfinite(stage.step(0)["h1_missed"])


def test_all_iterations_are_layerwise(make_stage):
    """One key says how long: no other has to be changed with it."""
    stage = make_stage("encoder.iterations=3")
    assert stage.iterations == 3
    losses = [stage.step(i) for i in range(3)]
    assert "c1_missed" in losses[0] and "c1_missed" not in losses[1], "separate, then on top of each other"
    assert all({"h1_missed", "h2_missed", "h3_missed", "t_missed"} <= set(x) for x in losses)
    layer = stage.encoder.layers[1]
    assert torch.equal(layer.weight_hh_l0, stage.distillation.student.lstm_weights(1)["weight_hh_l0"])


def test_the_rate_is_the_recipes(make_stage):
    """lr times a beginning of 30 iterations, falling evenly to zero in each part."""
    stage = make_stage("encoder.lr=0.3", "encoder.iterations=4", "encoder.betas=[0.5,0.6]")
    (group,) = stage.distillation.optimiser.param_groups
    assert group["betas"] == (0.5, 0.6)
    for iteration, wanted in ((0, 0.3), (1, 0.15), (2, 0.35 * 0.3), (3, 0.35 * 0.15)):
        stage.step(iteration)
        assert group["lr"] == pytest.approx(wanted * (iteration + 1) / 30)


def test_its_checkpoint_gives_e(make_stage, tmp_path, space):
    """By the ridge map, from the encoder's t."""
    stage = make_stage()
    stage.step(0)
    kept = load_checkpoint(stage.checkpoint(1).save(tmp_path / "e"), need_generator=False)
    residual_std = torch.tensor(kept.controls.residual_std)
    assert kept.encoder_config.embedding == SIZE == len(residual_std)
    assert not kept.controls.normalise_embedding
    torch.testing.assert_close(residual_std, stage.ridge.residual_std, atol=1e-4, rtol=0)
    assert kept.info["distillation"]["space"] == space.name and kept.info["distillation"]["people"] == PEOPLE
    narrow, wide = kept.encoder.eval(), stage.encoder.eval()
    with torch.no_grad():
        bank = VoiceBank.unlabelled(stage.voices, wide.takes)
        clips = [bank.whole(i)[None] for i in range(5)]
        t, e = torch.cat([wide(mel) for mel in clips]), torch.cat([narrow(mel) for mel in clips])
        features = torch.cat([wide.features(mel) for mel in clips])
    torch.testing.assert_close(t, features[:, :DIMENSIONS])
    wanted = (t - stage.ridge.mean) @ stage.ridge.weights + stage.ridge.offset
    torch.testing.assert_close(e, wanted, atol=1e-4, rtol=1e-3)


def test_a_resumed_stage_is_the_same_stage(make_stage):
    stage, other = make_stage(), make_stage()
    stage.step(0)
    other.load(copy.deepcopy(stage.state()))
    for iteration in (1, 2):
        a, b = stage.step(iteration), other.step(iteration)
        assert all(torch.equal(a[k], b[k]) for k in a)
    weights = [torch.cat([p.detach().flatten() for p in s.encoder.parameters()]) for s in (stage, other)]
    assert torch.equal(*weights)


def test_it_starts_from_a_trained_encoder(make_stage):
    """All but the last layer, which holds the ridge map, and without the part of each layer by itself."""
    stage, other = make_stage(), make_stage()
    stage.step(0)
    trained = stage.checkpoint(1).encoder
    other.start_from(trained)
    mel = torch.randn(2, 64, 200) - 4
    with torch.no_grad():
        mine, theirs = other.encoder.features(mel), trained.features(mel)
    assert torch.equal(mine, theirs)
    assert "c1_missed" not in other.step(0) and "c1_missed" in stage.step(1)
    assert other.distillation.warm_started and not stage.distillation.warm_started


def test_data_that_do_not_fit_are_refused(make_stage, taught_store, store, space_folder, tmp_path):
    with pytest.raises(DataError, match="--keep-speech"):
        make_stage(store=store.of_split("train"))
    half = taught_store.select(np.ones(PEOPLE, dtype=bool))
    half.speech_offset = np.where(np.arange(PEOPLE) < 3, -1, half.speech_offset)
    with pytest.raises(DataError, match="of all its voices"):
        make_stage(store=half)
    slow = taught_store.select(np.ones(PEOPLE, dtype=bool))
    slow.about = {**taught_store.about, "features": {**taught_store.about["features"], "sample_rate": 24_000}}
    with pytest.raises(DataError, match="at 24000 Hz, the teacher's is at 16000"):
        make_stage(store=slow)
    with pytest.raises(CheckpointError, match="no usable face space"):
        make_stage(f"encoder.space={json.dumps(str(tmp_path))}")
    with pytest.raises(CheckpointError, match="Resemblyzer's speaker encoder"):
        make_stage(f"encoder.teacher={json.dumps(str(space_folder / 'space.json'))}")


def test_a_stage_is_of_its_own_kind_of_recipe(taught_store, recipe, tiny_settings):
    with pytest.raises(RecipeError, match="not for the stage of the voice encoder that classifies speakers"):
        SpeakerClassificationStage(taught_store, recipe(), 0, CPU)
    with pytest.raises(RecipeError, match="not for the stage of the voice encoder that classifies speakers"):
        SpeakerClassificationStage(taught_store, load_recipe("r3gan-face-embedding"), 0, CPU)


def test_a_run_of_it_ends_in_an_encoder_of_e(make_stage, taught_store, tmp_path):
    stage = make_stage("encoder.iterations=2")
    settings = {"data": str(taught_store.folder), "gender": "all", "seed": 0}
    run = Run.create(tmp_path / "runs", stage.recipe, settings)
    outcome = train(run, taught_store, CPU)
    assert outcome.finished and "h1_missed" in outcome.losses
    kept = load_checkpoint(run.encoder_folder, need_generator=False)
    assert len(kept.controls.residual_std) == SIZE
    assert kept.encoder(torch.randn(1, 64, 200) - 4).shape == (1, SIZE)


def test_each_element_gets_the_ridge_of_least_error():
    """Of two elements, one that x says exactly and one that is noise: the first takes the least ridge, the
    second the largest, and predictions are those of systems of one ridge."""
    x = torch.randn(60, 5).double()
    y = torch.stack([x @ torch.tensor([1.0, -2, 0, 0, 1]).double(), torch.randn(60).double()], dim=1)
    folds, weight, ridges = np.arange(60) % 5, torch.rand(60).double() + 0.5, (0.01, 1.0, 100.0)
    best, predicted = best_ridges(x, y, weight, folds, ridges)
    assert best[0] == 0.01 and best[1] > 0.01
    out = torch.from_numpy(folds == 3)
    for i, ridge in enumerate(best.tolist()):
        mean, slope, offset = ridge_regression(x[~out], y[~out], weight[~out], ridge)
        torch.testing.assert_close(predicted[out][:, i], ((x[out] - mean) @ slope + offset)[:, i])
