"""Soft speech raised for the detector: what is found, what is not raised, and that blocks do not show."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from voice2face_gan.audio.decode import SAMPLE_RATE, load_audio
from voice2face_gan.audio.level import TARGET_LEVEL_DB, SpeechGain, frame_levels
from voice2face_gan.audio.vad import SpeechCollector, VadSettings, keep_speech
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.errors import DataError
from voice2face_gan.synthetic.sounds import make_sound

RATE = SAMPLE_RATE
RAISED = VadSettings(target_level_db=TARGET_LEVEL_DB)
SAMPLE = Path(__file__).parents[2] / "assets/sample.wav"


def db(value: float) -> np.float32:
    return np.float32(10 ** (value / 20))


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """Five seconds of a built-in voice; what stands out least of all, for it makes no pause."""
    return load_audio(SAMPLE)


def as_16_bit(waveform: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rounded to 16 bits with dither, as recorders do."""
    dither = np.random.default_rng(seed).uniform(-0.5, 0.5, (2, len(waveform))).sum(axis=0)
    return (np.rint(waveform * 32768 + dither) / 32768).astype(np.float32)


def pink(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    n = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(n, 1 / RATE), 50)), n)
    return (noise / noise.std()).astype(np.float32) * db(level)


def test_soft_speech_is_found(spoken):
    whole = len(keep_speech(spoken))
    before = [len(keep_speech(as_16_bit(spoken * db(-a)))) / whole for a in (20, 30, 40, 50)]
    after = [len(keep_speech(as_16_bit(spoken * db(-a)), RAISED)) / whole for a in (20, 30, 40, 50)]
    assert before[2] < 0.5 and before[3] < 0.2
    assert min(after[:3]) > 0.95 and after[3] > 0.6  # at -50 dB most of the rest is the last step of 16 bits


def test_the_samples_are_kept_as_recorded(spoken):
    soft = spoken * db(-40)
    kept = keep_speech(soft, RAISED).reshape(-1, 320)
    frames = {frame.tobytes() for frame in soft[: len(soft) // 320 * 320].reshape(-1, 320)}
    assert len(kept) > 200 and all(frame.tobytes() in frames for frame in kept)


def test_an_ordinary_recording_gets_no_gain(spoken):
    long = np.tile(spoken, 5)
    for waveform in (spoken, long, long * db(-5), long * db(6)):
        assert np.array_equal(keep_speech(waveform, RAISED), keep_speech(waveform))


def test_no_target_is_what_was_done_before_there_was_one(spoken):
    """A checkpoint or store that does not name the setting."""
    old = VadSettings(**{"aggressiveness": 2, "frame_ms": 20, "padding_ms": 60, "ratio": 0.9})
    assert old.target_level_db is None and old == VadSettings()
    soft, parts, collector = spoken * db(-35), [], SpeechCollector(old)
    for block in np.split(soft, range(1000, len(soft), 1000)):
        parts.append(collector.feed(block))  # given out at once: nothing is held back
    assert len(collector.flush()) == 0
    assert np.array_equal(np.concatenate(parts), keep_speech(soft))
    given: list[bytes] = []
    SpeechCollector(old, is_speech=lambda frame, rate: given.append(frame) or False).feed(soft)
    whole = len(soft) // 320 * 320
    assert b"".join(given) == np.rint(soft[:whole] * np.float32(32768)).astype("<i2").tobytes()


@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_blocks_give_what_the_whole_gives(spoken, frame_ms):
    """Soft speech, then louder, then noise, then soft again, over several stretches."""
    settings = VadSettings(frame_ms=frame_ms, target_level_db=-20)
    parts = [np.tile(spoken, 3) * db(-45), spoken * db(-30), pink(12, -80), np.tile(spoken, 2) * db(-40)]
    sound = np.concatenate(parts)
    whole = keep_speech(sound, settings)
    assert len(whole) > 1.5 * len(keep_speech(sound, VadSettings(frame_ms=frame_ms)))
    rng = np.random.default_rng(4)
    for count in (1, 7, 300):
        collector = SpeechCollector(settings)
        cuts = np.sort(rng.integers(0, len(sound), size=count))
        fed = [collector.feed(block) for block in np.split(sound, cuts)]
        assert np.array_equal(np.concatenate([*fed, collector.flush()]), whole)
    assert np.array_equal(keep_speech(sound, settings), whole)  # a recording hears nothing of another


def test_the_caller_may_reuse_his_memory(spoken):
    soft = spoken * db(-40)
    collector, block, parts = SpeechCollector(RAISED), np.empty(1000, dtype=np.float32), []
    for start in range(0, len(soft) // 1000 * 1000, 1000):
        block[:] = soft[start : start + 1000]
        parts.append(collector.feed(block).copy())
        block[:] = 9
    wanted = keep_speech(soft[: len(soft) // 1000 * 1000], RAISED)
    assert np.array_equal(np.concatenate([*parts, collector.flush()]), wanted)


def test_memory_is_bounded():
    collector = SpeechCollector(RAISED, is_speech=lambda frame, rate: False)
    block = pink(1, -60)
    tracemalloc.start()
    for _ in range(120):
        collector.feed(block)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2e6 and most < 2e7


@pytest.mark.parametrize("waveform", [
    np.zeros(12 * RATE, dtype=np.float32),  # silence stays silence
    as_16_bit(np.zeros(12 * RATE)),  # and so does dither
    pink(12, -60), pink(12, -75), as_16_bit(pink(12, -90)),  # a room's noise alone
    0.001 * np.sin(2 * np.pi * 50 * np.arange(12 * RATE) / RATE).astype(np.float32),  # and hum
    make_sound("noise", 12.0, 3) * db(-50),
])  # fmt: skip
def test_noise_alone_is_not_raised(waveform):
    gain = SpeechGain(TARGET_LEVEL_DB, 320)
    assert [gain.next(part) for part in np.split(waveform, [10 * RATE])] == [1.0, 1.0]
    assert np.array_equal(keep_speech(waveform, RAISED), keep_speech(waveform))


def test_clicks_do_not_decide(spoken):
    """Ten clicks at full scale in a soft recording."""
    clicked = spoken * db(-40)
    clicked[4000::7800] = 1.0
    told = [SpeechGain(-20, 320).next(waveform) for waveform in (clicked, spoken * db(-40))]
    assert told[0] == pytest.approx(told[1], rel=0.2)
    assert len(keep_speech(clicked, RAISED)) > 0.9 * len(keep_speech(spoken))


def test_pauses_hum_and_length_do_not_decide(spoken):
    soft = spoken * db(-40)
    alone = SpeechGain(-20, 320).next(soft)
    room = pink(10, -95)
    padded = room.copy()
    padded[: len(soft)] += soft
    assert SpeechGain(-20, 320).next(padded) == pytest.approx(alone, rel=0.05)
    hum = 0.02 * np.sin(2 * np.pi * 50 * np.arange(len(soft)) / RATE).astype(np.float32)
    assert SpeechGain(-20, 320).next(soft + hum) == pytest.approx(alone, rel=0.1)


@pytest.mark.parametrize("pause", [5, 15, 25])
def test_speech_after_a_pause_is_found_and_the_pause_is_not(spoken, pause):
    """Also where the gain changes in the middle of the noise, which is louder to the detector then."""
    sound = np.concatenate([pink(pause, -90), spoken * db(-40) + pink(5, -90, 1)])
    found = keep_speech(sound, RAISED)
    assert 0.97 * len(keep_speech(spoken)) < len(found) < 1.05 * len(spoken)
    assert len(keep_speech(sound)) < 0.7 * len(spoken)


VOICES = Path(__file__).parents[2].parent / "shared/data/paired/voxceleb/voice"


@pytest.mark.skipif(not VOICES.is_dir(), reason="no real speech here")
def test_real_speech_turned_down():
    clips = [load_audio(path) for path in sorted(VOICES.glob("*.opus"))[::24]]
    whole = np.array([len(keep_speech(clip)) for clip in clips])
    shares = {
        settings: np.mean([len(keep_speech(as_16_bit(c * db(-40)), settings)) for c in clips] / whole)
        for settings in (VadSettings(), RAISED)
    }
    assert shares[VadSettings()] < 0.5 and shares[RAISED] > 0.8
    same = [np.array_equal(keep_speech(clip), keep_speech(clip, RAISED)) for clip in clips]
    assert np.mean(same) > 0.8


def test_the_gain_never_rises_after_a_loud_voice(spoken):
    gain = SpeechGain(-20, 320)
    told = [gain.next(part) for part in (spoken * db(-40), spoken, spoken * db(-40), spoken * db(-60))]
    assert told[0] > 30 and told[1:] == [1.0, 1.0, 1.0]


def test_levels_of_frames():
    t = np.arange(3200) / RATE
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    assert frame_levels(tone, 320) == pytest.approx(np.full(10, -3.01), abs=0.01)
    assert frame_levels(tone * db(-40), 480) == pytest.approx(np.full(6, -43.01), abs=0.01)
    assert frame_levels(np.sin(2 * np.pi * 50 * t), 320).max() < -35  # below the band
    assert frame_levels(np.zeros(700, dtype=np.float32), 320) == pytest.approx([-140, -140], abs=1e-3)


def test_the_level_found_is_reported(spoken):
    loud, soft = (voice_features((spoken * db(-a), RATE), RAISED) for a in (0, 40))
    assert loud.speech_level_db == pytest.approx(10 * np.log10(np.mean(keep_speech(spoken) ** 2)), abs=0.01)
    assert soft.speech_level_db == pytest.approx(loud.speech_level_db - 40, abs=0.5)
    assert soft.speech_seconds > 0.95 * loud.speech_seconds
    assert voice_features((np.zeros(RATE, dtype=np.float32), RATE), None).speech_level_db is None


@pytest.mark.parametrize("value", [1, -61, "soft", True, float("nan")])
def test_targets_out_of_range(value):
    with pytest.raises(DataError, match="target_level_db"):
        VadSettings(target_level_db=value)
