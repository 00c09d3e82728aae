"""Sounds that are no speech are what their names say."""

import numpy as np
import pytest

from voice2face_gan.errors import DataError
from voice2face_gan.synthetic.sound_parts import SAMPLE_RATE, coloured, events, harmonics, sine
from voice2face_gan.synthetic.sounds import FAMILIES, SOUNDS, make_sound


def peaks(x: np.ndarray, count: int) -> list[float]:
    """Where the spectrum is largest, in Hz, each at least 20 Hz from the others."""
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    hertz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    found = []
    for _ in range(count):
        found.append(float(hertz[power.argmax()]))
        power[np.abs(hertz - found[-1]) < 20] = 0
    return found


@pytest.mark.parametrize("kind", SOUNDS)
def test_every_kind(kind):
    x = make_sound(kind, 1.3, seed=[4, 2])
    assert x.dtype == np.float32 and x.shape == (20_800,) and np.isfinite(x).all()
    assert 10 ** (-30.1 / 20) < np.abs(x).max() < 10 ** (-0.9 / 20)
    assert x.std() > 0.01 * np.abs(x).max()  # not one click in silence
    assert np.array_equal(make_sound(kind, 1.3, seed=[4, 2]), x)
    other = make_sound(kind, 1.3, seed=[4, 3])
    assert abs(np.corrcoef(x, other)[0, 1]) < 0.9
    assert make_sound(kind, 0.01).shape == (160,)


def test_kinds_differ_and_families_hold_them_all():
    grouped = [make.__name__ for family in FAMILIES.values() for make in family]
    assert sorted([*grouped, "mixture"]) == sorted(SOUNDS) and len(set(grouped)) == len(grouped) >= 20


def test_what_is_no_sound():
    with pytest.raises(DataError, match="no sound 'speech'; known are noise"):
        make_sound("speech", 1)
    with pytest.raises(DataError, match="no samples"):
        make_sound("noise", 0)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_its_colour(slope):
    """3 dB an octave times the slope."""
    x = coloured(np.random.default_rng(0), 160_000, slope)
    power = np.abs(np.fft.rfft(x)) ** 2
    hertz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    low, high = (power[(hertz > f) & (hertz < 1.1 * f)].mean() for f in (500, 2000))
    assert 10 * np.log10(low / high) == pytest.approx(6.02 * slope, abs=0.6)


def test_noise_keeps_to_its_band():
    x = coloured(np.random.default_rng(0), 160_000, 0.0, 1000, 2000)
    power = np.abs(np.fft.rfft(x)) ** 2
    hertz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    assert power[(hertz > 707) & (hertz < 2828)].sum() > 0.95 * power.sum()  # its edges are soft


def test_tones_have_their_pitch_and_overtones():
    assert peaks(sine(440.0, 16_000), 1) == [440]
    found = peaks(harmonics(np.random.default_rng(0), 300.0, 16_000, 0.0), 5)
    assert all(f % 300 == 0 for f in found) and len(set(found)) == 5
    odd = peaks(harmonics(np.random.default_rng(0), 300.0, 16_000, 0.0, odd=True), 5)
    assert all(f % 600 == 300 for f in odd)
    glide = sine(np.linspace(200, 1800, 16_000), 16_000)
    assert peaks(glide[:1600], 1)[0] < 400 and peaks(glide[-1600:], 1)[0] > 1600


def test_the_mains_hum_at_their_frequency():
    for seed in range(4):
        (strongest,) = peaks(make_sound("hum", 2, seed), 1)
        assert min(strongest % 50, strongest % 60) < 1


def test_events_come_when_they_are_due():
    knock = np.array([1.0])
    regular = np.flatnonzero(events(np.random.default_rng(1), 32_000, 0.1, lambda: knock, 1.0))
    assert set(np.diff(regular)) == {1600}
    free = np.flatnonzero(events(np.random.default_rng(1), 320_000, 0.1, lambda: knock, 0.0))
    assert np.diff(free).mean() == pytest.approx(1600, rel=0.25) and np.diff(free).std() > 1000


def test_beeps_pause_and_noise_does_not():
    def silent(x: np.ndarray) -> float:
        loud = np.sqrt((x[: len(x) // 320 * 320].reshape(-1, 320) ** 2).mean(axis=1))
        return float((loud < 0.03 * loud.max()).mean())

    assert np.mean([silent(make_sound("beeps", 4, s)) for s in range(5)]) > 0.15
    assert max(silent(make_sound("band_noise", 4, s)) for s in range(5)) == 0
