"""Noise, hum, tones and machines are refused or warned of, with and without a probe of speech."""

from pathlib import Path

import numpy as np
import pytest
import torch

from voice2face_gan import VoiceToFace
from voice2face_gan.audio.decode import load_audio
from voice2face_gan.audio.level import TARGET_LEVEL_DB
from voice2face_gan.audio.log_mel import log_mel
from voice2face_gan.audio.steady import bands, variety
from voice2face_gan.audio.vad import VadSettings, keep_speech
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.errors import NoSpeechError
from voice2face_gan.recording_warnings import MIN_SPEECH_BANDS, MIN_VARIETY_NATS, recording_warning

RATE = 16_000
SECONDS = 3
T = np.arange(SECONDS * RATE) / RATE
ROOT = Path(__file__).parents[2]
VOICES = ROOT.parent / "shared/data/paired/voxceleb/voice"


def sine(hertz) -> np.ndarray:
    return np.sin(2 * np.pi * np.cumsum(np.broadcast_to(hertz, T.shape)) / RATE)


def noise(slope: float) -> np.ndarray:
    """Power falls as frequency to the -2 * slope: 0 white, 0.5 pink, 1 brown."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(len(T)))
    return np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(len(T), 1 / RATE), 20) ** slope, len(T))


def buzz() -> np.ndarray:
    return sum(np.sin(2 * np.pi * 50 * k * T + k) / k for k in range(1, 40))


def dialling() -> np.ndarray:
    keys = np.random.default_rng(0).integers(0, 4, (2, 100))
    key = (T / 0.15).astype(int)
    low, high = np.array([697, 770, 852, 941])[keys[0, key]], np.array([1209, 1336, 1477, 1633])[keys[1, key]]
    return (sine(low) + sine(high)) * (T % 0.15 < 0.1)


def clicking(rate: float) -> np.ndarray:
    out = np.zeros_like(T)
    out[:: int(RATE / rate)] = 1
    click = np.exp(-np.arange(160) / 20) * np.random.default_rng(0).standard_normal(160)
    return np.convolve(out, click)[: len(T)]


SOUNDS = {
    "50 Hz hum": sine(50), "hum with harmonics": buzz(), "440 Hz": sine(440), "1 kHz": sine(1000),
    "white noise": noise(0), "pink noise": noise(0.5), "brown noise": noise(1),
    "fan": noise(0.5) * (1 + 0.2 * sine(12)) + 0.02 * noise(0.5).std() * sine(240),
    "siren of two tones": sine(np.where(T % 1 < 0.5, 440, 585)), "dialling": dialling(),
    "yelp": sine(1000 + 500 * np.sin(8 * np.pi * T)), "wail": sine(1000 + 500 * np.sin(np.pi * T)),
    "engaged tone": sine(425) * (T % 0.5 < 0.25),
    "hum that swells": buzz() * (1 + 0.9 * sine(4)), "noise that swells": noise(0) * (1 + 0.9 * sine(4)),
    "clicks, 4 a second": clicking(4), "clicks, 25 a second": clicking(25),
}  # fmt: skip


@pytest.fixture(scope="module")
def default() -> VoiceToFace:
    model = VoiceToFace.from_pretrained("default")
    assert "speech" in model.checkpoint.probes
    return model


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_are_refused_or_warned_of(default, name):
    """Loud, and so soft that the detector hears them only if they are raised; in faint noise, too."""
    sound = SOUNDS[name] / np.abs(SOUNDS[name]).max()
    faint = 1e-4 * np.random.default_rng(1).standard_normal(len(T))
    for level, behind, target in (
        (0.3, 0, None),
        (0.3, faint, TARGET_LEVEL_DB),
        (0.003, 0, -20),
        (0.003, faint, -20),
    ):
        try:
            waveform = (level * sound + behind).astype(np.float32)
            voice = voice_features((waveform, RATE), VadSettings(target_level_db=target), takes="raw_log_mel")
        except NoSpeechError:
            continue
        # Less than half a second has a warning of its own; a probe that is fooled is not believed.
        wanted = "the face means little" if voice.speech_seconds >= 0.5 else "s of speech;"
        told = [{}, {"speech": 0.99}] + ([] if target else [default.encode(voice.encoder_input)[1]])
        for probes in told:
            assert wanted in recording_warning(voice, **probes), (level, probes, voice.variety, voice.bands)


@pytest.mark.parametrize("name", ["50 Hz hum", "440 Hz", "white noise", "dialling", "hum that swells"])
def test_the_whole_way(default, model, name):
    """The shipped model and one without a probe of speech say so."""
    waveform = (0.3 * SOUNDS[name] / np.abs(SOUNDS[name]).max()).astype(np.float32)
    assert not model.checkpoint.probes
    for listener in (default, model):
        assert "the face means little" in listener.generate_detailed((waveform, RATE)).warning


def test_noise_that_is_raised_by_force_is_warned_of():
    """A faint noise that somebody has normalised to full scale."""
    for slope in (0, 0.5, 1):
        for bits in (0, 8):
            faint = noise(slope) / noise(slope).std() * 1e-4
            faint = np.rint(faint * 2**15) / 2**15 if bits else faint
            voice = voice_features(((faint * 2000).clip(-1, 1).astype(np.float32), RATE))
            assert "steady noise" in recording_warning(voice)


def test_the_shipped_voice_is_not_warned_of(default):
    for level in (1, 0.01):
        waveform = load_audio(ROOT / "assets/sample.wav") * np.float32(level)
        voice = voice_features((waveform, RATE), VadSettings(target_level_db=-20), takes="raw_log_mel")
        assert voice.variety > 1.5 * MIN_VARIETY_NATS and voice.bands > 1.2 * MIN_SPEECH_BANDS
        probed = recording_warning(voice, **default.encode(voice.encoder_input)[1])
        assert "means little" not in recording_warning(voice) + probed


@pytest.mark.skipif(not VOICES.is_dir(), reason="no real speech here")
def test_real_speech_is_not_warned_of():
    for path in sorted(VOICES.glob("*.opus"))[::12]:
        voice = voice_features(path)
        assert "means little" not in recording_warning(voice), path.name


def test_measures_by_hand():
    torch.manual_seed(0)
    spectra = torch.randn(64, 4)
    few = spectra @ torch.randn(4, 400).repeat_interleave(10, dim=1)
    assert variety(few[:, :1]) == variety(few[:, :5]) == 0
    three = spectra[:, :3] @ torch.randn(3, 400).repeat_interleave(10, dim=1)
    assert variety(three) == pytest.approx(0, abs=1e-3) and variety(few) > 0.3
    assert variety(few + 7) == pytest.approx(variety(few), abs=1e-4)  # loudness is nothing
    level = torch.full((64, 50), -20.0)
    level[10:15] = 0
    assert bands(level) == pytest.approx(5, abs=0.01) and bands(level - 5) == pytest.approx(5, abs=0.01)
    assert bands(torch.zeros(64, 7)) == pytest.approx(64)


def test_detection_time_grows_no_faster_than_the_recording():
    mel = log_mel(keep_speech(load_audio(ROOT / "assets/sample.wav")))
    long = mel.repeat(1, 100)
    assert variety(long) == pytest.approx(variety(mel), rel=0.02)
    assert bands(long) == pytest.approx(bands(mel), rel=0.05)
