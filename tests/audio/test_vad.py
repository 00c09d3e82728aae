"""The collector against the loop of the WebRTC example, and the detector on sounds made here."""

import collections
from pathlib import Path

import numpy as np
import pytest

from voice2face_gan.audio.decode import SAMPLE_RATE, load_audio
from voice2face_gan.audio.vad import SpeechCollector, VadSettings, keep_speech
from voice2face_gan.errors import AudioError, DataError

RATE = SAMPLE_RATE


def vowel(seconds: float, pitch: float = 120.0, formants=(700, 1200, 2600), seed: int = 0) -> np.ndarray:
    """A buzz through three resonances, with breath: enough of a voice for the detector."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    phase = np.cumsum(pitch * (1 + 0.05 * np.sin(2 * np.pi * 3 * np.arange(n) / RATE))) / RATE
    sound = (np.diff(np.floor(phase), prepend=0) > 0) + 0.01 * rng.standard_normal(n)
    for formant in formants:
        radius = np.exp(-np.pi * 80 / RATE)
        sound = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2], sound)
    return (0.4 * sound / np.abs(sound).max()).astype(np.float32)


def collect_by_the_book(flags: list[bool], look: int, ratio: float) -> list[int]:
    """Frames that the collector of py-webrtcvad's example.py keeps, written the slow way."""
    ring: collections.deque = collections.deque(maxlen=look)
    triggered, kept = False, []
    for frame, flag in enumerate(flags):
        ring.append((frame, flag))
        if triggered:
            kept.append(frame)
            if sum(not f for _, f in ring) > ratio * look:
                triggered = False
                ring.clear()
        elif sum(f for _, f in ring) > ratio * look:
            triggered = True
            kept += [i for i, _ in ring]
            ring.clear()
    return kept


def frames_kept(flags, settings, cuts=()) -> list[int]:
    """Feed frames that carry their own number, with scripted flags, in blocks cut at the given samples."""
    size = settings.frame_samples
    script = iter(flags)
    collector = SpeechCollector(settings, is_speech=lambda frame, rate: next(script))
    numbers = np.repeat(np.arange(len(flags), dtype=np.float32) + 2, size) / 2**15  # 2: more than silence
    parts = [collector.feed(block) for block in np.split(numbers, cuts)]
    kept = np.concatenate([*parts, collector.flush()])
    assert kept.dtype == np.float32 and len(kept) % size == 0
    return (kept.reshape(-1, size)[:, 0] * 2**15 - 2).astype(int).tolist()


@pytest.mark.parametrize("settings", [
    VadSettings(), VadSettings(padding_ms=300), VadSettings(padding_ms=200, ratio=0.5),
    VadSettings(frame_ms=10, padding_ms=100, ratio=0.75), VadSettings(frame_ms=30, padding_ms=30, ratio=0.0),
    VadSettings(frame_ms=30, padding_ms=100, ratio=0.99),
])  # fmt: skip
def test_hysteresis_is_that_of_the_example(settings):
    rng = np.random.default_rng(0)
    for trial in range(60):
        n = int(rng.integers(0, 120))
        # Runs of random length, from chatter to long stretches.
        change = rng.random(n) < rng.choice([0.05, 0.2, 0.5])
        flags = (np.cumsum(change) % 2 == trial % 2).tolist()
        wanted = collect_by_the_book(flags, settings.padding_frames, settings.ratio)
        assert frames_kept(flags, settings) == wanted
        cuts = np.sort(rng.integers(0, n * settings.frame_samples + 1, size=int(rng.integers(1, 20))))
        assert frames_kept(flags, settings, cuts) == wanted


def test_hysteresis_by_hand():
    # Three voiced frames start it and are kept; one pause of two frames is bridged, three end it.
    script = "..V.VVV..V...V.VV"
    kept = frames_kept([c == "V" for c in script], VadSettings())
    assert kept == [4, 5, 6, 7, 8, 9, 10, 11, 12]


def test_the_intervals_kept():
    """In seconds of the recording, whatever the blocks; frames of digital silence are left out."""
    script = "..V.VVV..V...V.VVVVV"
    flags = [c == "V" for c in script]
    for size in (320, 1000, 5000, len(script) * 320):
        answers = iter(flags)
        collector = SpeechCollector(is_speech=lambda frame, rate, answers=answers: next(answers))
        sound = np.full(len(script) * 320, 0.1, dtype=np.float32)
        kept = sum(len(collector.feed(sound[i : i + size])) for i in range(0, len(sound), size))
        intervals = collector.intervals()
        assert intervals == [pytest.approx((0.08, 0.26)), pytest.approx((0.3, 0.4))]
        assert sum(b - a for a, b in intervals) == pytest.approx(kept / RATE)
    collector = SpeechCollector(is_speech=lambda frame, rate: True)
    assert collector.intervals() == []
    collector.feed(np.repeat([0.1, 0.1, 0.1, 0, 0.1], 320))
    assert collector.intervals() == [pytest.approx((0, 0.06)), pytest.approx((0.08, 0.1))]


def test_the_intervals_kept_of_raised_speech(voices):
    settings = VadSettings(target_level_db=-26)
    collector = SpeechCollector(settings)
    quiet = np.concatenate([voices[0], np.zeros(RATE, np.float32), voices[1]] * 3) * np.float32(0.01)
    parts = [collector.feed(quiet[i : i + 7777]) for i in range(0, len(quiet), 7777)]
    kept = np.concatenate([*parts, collector.flush()])
    pieces = [quiet[round(a * RATE) : round(b * RATE)] for a, b in collector.intervals()]
    assert np.array_equal(np.concatenate(pieces), kept) and len(kept) > RATE


def test_silence_is_removed_between_vowels():
    noise = 1e-3 * np.random.default_rng(1).standard_normal(RATE * 2).astype(np.float32)
    quiet = np.zeros(RATE, dtype=np.float32)
    parts = [quiet, noise, vowel(1.0), noise, quiet, vowel(1.5, 200, (500, 1800, 2500)), noise, quiet]
    speech = keep_speech(np.concatenate(parts))
    # 2.5 s of vowels in 11.5 s; noise out of digital silence is taken for a voice until it is learnt.
    assert 2.4 < len(speech) / RATE < 4
    loud = sum(np.sum(np.abs(part) > 0.01) for part in parts)
    assert np.sum(np.abs(speech) > 0.01) > 0.97 * loud


@pytest.mark.parametrize("aggressiveness", [0, 1, 2, 3])
@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_digital_silence_gives_nothing(aggressiveness, frame_ms):
    settings = VadSettings(aggressiveness, frame_ms)
    assert keep_speech(np.zeros(5 * RATE, dtype=np.float32), settings).shape == (0,)
    assert keep_speech(np.zeros(0, dtype=np.float32), settings).shape == (0,)
    assert keep_speech(np.zeros(100, dtype=np.float32), settings).shape == (0,)


def test_digital_silence_after_a_word_is_dropped():
    """The detector goes on for a while after a word, and two quiet frames do not end it. Where they are
    silent but for the last step of 16 bits they are not kept; what sounds ever so little more is."""
    for step, frames in ((0, 3), (1, 3), (2, 6)):
        sound = np.repeat([9, step, 9, step, 9, step], 320) / np.float32(32768)
        collector = SpeechCollector(is_speech=lambda frame, rate: True)
        assert len(collector.feed(sound)) == 320 * frames
    word = vowel(1.0)
    alone = keep_speech(word)
    assert np.array_equal(keep_speech(np.pad(word, (0, RATE))), alone) and len(alone) > 0.9 * RATE


def test_blocks_give_what_the_whole_gives():
    rng = np.random.default_rng(2)
    hush = 1e-3 * rng.standard_normal(RATE // 2)
    sound = np.concatenate([hush, vowel(0.7), hush, vowel(0.4, 180), hush, vowel(0.3)]).astype(np.float32)
    whole = keep_speech(sound)
    assert 0 < len(whole) < len(sound)
    for count in (1, 5, 60, 700):
        collector = SpeechCollector()
        cuts = np.sort(rng.integers(0, len(sound), size=count))
        parts = [collector.feed(block) for block in np.split(sound, cuts)]
        assert np.array_equal(np.concatenate([*parts, collector.flush()]), whole)
    # A clip does not hear of the one before it.
    assert np.array_equal(keep_speech(sound), whole)


def test_the_caller_may_reuse_his_memory():
    sound = vowel(1.0)
    collector, block, parts = SpeechCollector(), np.empty(777, dtype=np.float32), []
    for start in range(0, len(sound) - 777, 777):
        block[:] = sound[start : start + 777]
        parts.append(collector.feed(block).copy())
        block[:] = 9
    assert np.array_equal(np.concatenate(parts), keep_speech(sound[: start + 777]))


def test_what_the_detector_is_given():
    given = []
    collector = SpeechCollector(is_speech=lambda frame, rate: given.append((frame, rate)) or False)
    collector.feed(np.array([0, 0.5, -1, 1, 2, -2, 1 / 32768, -3 / 32768] * 40 + [0] * 5, dtype=np.float32))
    assert len(given) == 1 and given[0][1] == RATE
    pcm = np.frombuffer(given[0][0], "<i2")
    assert pcm[:8].tolist() == [0, 16384, -32768, 32767, 32767, -32768, 1, -3] and len(pcm) == 320


@pytest.mark.parametrize("values, word", [
    ({"aggressiveness": 4}, "aggressiveness"), ({"aggressiveness": -1}, "aggressiveness"),
    ({"frame_ms": 25}, "frame_ms"), ({"padding_ms": 10}, "padding_ms"), ({"padding_ms": "60"}, "padding_ms"),
    ({"ratio": 1.0}, "ratio"), ({"ratio": -0.1}, "ratio"), ({"ratio": float("nan")}, "ratio"),
])  # fmt: skip
def test_settings_out_of_range(values, word):
    with pytest.raises(DataError, match=word):
        VadSettings(**values)


def test_only_waveforms():
    with pytest.raises(AudioError, match=r"clip.wav.*\(2, 100\)"):
        keep_speech(np.zeros((2, 100)), name="clip.wav")
    with pytest.raises(AudioError, match="shape"):
        SpeechCollector().feed(np.zeros((2, 100)))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "webrtcvad", None)
    with pytest.raises(AudioError, match="webrtcvad-wheels"):
        keep_speech(np.zeros(1000, dtype=np.float32))


REAL = Path(__file__).parents[2].parent / "shared/data/paired/voxceleb/voice"


@pytest.mark.skipif(not REAL.is_dir(), reason="no real speech here")
def test_real_speech_is_mostly_kept():
    clips = [load_audio(path) for path in sorted(REAL.glob("*.opus"))[:5]]
    shares = [len(keep_speech(clip)) / len(clip) for clip in clips]
    assert 0.5 < np.mean(shares) <= 1
