"""An encoder that hears how loud each bin is, from the recording to the image, and in training."""

import numpy as np
import pytest
import torch

from voice2face_gan import VoiceToFace
from voice2face_gan.audio.encoder_input import LOG_MEL, RAW_LOG_MEL, encoder_input, of_log_mel
from voice2face_gan.audio.log_mel import FeatureSettings, log_mel
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.errors import DataError
from voice2face_gan.evaluation.protocol import generator_inputs
from voice2face_gan.evaluation.verification import verify
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.encoders.conv import ConvEncoderConfig
from voice2face_gan.models.encoders.lstm import LstmEncoderConfig
from voice2face_gan.models.generators.r3gan import R3GANGeneratorConfig
from voice2face_gan.models.registry import build_encoder, build_generator
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.tensorboard import clip_sound
from voice2face_gan.training.stages.r3gan import R3GANStage
from voice2face_gan.training.stages.speaker_classification import SpeakerClassificationStage

CPU = torch.device("cpu")
TAKES = (LOG_MEL, RAW_LOG_MEL)
SETTINGS = ("encoder.batch=8", "gan.batch=4", "encoder.crop_frames=[60,80]", "run.precision='fp32'")
SETTINGS += ("model.encoder.channels=[8,8,8,8]", "model.generator.width=4", "model.generator.z_dim=4")
SETTINGS += ("data.crop_frames=[60,80]",)


@pytest.fixture(scope="module")
def model(store):
    """Function (raw_log_mel) -> a model of small nets of chance, whose normalisation has met some voices."""
    some = store.select(store.has_voice).select(np.arange(24))

    def make(raw_log_mel: bool) -> VoiceToFace:
        torch.manual_seed(0)
        kind = LstmEncoderConfig if raw_log_mel else ConvEncoderConfig
        config, made = kind(channels=(8, 8, 8, 8)), R3GANGeneratorConfig(width=4, z_dim=4)
        encoder, generator = build_encoder(config), build_generator(made).eval()
        if raw_log_mel:  # each band is of eight bins' power; speech counts as soft, and is made louder
            bands = torch.eye(8).repeat_interleave(8, dim=1)
            encoder.bands.weight.data.copy_(torch.cat([bands * 1e-4, torch.full((1, 64), 1e-7)]))
            for weight in encoder.layers.parameters():
                weight.data *= 4  # so that clips differ
            encoder.last.bias.data.zero_()
        for layer in encoder.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.momentum = 1.0
        bank = VoiceBank(some, np.zeros(24, dtype=np.int64), takes=TAKES[raw_log_mel])
        with torch.no_grad():
            encoder(bank.crops(np.arange(24), 400, np.random.default_rng(0))[0])
        return VoiceToFace(Checkpoint(config, encoder.eval(), made, generator), "small")

    return make


@pytest.fixture(scope="module")
def spoken(store):
    """A voice of the synthetic world: float32 (samples,) at 16 kHz."""
    return clip_sound(store, 0)


def heard_by(model: VoiceToFace, clip) -> torch.Tensor:
    """What the pipeline hands on to the generator's side."""
    got = []
    encode, model.encode = model.encode, lambda mel: got.append(encode(mel)) or got[-1]
    model.generate_detailed(clip)
    return got[0][0]


def test_the_encoder_gets_what_it_hears(model, spoken):
    for raw_log_mel in (False, True):
        listener = model(raw_log_mel)
        heard = voice_features((spoken, 16_000), takes=TAKES[raw_log_mel]).encoder_input
        middle = heard.mean(dim=1)
        assert (middle.abs().max() < 0.1) != raw_log_mel and (middle.std() > 0.5) == raw_log_mel
        assert torch.equal(heard_by(listener, (spoken, 16_000)), listener.predict(heard))


def test_a_softer_recording_gives_the_same_face_a_brighter_one_does_not(model, spoken):
    """What rises from the lowest bin to the highest is heard by the one and not by the other; what is soft in
    all bins alike is heard by neither."""
    rising = torch.linspace(-1, 1, 64)[:, None]
    for raw_log_mel in (False, True):
        net = model(raw_log_mel)
        mel = [log_mel(wave) for wave in (spoken, 0.5 * spoken)]
        e, softer, brighter = (
            net.predict(of_log_mel(x, net.features, TAKES[raw_log_mel]))
            for x in (mel[0].clone(), mel[1], mel[0] + rising)
        )
        assert (softer - e).norm() < 1e-3 * e.norm()
        assert ((brighter - e).norm() > 0.01 * e.norm()) == raw_log_mel
        assert raw_log_mel or (brighter - e).norm() < 1e-3 * e.norm()


def test_a_store_gives_what_the_recording_gives(model, store):
    some = store.select(store.has_voice & (np.arange(len(store)) < 4))
    listener, features = model(True), FeatureSettings.from_dict(store.about["features"])
    e = generator_inputs(listener, some)
    for row, record in zip(e, range(len(some)), strict=True):
        mel = encoder_input(clip_sound(some, record), features, RAW_LOG_MEL)
        torch.testing.assert_close(row, listener.generator_input(mel), atol=2e-2, rtol=2e-2)
    assert (e[0] - e[1]).norm() > 0.1 * e[0].norm()


def test_a_generator_trains_on_it(model, store):
    checkpoint = model(True).checkpoint
    recipe = load_recipe("r3gan", SETTINGS)
    parts = store.of_split("train"), store.of_split("val")
    stage = R3GANStage(*parts, checkpoint, recipe, 0, CPU)
    e, *_ = stage.batches.draw(0)
    assert torch.isfinite(e).all() and stage.checkpoint(0).encoder_config.type == "lstm"
    assert all(torch.isfinite(loss) for loss in stage.step(0).values())


def test_it_is_distorted_by_its_speech_alone(model, store):
    """What distorts log-mels normalises them; the synthetic store keeps no speech."""
    recurrent = "model.encoder.type='lstm'"
    recipe = load_recipe("r3gan", (*SETTINGS, recurrent, "encoder.augment=0.5"))
    with pytest.raises(DataError, match="takes raw log-mels .* --keep-speech"):
        SpeakerClassificationStage(store.of_split("train"), recipe, 0, CPU)
    with pytest.raises(DataError, match="--keep-speech"):
        verify(model(True).encoder, store.of_split("train"), CPU)
    undistorted = load_recipe("r3gan", (*SETTINGS, recurrent))
    stage = SpeakerClassificationStage(store.of_split("train"), undistorted, 0, CPU)
    assert stage.bank.takes == RAW_LOG_MEL and torch.isfinite(stage.step(0)["cross_entropy"])


def test_it_comes_back_from_a_checkpoint(model, spoken, tmp_path):
    made = model(True)
    made.checkpoint.save(tmp_path / "raw_log_mel")
    again = VoiceToFace(load_checkpoint(tmp_path / "raw_log_mel"), "again")
    assert again.encoder.takes == RAW_LOG_MEL
    before, after = (heard_by(m, (spoken, 16_000)) for m in (made, again))
    assert torch.equal(before, after)
