"""An encoder that hears how loud each bin is, from the recording to the image, and in training."""

import numpy as np
import pytest
import torch

from voice2face_gan import VoiceToFace
from voice2face_gan.audio.log_mel import FeatureSettings, encoder_input, log_mel
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.errors import DataError
from voice2face_gan.evaluation.protocol import embed_voices
from voice2face_gan.evaluation.verification import verify
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.r3gan import R3GANConfig
from voice2face_gan.models.registry import build_encoder, build_generator
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.tensorboard import clip_sound
from voice2face_gan.training.stages.r3gan import R3GANStage
from voice2face_gan.training.stages.speaker_classification import SpeakerClassificationStage

CPU = torch.device("cpu")
SETTINGS = ("encoder.batch=8", "gan.batch=4", "encoder.crop_frames=[60,80]", "run.precision='fp32'")
SETTINGS += ("model.voice_channels=[8,8,8,8]", "model.width=4", "model.z_dim=4", "data.crop_frames=[60,80]")
SMALL = {"width": 4, "voice_channels": (8, 8, 8, 8), "z_dim": 4}


@pytest.fixture(scope="module")
def model(store):
    """Function (levels) -> a model of small nets of chance, whose normalisation has met some voices."""
    some = store.select(store.has_voice).select(np.arange(24))

    def make(levels: bool) -> VoiceToFace:
        torch.manual_seed(0)
        config = R3GANConfig(**SMALL, voice_pool="recurrent" if levels else "mean")
        encoder, generator = build_encoder(config), build_generator(config).eval()
        if levels:  # each band is of eight bins' power; speech counts as soft, and is made louder
            bands = torch.eye(8).repeat_interleave(8, dim=1)
            encoder.bands.weight.data.copy_(torch.cat([bands * 1e-4, torch.full((1, 64), 1e-7)]))
            for weight in encoder.layers.parameters():
                weight.data *= 4  # so that clips differ
            encoder.last.bias.data.zero_()
        for layer in encoder.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.momentum = 1.0
        bank = VoiceBank(some, np.zeros(24, dtype=np.int64), levels=levels)
        with torch.no_grad():
            encoder(bank.crops(np.arange(24), 400, np.random.default_rng(0))[0])
        return VoiceToFace(Checkpoint("r3gan", config, encoder.eval(), generator), "small")

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
    for levels in (False, True):
        listener = model(levels)
        heard = voice_features((spoken, 16_000), levels=levels).log_mel
        middle = heard.mean(dim=1)
        assert (middle.abs().max() < 0.1) != levels and (middle.std() > 0.5) == levels
        assert torch.equal(heard_by(listener, (spoken, 16_000)), listener.predict(heard))


def test_a_softer_recording_gives_the_same_face_a_brighter_one_does_not(model, spoken):
    """What rises from the lowest bin to the highest is heard by the one and not by the other; what is soft in
    all bins alike is heard by neither."""
    rising = torch.linspace(-1, 1, 64)[:, None]
    for levels in (False, True):
        net = model(levels)
        mel = [log_mel(wave) for wave in (spoken, 0.5 * spoken)]
        e, softer, brighter = (
            net.predict(encoder_input(x, net.features, levels))
            for x in (mel[0].clone(), mel[1], mel[0] + rising)
        )
        assert (softer - e).norm() < 1e-3 * e.norm()
        assert ((brighter - e).norm() > 0.01 * e.norm()) == levels
        assert levels or (brighter - e).norm() < 1e-3 * e.norm()


def test_a_store_gives_what_the_recording_gives(model, store):
    some = store.select(store.has_voice & (np.arange(len(store)) < 4))
    listener, features = model(True), FeatureSettings.from_dict(store.about["features"])
    e = embed_voices(listener, some)
    for row, record in zip(e, range(len(some)), strict=True):
        mel = encoder_input(log_mel(clip_sound(some, record), features), features, levels=True)
        torch.testing.assert_close(row, listener.embed(mel), atol=2e-2, rtol=2e-2)
    assert (e[0] - e[1]).norm() > 0.1 * e[0].norm()


def test_a_generator_trains_on_it(model, store):
    checkpoint = model(True).checkpoint
    recipe = load_recipe("r3gan", SETTINGS)
    parts = store.of_split("train"), store.of_split("val")
    stage = R3GANStage(*parts, checkpoint, recipe, 0, CPU)
    e, *_ = stage._batch(0)
    assert torch.isfinite(e).all() and stage.checkpoint(0).model.voice_pool == "recurrent"
    assert all(torch.isfinite(loss) for loss in stage.step(0).values())


def test_it_is_distorted_by_its_speech_alone(model, store):
    """What distorts log-mels normalises them; the synthetic store keeps no speech."""
    recurrent = "model.voice_pool='recurrent'"
    recipe = load_recipe("r3gan", (*SETTINGS, recurrent, "encoder.augment=0.5"))
    with pytest.raises(DataError, match="hears the levels of log-mels .* --keep-speech"):
        SpeakerClassificationStage(store.of_split("train"), recipe, 0, CPU)
    with pytest.raises(DataError, match="--keep-speech"):
        verify(model(True).encoder, store.of_split("train"), CPU)
    undistorted = load_recipe("r3gan", (*SETTINGS, recurrent))
    stage = SpeakerClassificationStage(store.of_split("train"), undistorted, 0, CPU)
    assert stage.bank.levels and torch.isfinite(stage.step(0)["cross_entropy"])


def test_it_comes_back_from_a_checkpoint(model, spoken, tmp_path):
    made = model(True)
    made.checkpoint.save(tmp_path / "levels")
    again = VoiceToFace(load_checkpoint(tmp_path / "levels"), "again")
    assert again.encoder.levels
    before, after = (heard_by(m, (spoken, 16_000)) for m in (made, again))
    assert torch.equal(before, after)
