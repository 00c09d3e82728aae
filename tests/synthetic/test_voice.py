"""A clip holds the pitch and the vocal tract it was made with, and sounds like speech to a detector of it."""

import numpy as np
import pytest

from voice2face_gan.errors import DataError
from voice2face_gan.synthetic import SAMPLE_RATE, sample_speakers, synthesise


@pytest.fixture(scope="module")
def world():
    speakers = sample_speakers(60, seed=5)
    return speakers, synthesise(speakers)


def pitch(wave: np.ndarray) -> float:
    """Median f0 in Hz of voiced 50 ms frames, from the first strong peak of the autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 800)[::160] * np.hanning(800)
    own = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(800), 2048)) ** 2)[:221]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, :221]
    loud = correlation[:, 0] > 0.02 * correlation[:, 0].max()
    correlation = correlation[loud] / own / (correlation[loud, :1] / own[0])
    found = []
    for row in correlation:
        lags = np.arange(51, 220)
        peaks = lags[(row[lags] >= row[lags - 1]) & (row[lags] >= row[lags + 1])]
        best = row[peaks].max(initial=0)
        if best > 0.6:
            found.append(SAMPLE_RATE / peaks[row[peaks] > 0.9 * best][0])
    return float(np.median(found))


def third_to_fifth_formant(wave: np.ndarray, order: int = 14) -> float:
    """Mean log of F3-F5, from linear prediction of 30 ms frames; the vowel moves these formants little."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 480)[::240]
    loud = frames[(frames**2).mean(axis=1) > np.median((frames**2).mean(axis=1))]
    loud = np.diff(loud, axis=1, prepend=0) * np.hamming(480)
    found = []
    for r in np.fft.irfft(np.abs(np.fft.rfft(loud, 1024)) ** 2)[:, : order + 1]:
        toeplitz = r[np.abs(np.subtract.outer(np.arange(order), np.arange(order)))]
        coefficients = np.linalg.solve(toeplitz + 1e-6 * r[0] * np.eye(order), r[1:])
        poles = np.roots(np.r_[1, -coefficients])
        poles = poles[(poles.imag > 0.01) & (np.abs(poles) > 0.9)]
        hertz = np.sort(np.angle(poles)) * SAMPLE_RATE / (2 * np.pi)
        if len(hertz) >= 5:
            found.append(np.log(hertz[2:5]))
    return float(np.median(found, axis=0).mean()) if found else np.nan


def test_clips_meet_the_contract(world):
    _, clips = world
    assert clips.dtype == np.float32 and clips.shape == (60, 4 * SAMPLE_RATE)
    assert np.isfinite(clips).all() and np.abs(clips).max() <= 1
    level = 10 * np.log10((clips**2).mean(axis=1))
    assert level.min() > -33 and level.max() < -14


def test_a_clip_depends_on_its_speaker_seed_and_number_alone(world):
    speakers, clips = world
    order = np.array([11, 2, 40])
    assert np.array_equal(synthesise(speakers[order]), clips[order])
    assert np.array_equal(synthesise(sample_speakers(3, seed=5)), clips[:3])
    for other in (synthesise(speakers[:3], clip=1), synthesise(speakers[:3], seed=1)):
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(other, clips[:3], strict=True)]
        assert np.abs(r).max() < 0.3


def test_pitch_is_the_speakers(world):
    speakers, clips = world
    error = np.array([pitch(clip) for clip in clips]) / speakers.f0 - 1
    assert np.median(np.abs(error)) < 0.04 and np.abs(error.mean()) < 0.03


def test_formants_scale_with_the_vocal_tract(world):
    speakers, clips = world
    measured = np.array([third_to_fifth_formant(clip) for clip in clips])
    known = np.isfinite(measured)
    assert known.mean() > 0.9
    expected = np.log(17.5 / speakers.vocal_tract_length)
    for group in (np.ones(60, bool), speakers.female, ~speakers.female):
        use = group & known
        assert np.corrcoef(measured[use], expected[use])[0, 1] > 0.85
    neutral = np.log([2500, 3500, 4500]).mean()
    assert abs(np.mean(measured[known] - expected[known]) - neutral) < 0.05


def test_the_length_asked_for_is_given():
    speakers = sample_speakers(2)
    for seconds in (0.1, 0.73, 9.0):
        assert synthesise(speakers, seconds).shape == (2, round(seconds * SAMPLE_RATE))


def test_speech_detector_keeps_the_clips(world):
    webrtcvad = pytest.importorskip("webrtcvad")
    detector = webrtcvad.Vad(2)
    kept = []
    for clip in (world[1] * 32767).astype("<i2"):
        frames = clip[: len(clip) // 320 * 320].reshape(-1, 320)
        kept.append(np.mean([detector.is_speech(frame.tobytes(), SAMPLE_RATE) for frame in frames]))
    assert np.mean(np.array(kept) >= 0.7) > 0.95


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"seconds": float("nan")}, {"seed": -1}, {"clip": -2}])
def test_impossible_requests_are_refused(wrong):
    with pytest.raises(DataError):
        synthesise(sample_speakers(1), **wrong)
