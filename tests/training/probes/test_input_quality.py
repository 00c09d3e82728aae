"""The readings behind warnings: is it speech, is it a child?"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.audio.log_mel import FeatureSettings, log_mel, normalise
from voice2face_gan.audio.vad import VadSettings
from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import DataError
from voice2face_gan.models.encoders.conv import ConvEncoder, ConvEncoderConfig
from voice2face_gan.models.encoders.lstm import LstmEncoder, LstmEncoderConfig
from voice2face_gan.synthetic.sounds import SOUNDS, make_sound
from voice2face_gan.synthetic.speakers import sample_speakers
from voice2face_gan.synthetic.voice import synthesise
from voice2face_gan.training.probes import input_quality

FEATURES = FeatureSettings(min_frames=200)


def probability(probe, x):
    return torch.sigmoid(x @ probe[:-1] + probe[-1])


def auc(positive, negative) -> float:
    return float((positive[:, None] > negative).float().mean())


@pytest.fixture(scope="module")
def encoder():
    """Random filters: what is asked of the probes can be read from those, too."""
    torch.manual_seed(0)
    net = ConvEncoder(ConvEncoderConfig(channels=(32, 48, 64)))
    net(torch.randn(8, 64, 100))  # running statistics
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Function (ages, keep speech) -> a store of a built-in voice each; the children's are played 1.5
    times as fast, so that pitch and formants are a child's."""

    def make(ages, keep_speech: bool = True, seed: int = 5) -> Store:
        folder = tmp_path_factory.mktemp("store") / "s"
        voices = synthesise(sample_speakers(len(ages), seed=seed), 3.0, seed=seed)
        with StoreWriter(
            folder, FEATURES.to_dict(), 8, {"layout": "voices"}, keep_speech=keep_speech
        ) as writer:
            for i, (age, voice) in enumerate(zip(ages, voices, strict=True)):
                if age is not None and age < 13:
                    voice = np.interp(np.arange(0, len(voice) - 1, 1.5), np.arange(len(voice)), voice)
                speech = (voice * 32767).astype(np.int16)
                mel = normalise(log_mel(speech.astype(np.float32) / 32768, FEATURES)).numpy()
                writer.add(Record(f"r{i}", f"p{i}", age=age), mel, speech=speech)
            writer.finish()
        return Store(folder)

    return make


@pytest.fixture(scope="module")
def store(write):
    return write([8] * 10 + [15] * 2 + [30] * 7 + [None] * 5)


@pytest.fixture(scope="module")
def probes(encoder, store):
    return input_quality.fit_quality_probes(encoder, FEATURES, store, clips=96, sounds=44)


def test_new_speech_and_new_sounds_are_told_apart(encoder, probes, write):
    voices = write([None] * 8, seed=21)
    spoken = input_quality.speech_features(encoder, FEATURES, voices, np.repeat(np.arange(8), 2), seed=6)
    other, kinds = input_quality.sound_features(encoder, FEATURES, VadSettings(), list(SOUNDS), 44, seed=6)
    assert set(kinds) == set(SOUNDS) and len(kinds) == len(other) >= 44
    speech, none = probability(probes["speech"], spoken), probability(probes["speech"], other)
    assert auc(speech, none) > 0.9
    assert speech.median() > 0.5 > none.median()


def test_new_children_and_adults_are_told_apart(encoder, probes, write):
    people = write([9] * 8 + [40] * 8, seed=22)
    x = input_quality.speech_features(encoder, FEATURES, people, np.arange(16), seed=7)
    child = probability(probes["child"], x)
    assert auc(child[:8], child[8:]) > 0.8  # ten children to learn from, filters that nobody trained


def test_the_probes_fit_the_encoder_and_the_seed_decides(encoder, probes, store):
    assert set(probes) == {"speech", "child"}
    assert all(p.shape == (65,) and p.dtype == torch.float32 for p in probes.values())
    few = [
        input_quality.fit_quality_probes(encoder, FEATURES, store, clips=24, sounds=6, seed=s)
        for s in (1, 1, 2)
    ]
    assert all(torch.equal(few[0][k], few[1][k]) and not torch.equal(few[0][k], few[2][k]) for k in probes)


def test_two_people_in_turn_agree_less_than_one(store, write):
    """Pieces that point where their power lies: one voice's are alike, and a probe tells two."""

    class Pointing(LstmEncoder):
        def _of_pieces(self, pieces):
            return F.normalize(pieces.mean(dim=1), dim=1).repeat(1, 2)

    torch.manual_seed(0)
    net = Pointing(LstmEncoderConfig(64, 12, (8, 8, 8)))
    net.bands.weight.data = torch.cat([torch.eye(8).repeat_interleave(8, dim=1), torch.ones(1, 64)])
    two, one = input_quality.speaker_change_features(net, FEATURES, store, 40, seed=3)
    again = input_quality.speaker_change_features(net, FEATURES, store, 40, seed=3)
    assert torch.equal(two, again[0]) and torch.equal(one, again[1])
    assert two.shape == one.shape == (40,) and auc(one, two) > 0.8
    probe = input_quality.fit(two[:, None], one[:, None], 1e-4)
    assert probe.shape == (2,) and probe[0] < 0
    assert float((probability(probe, two[:, None]) > 0.5).float().mean()) > 0.6
    with pytest.raises(DataError, match="two speakers are needed"):
        input_quality.speaker_change_features(net, FEATURES, write([30]), 4)


def test_without_children_there_is_no_probe_of_them(encoder, write):
    found = input_quality.fit_quality_probes(
        encoder, FEATURES, write([None, 20, 15]), clips=12, sounds=4, kinds=("hum", "drums")
    )
    assert set(found) == {"speech"}


def test_a_store_of_log_mels_alone_is_refused(encoder, write):
    with pytest.raises(DataError, match="keeps no speech; prepare it again with --keep-speech"):
        input_quality.fit_quality_probes(encoder, FEATURES, write([30, 8], keep_speech=False))


def test_who_counts_as_what(write):
    people = write([6, 12, 13, 17, 18, 70, None])
    assert input_quality._children(people).tolist() == [True, True] + [False] * 5
    assert input_quality._adults(people).tolist() == [False] * 4 + [True] * 3


def test_children_are_drawn_against_adults_of_their_corpus(store):
    """A third each: children, others of their corpora, everybody else; each speaker of a group has the same
    chance, however many records there are of each."""
    people = store.select(np.array([0] * 30 + [1] + [20] * 5 + [21] + [22] * 5))
    people.source = np.array(["a/x"] * 32 + ["a/y"] * 5 + ["b/z"] * 5)
    items = input_quality._balanced(people, 6000, np.random.default_rng(0))
    count = np.bincount(items, minlength=42)
    assert count.sum() == 6000 and count[:31].sum() == count[31:37].sum() == count[37:].sum() == 2000
    assert count[30] == pytest.approx(1000, abs=100) and count[36] == pytest.approx(1000, abs=100)


def test_a_sound_is_heard_whole_and_as_the_pipeline_hears_it(encoder, monkeypatch):
    """Clicks come twice, for the detector drops the pauses (but of one that a room fills); silence, which is
    refused, once."""

    def make(kind, seconds, seed):
        return (
            make_sound(kind, seconds, seed)
            if kind == "clicks"
            else np.zeros(round(16_000 * seconds), np.float32)
        )

    monkeypatch.setattr(input_quality, "make_sound", make)
    x, kinds = input_quality.sound_features(
        encoder, FEATURES, VadSettings(), ["clicks", "silence"], 8, seed=1
    )
    assert (kinds == "silence").sum() == 4 and (kinds == "clicks").sum() == 7
    first, second = x[kinds == "clicks"][:2]
    assert (first - second).abs().max() > 1e-3


def test_noisy_speech_is_speech(encoder, store, monkeypatch):
    """Half of the pieces are distorted, some of these have a sound behind them."""
    used = []
    monkeypatch.setattr(input_quality, "make_sound", lambda *a: used.append(a[0]) or make_sound(*a))
    items = np.arange(16) % len(store)
    heard = input_quality.speech_features(encoder, FEATURES, store, items, ("drums",), seed=2)
    monkeypatch.setattr(input_quality, "_DISTORTED", 0)
    plain = input_quality.speech_features(encoder, FEATURES, store, items, ("drums",), seed=2)
    changed = (heard - plain).abs().amax(dim=1) > 1e-4
    assert 3 <= int(changed.sum()) <= 13
    assert 1 <= len(used) < int(changed.sum()) and set(used) == {"drums"}


def test_every_channel_counts_by_its_own_spread():
    """The answer does not depend on the scale of a channel, and one that never changes does no harm."""
    torch.manual_seed(0)
    a, b = torch.randn(200, 3) + torch.tensor([1.0, 0.0, 0.0]), torch.randn(100, 3)
    a[:, 2] = b[:, 2] = 7.0
    scale = torch.tensor([30.0, 0.5, 1.0])
    plain, scaled = input_quality.fit(a, b, 1e-3), input_quality.fit(a * scale, b * scale, 1e-3)
    assert torch.allclose(probability(plain, a), probability(scaled, a * scale), atol=1e-3)
    # Classes weigh the same whatever their sizes: the boundary of two Gaussians lies half-way.
    middle = torch.tensor([0.5, 0.0, 7.0])
    assert float(probability(plain, middle)) == pytest.approx(0.5, abs=0.08)
