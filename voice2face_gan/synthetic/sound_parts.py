"""Parts of sounds: noises, tones, envelopes and events, float64 at 16 kHz."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

SAMPLE_RATE = 16_000
"""Hz."""


def time(samples: int) -> np.ndarray:
    return np.arange(samples) / SAMPLE_RATE


def coloured(
    rng: Generator, samples: int, slope: float, low: float = 0.0, high: float = 8000.0
) -> np.ndarray:
    """Gaussian noise of power 1 / f^slope between two frequencies, soft edges, of standard deviation 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 20.0)
    gain = hertz ** (-slope / 2) / np.sqrt(1 + (hertz / high) ** 8)
    gain /= np.sqrt(1 + (low / hertz) ** 8)
    noise = np.fft.irfft(spectrum * gain, samples)
    return noise / max(noise.std(), 1e-12)


def wander(rng: Generator, samples: int, every: float) -> np.ndarray:
    """A smooth random curve in [-1, 1] that changes about every so many seconds."""
    count = 2 + int(samples / SAMPLE_RATE / every)
    corners = np.arange(count) * (samples / (count - 1))
    return np.interp(np.arange(samples), corners, rng.uniform(-1, 1, count))


def sine(hertz: np.ndarray | float, samples: int, phase: float = 0.0) -> np.ndarray:
    """A sine of constant or changing frequency."""
    steps = np.broadcast_to(np.asarray(hertz, dtype=np.float64), (samples,))
    return np.sin(2 * np.pi * np.cumsum(steps) / SAMPLE_RATE + phase)


def harmonics(
    rng: Generator, f0: np.ndarray | float, samples: int, tilt: float, odd: bool = False
) -> np.ndarray:
    """A tone with overtones below 7 kHz, their amplitudes about 1 / k^tilt."""
    steps = np.broadcast_to(np.asarray(f0, dtype=np.float64), (samples,))
    phase = 2 * np.pi * np.cumsum(steps) / SAMPLE_RATE
    ranks = range(1, int(min(7000 / steps.max(), 40)) + 1, 2 if odd else 1)
    tone = np.zeros(samples)
    for k in ranks:
        tone += k**-tilt * rng.uniform(0.3, 1.0) * np.sin(k * phase + rng.uniform(0, 6.3))
    return tone


def decay(samples: int, seconds: float, attack: float = 0.003) -> np.ndarray:
    t = time(samples)
    return np.exp(-t / seconds) * np.minimum(t / attack, 1)


def swell(rng: Generator, samples: int) -> np.ndarray:
    """The envelope of a held note: attack, a level, release."""
    t = time(samples)
    attack, release = rng.uniform(0.01, 0.15), rng.uniform(0.03, 0.2)
    return np.clip(np.minimum(t / attack, (t[-1] - t) / release), 0, 1) if samples > 1 else np.ones(samples)


def lay(out: np.ndarray, sound: np.ndarray, start: int) -> None:
    """Add a sound to `out` from a place on, as far as there is room."""
    kept = sound[: max(0, len(out) - start)]
    out[start : start + len(kept)] += kept


def events(
    rng: Generator, samples: int, each: float, make: Callable[[], np.ndarray], regular: float
) -> np.ndarray:
    """Sounds one after another, a new one every `each` seconds: evenly with `regular` 1, at random with 0. At
    least one."""
    out, place = np.zeros(samples), int(rng.uniform(0, 0.1) * min(samples, SAMPLE_RATE))
    while place < samples:
        lay(out, make(), place)
        gap = regular * each + (1 - regular) * rng.exponential(each)
        place += max(1, int(gap * SAMPLE_RATE))
    return out


def pitch(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
