"""Noises and machines; see `sounds`. Every kind: random generator, number of samples -> float64 (samples,).

Coloured noise has power 1 / f^a. Rain and applause are grains. An engine is a pulse train through resonances.
Telephone keys are the pairs of tones of ITU-T Q.23.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from voice2face_gan.synthetic.sound_parts import (
    SAMPLE_RATE,
    coloured,
    decay,
    events,
    harmonics,
    pitch,
    sine,
    swell,
    wander,
)

_KEYS = ((697, 770, 852, 941), (1209, 1336, 1477, 1633))  # Hz, rows and columns


# Noises


def noise(rng: Generator, samples: int) -> np.ndarray:
    """Steady noise from white to brown, its level drifting or not."""
    depth = rng.choice([0.0, 0.3, 0.7])
    return coloured(rng, samples, rng.uniform(0, 2.2)) * (1 + depth * wander(rng, samples, 0.5))


def band_noise(rng: Generator, samples: int) -> np.ndarray:
    """A hiss or rush in one or two bands, as of a fan, a jet of water or a badly tuned radio."""
    out = np.zeros(samples)
    for _ in range(rng.integers(1, 3)):
        low = pitch(rng, 60, 4000)
        out += rng.uniform(0.3, 1) * coloured(rng, samples, 0.5, low, low * rng.uniform(1.3, 4))
    return out * (1 + 0.5 * wander(rng, samples, rng.uniform(0.1, 1.0)))


def wind(rng: Generator, samples: int) -> np.ndarray:
    """Gusts: low noise of slow, strong swells, and a whistle whose pitch rises with them."""
    gust = 10 ** (0.8 * wander(rng, samples, rng.uniform(0.3, 1.5)))
    out = gust * coloured(rng, samples, rng.uniform(1.5, 2.5))
    # Noise of a narrow band, moved to a pitch that follows the gusts.
    whistle = coloured(rng, samples, 1.0, 0.0, 60.0) * sine(rng.uniform(250, 600) * gust**0.4, samples)
    return out + rng.uniform(0, 1.5) * gust * whistle


def rain(rng: Generator, samples: int) -> np.ndarray:
    """Drops: thousands of short bursts over a hiss."""
    grain = int(0.004 * SAMPLE_RATE)
    burst = coloured(rng, grain, 0.0, 1500, 7500) * np.exp(-np.arange(grain) / (0.2 * grain))
    drops = np.zeros(samples)
    count = max(1, int(samples / SAMPLE_RATE * rng.uniform(20, 800)))
    np.add.at(drops, rng.integers(0, samples, count), rng.exponential(1, count))
    spread = np.convolve(drops, burst)[:samples]
    return spread / max(spread.std(), 1e-9) + rng.uniform(0.05, 1) * coloured(rng, samples, rng.uniform(0, 1))


def applause(rng: Generator, samples: int) -> np.ndarray:
    """Claps of a few or of hundreds of people, each at a tempo and a colour of their own."""
    out = np.zeros(samples)
    for _ in range(int(pitch(rng, 2, 80))):
        length = int(rng.uniform(0.008, 0.025) * SAMPLE_RATE)
        centre = pitch(rng, 700, 2500)
        clap = coloured(rng, 3 * length, 0.0, 0.6 * centre, 1.7 * centre) * decay(
            3 * length, length / 2e4, 1e-4
        )
        clap *= rng.uniform(0.2, 1)
        out += events(rng, samples, rng.uniform(0.18, 0.4), lambda clap=clap: clap, 0.9)
    return out


# Tones and machines


def hum(rng: Generator, samples: int) -> np.ndarray:
    """The mains: overtones of 50 or 60 Hz that hardly change, some hiss."""
    tone = harmonics(
        rng, float(rng.choice([50.0, 60.0])), samples, rng.uniform(0.3, 1.5), odd=rng.random() < 0.4
    )
    return tone + rng.uniform(0.01, 0.3) * coloured(rng, samples, 1.0)


def tone(rng: Generator, samples: int) -> np.ndarray:
    """One held tone: pure, square-like or saw-like, with or without tremolo."""
    f0 = pitch(rng, 80, 5000)
    x = sine(f0, samples) if rng.random() < 0.4 else harmonics(rng, f0, samples, 1.0, odd=rng.random() < 0.5)
    return x * (1 + rng.choice([0.0, 0.4]) * sine(rng.uniform(2, 12), samples))


def sweep(rng: Generator, samples: int) -> np.ndarray:
    """A tone that glides up or down through octaves, once or again and again."""
    period = rng.uniform(0.2, 4) * SAMPLE_RATE
    place = (np.arange(samples) % period) / period
    if rng.random() < 0.5:
        place = 1 - place
    f0 = pitch(rng, 80, 800) * 2 ** (place * rng.uniform(1, 3.3))
    return sine(f0, samples) if rng.random() < 0.6 else harmonics(rng, f0, samples, 1.2)


def siren(rng: Generator, samples: int) -> np.ndarray:
    """An emergency vehicle: two tones in turn, or a wail up and down."""
    low, swing = rng.uniform(350, 800), rng.uniform(1.2, 2.5)
    wave = sine(pitch(rng, 0.15, 5), samples, rng.uniform(0, 6.3))
    if rng.random() < 0.4:
        wave = np.sign(wave)
    return harmonics(rng, low * swing ** (0.5 + 0.5 * wave), samples, rng.uniform(1, 2.5))


def beeps(rng: Generator, samples: int) -> np.ndarray:
    """An alarm clock, a ringing line or telephone keys: tones that go on and off."""
    on, off = rng.uniform(0.05, 0.6), rng.uniform(0.04, 0.8)
    count, keys = int(on * SAMPLE_RATE), rng.random() < 0.4
    low = pitch(rng, 350, 4000)
    high = low * rng.choice([1.0, 1.1, 1.5])

    def one() -> np.ndarray:
        a, b = (rng.choice(_KEYS[0]), rng.choice(_KEYS[1])) if keys else (low, high)
        return (sine(a, count) + sine(b, count)) * swell(rng, count)

    return events(rng, samples, on + off, one, 1.0)


def engine(rng: Generator, samples: int) -> np.ndarray:
    """A motor: pulses at its firing rate through the resonances of an exhaust, changing revs, some noise."""
    rate = pitch(rng, 15, 140) * 2 ** (rng.uniform(0, 0.7) * wander(rng, samples, rng.uniform(0.4, 2)))
    fired = np.diff(np.floor(np.cumsum(rate) / SAMPLE_RATE), prepend=0.0)
    pulses = fired * rng.uniform(0.6, 1.0, samples) + rng.uniform(0.005, 0.05) * rng.standard_normal(samples)
    spectrum = np.fft.rfft(pulses)
    hertz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    gain = 1 / (1 + (hertz / 300) ** 2)
    for _ in range(3):
        centre = pitch(rng, 60, 2500)
        gain += rng.uniform(0.1, 1) / (1 + ((hertz - centre) / (0.15 * centre)) ** 2)
    return np.fft.irfft(spectrum * gain, samples)
