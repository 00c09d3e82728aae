"""Encoders that take speech, Speech2Face's VE_conv and AST: from the recording to the image, and refusals."""

import json

import numpy as np
import pytest
import torch

from voice2face_gan import VoiceToFace
from voice2face_gan.audio.encoder_input import SPEECH, SPEECH_SAMPLES, encoder_input
from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.audio.spectrogram import spectrograms
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.data.synthetic import synthetic_store
from voice2face_gan.errors import AudioError, DataError, OutputError, RecipeError
from voice2face_gan.evaluation.metrics.noise import noise_embeddings
from voice2face_gan.evaluation.protocol import generate_eval_set, generator_inputs
from voice2face_gan.evaluation.registry import Options, compute
from voice2face_gan.evaluation.verification import verify
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint, takes_speech
from voice2face_gan.models.encoders.ast import AstEncoderConfig
from voice2face_gan.models.encoders.speech2face import Speech2FaceEncoderConfig
from voice2face_gan.models.exchange.onnx import export_onnx
from voice2face_gan.models.generators.r3gan import R3GANGeneratorConfig
from voice2face_gan.models.registry import build_encoder, build_generator
from voice2face_gan.training.augmentation.clip_augmenter import ClipAugmenter
from voice2face_gan.training.probes.gender import gender_probe, with_warnings
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.stages.r3gan import R3GANStage

CPU = torch.device("cpu")
AST = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_length": 200,
    "num_mel_bins": 32,
}
CONFIGS = {
    "speech2face": Speech2FaceEncoderConfig(width=1 / 64, last_relu=False),
    "ast": AstEncoderConfig(last_relu=False, ast=AST, norms="kacper"),
}


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture(scope="module")
def spoken():
    """A synthetic world of ten people that keeps speech. Do not write there."""
    return synthetic_store("synthetic:10", keep_speech=True)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    """A model of small nets of chance whose encoder takes speech."""
    if request.param == "ast":
        pytest.importorskip("transformers", reason="the extra speech2face is not installed")
    torch.manual_seed(0)
    config, made = CONFIGS[request.param], R3GANGeneratorConfig(width=4, z_dim=4)
    encoder, generator = build_encoder(config), build_generator(made).eval()
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        encoder.train()(0.1 * torch.randn(4, 96_000))
    return VoiceToFace(Checkpoint(config, encoder.eval(), made, generator), "small")


@pytest.fixture(scope="module")
def clip(spoken):
    """Some speech: float32 (samples,) at 16 kHz."""
    return VoiceBank.unlabelled(spoken.select(spoken.has_voice), SPEECH).whole(0).numpy()


def test_speech_is_kept_as_it_was_found_and_no_more_than_half_a_minute(clip):
    found = voice_features((clip, 16_000), vad=None, takes=SPEECH)
    assert torch.equal(found.encoder_input, torch.from_numpy(clip))
    assert found.variation == voice_features((clip, 16_000), vad=None).variation
    long = np.random.default_rng(0).normal(0, 0.1, 40 * 16_000).astype(np.float32)
    found = voice_features((long, 16_000), vad=None, takes=SPEECH)
    assert torch.equal(found.encoder_input, torch.from_numpy(long[:SPEECH_SAMPLES]))
    assert found.speech_seconds == 40
    with pytest.raises(AudioError, match="takes speech at 16000 Hz, not at 8000"):
        voice_features((clip, 16_000), None, FeatureSettings(sample_rate=8000, f_max=3600), takes=SPEECH)


def test_crops_are_whole_hops_and_short_speech_is_repeated(spoken):
    voices = spoken.select(spoken.has_voice)
    bank = VoiceBank.unlabelled(voices, SPEECH)
    crops, labels = bank.crops(np.array([0, 1, 2]), 30, np.random.default_rng(0))
    assert crops.shape == (3, 4800) and crops.abs().max() <= 1 and len(labels) == 3
    whole = bank.whole(1)
    assert len(whole) == voices.speech_samples[1] and whole.abs().max() > 0.01
    place = next(i for i in range(len(whole) - 4800) if torch.equal(whole[i : i + 4800], crops[1]))
    assert place >= 0
    long, _ = bank.crops(np.array([1]), 3000, np.random.default_rng(0))
    assert torch.equal(long[0, : len(whole)], whole) and torch.equal(long[0, len(whole)], whole[0])
    parts = [bank.crops(np.arange(4), 30, np.random.default_rng(7), s)[0] for s in (slice(0, 2), slice(2, 4))]
    assert torch.equal(torch.cat(parts), bank.crops(np.arange(4), 30, np.random.default_rng(7))[0])


def test_a_store_without_speech_is_refused_with_what_to_do(store, spoken, model):
    with pytest.raises(DataError, match="takes speech, .* --keep-speech"):
        VoiceBank.unlabelled(store, SPEECH)
    with pytest.raises(DataError, match="--keep-speech"):
        generator_inputs(model, store.select(store.has_voice))
    other = spoken.select(spoken.has_voice)
    other.about = {**other.about, "features": {**other.about["features"], "sample_rate": 8000}}
    with pytest.raises(DataError, match="speech at 16000 Hz, and the store's is at 8000 Hz"):
        VoiceBank.unlabelled(other, SPEECH)
    with pytest.raises(DataError, match="no speech in the clip"):
        encoder_input(np.zeros(0, dtype=np.float32), FeatureSettings(), SPEECH)


def test_the_spectrogram_is_made_inside(clip):
    torch.manual_seed(1)
    encoder = build_encoder(CONFIGS["speech2face"]).eval()
    speech = torch.from_numpy(clip)[None]
    with torch.no_grad():
        e, features = encoder.with_features(speech)
        assert torch.equal(features, super(type(encoder), encoder).features(spectrograms(speech)))
        assert torch.equal(e, encoder(speech)) and features.shape == (1, CONFIGS["speech2face"].feature_size)
        repeated = torch.cat([speech] * 4, dim=1)[:, :96_000]
        torch.testing.assert_close(encoder(repeated), e)  # up to 6 s it is repeated


def test_a_checkpoint_brings_it_back_in_half_precision_too(model, clip, tmp_path):
    e = model.predict(torch.from_numpy(clip))
    assert e.norm() == pytest.approx(1) and e.std() > 0.01
    for half in (False, True):
        folder = model.checkpoint.save(tmp_path / f"half-{half}", half)
        again = VoiceToFace(load_checkpoint(folder), "again")
        assert again.checkpoint.encoder_config == model.checkpoint.encoder_config and takes_speech(folder)
        torch.testing.assert_close(again.predict(torch.from_numpy(clip)), e, atol=0.02 if half else 0, rtol=0)
    assert (
        json.loads((folder / "config.json").read_text())["encoder"]["type"]
        == model.checkpoint.encoder_config.type
    )


def test_a_recording_gives_what_its_store_gives(model, spoken, clip):
    voices = spoken.select(spoken.has_voice)
    rows = generator_inputs(model, voices.select(np.arange(len(voices)) < 3))
    torch.testing.assert_close(rows[0], model.generator_input(torch.from_numpy(clip)))
    assert (rows[0] - rows[1]).norm() > 1e-3
    found = model.generate_detailed((clip, 16_000), variants=2)
    assert len(found.faces) == 2 and found.faces[0].size == (64, 64)
    short = generator_inputs(model, voices.select(np.arange(len(voices)) < 1), frames=100)
    cut = torch.from_numpy(clip)[: 99 * 160 + 400]  # of 100 frames of 25 ms
    torch.testing.assert_close(short[0], model.generator_input(cut))


def test_metrics_that_feed_an_encoder_work(model, spoken, judge_folder):
    from voice2face_gan.evaluation.readers import open_reader

    made = generate_eval_set(model, spoken, "test", reader=open_reader(str(judge_folder)))
    options = Options(seconds=(1.0,), inner=("gender",))
    assert any(name.endswith("@1s") for name in compute("duration", made, options))
    assert torch.isfinite(noise_embeddings(made, 0)).all()


def test_verification_and_augmentation_distort_speech(model, spoken):
    voices = spoken.select(spoken.has_voice)
    voices = voices.select(np.arange(len(voices)) < 12)
    figures = verify(model.encoder, voices, CPU, max_trials=200, resamplings=10)
    assert figures.keys() == {"clean", "noisy"}
    recipe = load_recipe("speaker-encoder", ("encoder.augment=1",))
    bank = VoiceBank.unlabelled(voices, SPEECH)
    items = np.arange(3)
    crops, labels = bank.crops(items, 100, np.random.default_rng(0))
    changed = ClipAugmenter(voices, recipe.encoder, SPEECH)(
        crops.clone(), items, labels.numpy(), np.random.default_rng(0)
    )
    assert changed.shape == crops.shape and torch.isfinite(changed).all()
    assert not any(torch.equal(a, b) for a, b in zip(changed, crops, strict=True))


@pytest.mark.slow
def test_probes_are_fitted_on_its_features(model, spoken):
    voices = spoken.select(spoken.has_voice)
    voices = voices.select(np.isin(np.arange(len(voices)), np.linspace(0, len(voices) - 1, 8).astype(int)))
    probe = gender_probe(voices, model.encoder, model.controls, CPU)
    assert probe.shape == (65,)
    made, why = with_warnings(model.checkpoint, voices, 0)
    assert not why and made.probes["speech"].shape == (model.checkpoint.encoder_config.feature_size + 1,)


def test_a_generator_trains_on_it(model, spoken):
    settings = (
        "model.generator.width=4",
        "model.generator.z_dim=4",
        "gan.batch=4",
        "data.crop_frames=[60,80]",
    )
    recipe = load_recipe("r3gan", (*settings, "run.precision='fp32'"))
    stage = R3GANStage(spoken.of_split("train"), spoken, model.checkpoint, recipe, 0, CPU)
    assert all(torch.isfinite(loss) for loss in stage.step(0).values())
    bf16 = model.encoder.frozen(torch.bfloat16)
    assert torch.isfinite(
        bf16(stage.batches.voices.crops(np.arange(2), 60, np.random.default_rng(0))[0])
    ).all()


def test_onnx_is_refused_in_a_sentence(model, tmp_path):
    with pytest.raises(OutputError, match="takes speech, and the spectrogram"):
        export_onnx(model.checkpoint, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_settings_of_an_ast_are_checked():
    pytest.importorskip("transformers", reason="the extra speech2face is not installed")
    with pytest.raises(Exception, match="An AST has no setting 'hidden'"):
        build_encoder(AstEncoderConfig(ast={"hidden": 3}))
    with pytest.raises(RecipeError, match="norms must be audioset"):
        load_recipe("r3gan", ("model.encoder.type='ast'", "model.encoder.norms='other'"))
    with pytest.raises(RecipeError, match="'model.encoder.ast' must be a table"):
        load_recipe("r3gan", ("model.encoder.type='ast'", "model.encoder.ast=3"))
    recipe = load_recipe("r3gan", ("model.encoder.type='ast'", "model.encoder.ast={hidden_size=24}"))
    assert recipe.model.encoder.ast == {"hidden_size": 24} and recipe.model.encoder.feature_size == 24
