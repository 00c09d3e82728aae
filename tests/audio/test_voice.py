"""The whole way from a recording to features, and its memory."""

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from voice2face_gan.audio.log_mel import FeatureSettings, log_mel, normalise, tile_to
from voice2face_gan.audio.vad import VadSettings, keep_speech
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.errors import AudioError, NoSpeechError

RATE = 16_000
ROOT = Path(__file__).parents[2]


def talk(seconds: float, seed: int = 0) -> np.ndarray:
    """Buzzing syllables with pauses, float32 (samples,)."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 25))
    loud = np.clip(np.sin(2 * np.pi * 0.4 * t) * 3, 0, 1)
    return (0.15 * buzz * loud + 2e-4 * rng.standard_normal(len(t))).astype(np.float32)


def write_wav(path: Path, minutes: float) -> None:
    """A long recording, written a minute at a time."""
    minute = (talk(60) * 32767).astype("<i2").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for _ in range(round(minutes)):
            file.writeframes(minute)


def test_a_clip_goes_through_all_three():
    sound = talk(14.0)
    found = voice_features((sound, RATE))
    speech = keep_speech(sound)
    wanted = tile_to(normalise(log_mel(speech)), 1000)
    assert torch.equal(found.encoder_input, wanted)
    assert found.encoder_input.shape == (64, 1000) and found.encoder_input.dtype == torch.float32
    assert found.seconds == pytest.approx(14) and found.speech_seconds == len(speech) / RATE
    assert 4 < found.speech_seconds < 10


def test_a_long_clip_is_kept_whole_and_blocks_do_not_show():
    sound = np.tile(talk(19.0), 5)
    found = voice_features((sound, RATE), vad=None)
    assert found.encoder_input.shape == (64, FeatureSettings().frames(95 * RATE))
    assert torch.equal(found.encoder_input, normalise(log_mel(sound)))
    assert found.seconds == found.speech_seconds == pytest.approx(95)
    heard = voice_features((sound, RATE), vad=VadSettings(3))
    assert torch.equal(heard.encoder_input, normalise(log_mel(keep_speech(sound, VadSettings(3)))))


def test_too_little_speech(tmp_path):
    write_wav(tmp_path / "a.wav", 1)
    silence = np.zeros(3 * RATE, dtype=np.float32)
    with pytest.raises(NoSpeechError, match="the array given: 0.00 s") as caught:
        voice_features((silence, RATE))
    assert caught.value.found == 0 and caught.value.needed == 0.3
    with pytest.raises(NoSpeechError, match="a.wav: .*100.00 s needed"):
        voice_features(tmp_path / "a.wav", min_speech_seconds=100)
    with pytest.raises(NoSpeechError):
        voice_features((silence[:1000], RATE), vad=None)
    with pytest.raises(NoSpeechError):
        voice_features((silence, RATE), min_speech_seconds=0)
    assert voice_features((silence, RATE), vad=None).encoder_input.abs().max() == 0


def test_three_tenths_of_a_second_are_enough():
    sound = talk(1.0)
    assert voice_features((sound[:4800], RATE), vad=None).speech_seconds == pytest.approx(0.3)
    with pytest.raises(NoSpeechError, match="0.30 s of speech found, 0.30 s needed"):
        voice_features((sound[:4799], RATE), vad=None)


def test_other_rates():
    settings = FeatureSettings(sample_rate=8000, f_max=3600.0)
    found = voice_features((talk(12.0), RATE), vad=None, features=settings)
    assert found.encoder_input.shape == (64, settings.frames(96_000))
    assert found.seconds == pytest.approx(12, abs=0.01)
    with pytest.raises(AudioError, match="8000 Hz"):
        voice_features((talk(12.0), RATE), features=settings)


def peak_memory(path: Path, vad: str) -> tuple[int, float]:
    """Frames found and the megabytes by which a process grew at most over its size after the imports."""
    code = f"""
import resource, sys
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.audio.vad import VadSettings
import numpy as np
voice_features((np.random.default_rng(0).standard_normal(32000) * .1, 16000), vad=None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mel = voice_features(sys.argv[1], vad={vad}).encoder_input
print(mel.shape[1], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    frames, grown = run.stdout.split()
    return int(frames), float(grown)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
def test_an_hour_takes_little_more_than_its_log_mel(tmp_path):
    write_wav(tmp_path / "hour.wav", 60)
    frames, grown = peak_memory(tmp_path / "hour.wav", "None")
    assert frames == FeatureSettings().frames(3600 * RATE)
    assert grown < 1.3 * frames * 64 * 4 / 2**20 + 60
    assert peak_memory(tmp_path / "hour.wav", "VadSettings()")[1] < 150
