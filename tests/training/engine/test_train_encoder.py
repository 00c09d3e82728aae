"""A run of the voice encoder alone, and clips that are distorted as it trains."""

import json

import numpy as np
import pytest
import torch

from voice2face_gan.audio.log_mel import FeatureSettings, log_mels
from voice2face_gan.data.batches.sampling import VoiceBank, classes
from voice2face_gan.data.batches.speech import SpeechBank
from voice2face_gan.data.synthetic import synthetic_store
from voice2face_gan.errors import DataError, RecipeError
from voice2face_gan.models.checkpoint import find_checkpoint, load_checkpoint
from voice2face_gan.training.augmentation.clip_augmenter import ClipAugmenter
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.engine.warm_start import training_records
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.run.index import describe
from voice2face_gan.training.stages.speaker_classification import SpeakerClassificationStage

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def spoken(own_cache):
    """The synthetic world of 10 speakers with their speech: 7 to train on, 1 to validate, 2 to test."""
    return synthetic_store("synthetic:10", keep_speech=True)


@pytest.fixture
def new_encoder_run(tmp_path, encoder_settings):
    def make(name: str = "runs", iterations: int = 8, **more) -> Run:
        more = {"encoder__iterations": iterations, "run__log_every": 1} | more
        recipe = load_recipe("wen2019", ("stages=['encoder']", *encoder_settings(**more)))
        return Run.create(tmp_path / name, recipe, {"data": "synthetic:10", "gender": "all", "seed": 0})

    return make


def losses(run: Run) -> list:
    return [json.loads(x)["cross_entropy"] for x in (run.folder / "train.jsonl").read_text().splitlines()]


def test_undistorted_a_store_with_speech_trains_as_one_without(spoken, tiny_settings):
    recipe = load_recipe("wen2019", tiny_settings())
    plain = synthetic_store("synthetic:10")
    stages = [SpeakerClassificationStage(s.of_split("train"), recipe, 0, CPU) for s in (spoken, plain)]
    for i in range(3):
        a, b = (stage.step(i)["cross_entropy"] for stage in stages)
        assert torch.equal(a, b)
    assert stages[0].augmenter is None


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_share_asked_for_is_distorted(spoken, share, tiny_settings):
    settings = load_recipe("wen2019", tiny_settings(encoder__augment=share)).encoder
    voices = spoken.select(spoken.has_voice)
    _, labels = classes(voices)
    bank, items = VoiceBank(voices, labels), np.arange(40).repeat(5)
    mel, who = bank.crops(items, 100, np.random.default_rng(0))
    distorted = ClipAugmenter(voices, settings)(mel.clone(), items, who.numpy(), np.random.default_rng(1))
    changed = (distorted != mel).flatten(1).any(1).float().mean()
    assert changed == pytest.approx(share, abs=0.12) and (share not in (0, 1) or changed == share)
    assert distorted.shape == mel.shape and torch.isfinite(distorted).all()


def test_a_store_of_log_mels_alone_is_distorted_too(store, tiny_settings):
    settings = load_recipe("wen2019", tiny_settings(encoder__augment=1.0)).encoder
    voices = store.select(store.has_voice)
    assert not voices.has_speech.any()
    mel, who = VoiceBank(voices, classes(voices)[1]).crops(np.arange(20), 100, np.random.default_rng(0))
    distorted = ClipAugmenter(voices, settings)(
        mel.clone(), np.arange(20), who.numpy(), np.random.default_rng(1)
    )
    assert (distorted != mel).flatten(1).any(1).all() and torch.isfinite(distorted).all()


def test_speech_and_log_mel_of_a_store_are_one(spoken):
    """The crop of a voice as speech gives the crop of its log-mel, but for the normalisation over each."""
    voices = spoken.select(spoken.has_voice)
    features = FeatureSettings()
    speech, bank = SpeechBank(voices), VoiceBank(voices, np.zeros(len(voices), dtype=np.int64), 1)
    for item in (0, 7, len(voices) - 1):
        again = log_mels(speech.whole(item)[None], features)[0]
        torch.testing.assert_close(again, bank.whole(item), atol=0.1, rtol=0.02)
    assert speech.crops(np.array([3, 3]), 90_000, np.random.default_rng(0)).shape == (2, 90_000), "repeated"


def test_with_distortion_it_learns(spoken, tiny_settings):
    settings = {"augment": 0.5, "iterations": 40, "lr": 0.01}
    recipe = load_recipe("wen2019", tiny_settings(**{f"encoder__{k}": v for k, v in settings.items()}))
    stage = SpeakerClassificationStage(spoken.of_split("train"), recipe, 0, CPU)
    told = [float(stage.step(i)["cross_entropy"]) for i in range(40)]
    assert np.mean(told[-8:]) < 0.85 * np.mean(told[:4])


def test_a_run_is_measured_resumed_and_used(spoken, store, new_encoder_run, new_run, tmp_path):
    asked = []

    def evaluate(folder):
        asked.append(folder.name)
        value = {"encoder-0000004": 20.0, "encoder-0000008": 30.0}[folder.name]
        return {"metrics": {"equal_error_rate": {"clean": {"value": value}}}}

    more = {"run__evaluate_every": 4, "run__best": "eer", "run__keep": 1, "encoder__augment": 0.5}
    whole, parts = new_encoder_run("a", **more), new_encoder_run("b", **more)
    outcome = train(whole, spoken, CPU, evaluate=evaluate)
    assert outcome.finished and outcome.stage == "encoder" and outcome.iteration == 8
    assert asked == ["encoder-0000004", "encoder-0000008"]
    assert whole.best()["checkpoint"] == "encoder-0000004" and whole.best()["eer"] == 20.0
    assert find_checkpoint(whole.folder / "best").name == "encoder-0000004", "kept though it is old"

    part = train(parts, spoken, CPU, iterations=3)
    assert part.iteration == 3
    train(Run.open(parts.folder), spoken, CPU)
    assert losses(parts) == losses(whole)
    a, b = (load_checkpoint(run.encoder_folder, need_generator=False).tensors() for run in (whole, parts))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

    gan = new_run(tmp_path / "gan", 2, encoder=whole.folder)
    train(gan, store, CPU)
    c = load_checkpoint(gan.encoder_folder, need_generator=False).tensors()
    assert all(torch.equal(a[k], c[k]) for k in a)


def test_faces_are_not_needed_but_two_speakers_are(spoken, new_encoder_run):
    run = new_encoder_run()
    voices = spoken.select(~spoken.has_face | spoken.has_voice)
    voices.face_index = np.full(len(voices), -1)
    assert len(training_records(voices, run)) == 28
    one = voices.select(voices.identity == voices.identity[0])
    with pytest.raises(DataError, match="1 of the people to train on have voices"):
        training_records(one, run)
    with pytest.raises(DataError, match="bins"):
        training_records(voices, new_encoder_run(model__encoder__mel_bins=40))


def test_its_run_folder(new_encoder_run, tmp_path):
    run = new_encoder_run("one")
    assert run.folder.name.endswith("-b16"), "the encoder's batch"
    assert Run.open(run.folder).recipe == run.recipe and run.recipe.encoder_alone
    assert describe(run.folder)["iterations"] == 8 and not describe(run.folder)["finished"]
    (run.folder / "checkpoints" / "encoder-0000008").mkdir(parents=True)
    (run.folder / "checkpoints" / "encoder-0000008" / "config.json").touch()
    assert describe(run.folder)["finished"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("augment", 1.5, "augment must be between 0 and 1"),
        ("augment_snr", [20.0, 0.0], "augment_snr must be two numbers, in order"),
        ("augment_speed", 0.7, "augment_speed"),
    ],
)
def test_recipes_are_checked(key, value, words, tiny_settings):
    with pytest.raises(RecipeError, match=words):
        load_recipe("wen2019", tiny_settings(**{"encoder__augment": 0.5, f"encoder__{key}": value}))


def test_the_recipe_of_a_speaker_encoder_distorts_and_the_others_do_not():
    assert load_recipe("speaker-encoder").encoder.augment > 0.5
    assert load_recipe("wen2019").encoder.augment == 0
