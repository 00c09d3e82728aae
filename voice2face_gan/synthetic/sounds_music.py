"""Music, knocks, water and animals; see `sounds`. Every kind: random generator, number of samples -> float64
(samples,).

A bell has Risset's partials (1969, An Introductory Catalogue of Computer Synthesized Sounds), a bubble is
a rising, dying sine (van den Doel 2005, ACM Trans. Appl. Perception 2, 534).
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
    lay,
    pitch,
    sine,
    swell,
)

_BELL = (0.56, 0.92, 1.19, 1.71, 2.0, 2.74, 3.0, 3.76, 4.07)  # Risset's partials of a bell
_SCALE = np.array([0, 2, 4, 5, 7, 9, 11, 12])  # semitones of a major scale


# Music


def chords(rng: Generator, samples: int) -> np.ndarray:
    """Chords held one after another, as of an organ or strings."""
    root, tilt, odd = pitch(rng, 80, 350), rng.uniform(0.8, 2.5), rng.random() < 0.3
    count = int(rng.uniform(0.4, 2.5) * SAMPLE_RATE)

    def one() -> np.ndarray:
        base = root * 2 ** (rng.choice([0, 2, 5, 7, 9]) / 12)
        third = rng.choice([3, 4])
        notes = [base * 2 ** (n / 12) * rng.uniform(0.998, 1.002) for n in (0, third, 7, 12)]
        return sum(harmonics(rng, note, count, tilt, odd) for note in notes) * swell(rng, count)

    return events(rng, samples, count / SAMPLE_RATE, one, 1.0)


def melody(rng: Generator, samples: int) -> np.ndarray:
    """Notes of a scale, sustained, with vibrato: a flute, a violin, a synthesiser."""
    root, tilt, odd = pitch(rng, 100, 700), rng.uniform(0.7, 3), rng.random() < 0.3
    beat, rate, depth = rng.uniform(0.12, 0.7), rng.uniform(4, 7), rng.choice([0.0, 0.005, 0.02])

    def one() -> np.ndarray:
        count = int(beat * rng.choice([0.5, 1, 1, 2]) * SAMPLE_RATE)
        f0 = root * 2 ** (rng.choice(_SCALE) / 12) * (1 + depth * sine(rate, count))
        return harmonics(rng, f0, count, tilt, odd) * swell(rng, count)

    return events(rng, samples, beat, one, 1.0)


def plucked(rng: Generator, samples: int) -> np.ndarray:
    """A guitar or a piano: notes that are struck and fade, the higher overtones first."""
    root, beat, ring = pitch(rng, 70, 500), rng.uniform(0.1, 0.6), rng.uniform(0.15, 1.2)
    count = int(min(3 * ring, 2.5) * SAMPLE_RATE)
    notes = []
    for f0 in root * 2 ** (rng.choice(_SCALE, 4, replace=False) / 12):
        notes.append(np.zeros(count))
        for k in range(1, int(min(7000 / f0, 24)) + 1):
            partial = sine(k * f0 * np.sqrt(1 + 2e-4 * k * k), count, rng.uniform(0, 6.3))
            notes[-1] += rng.uniform(0.3, 1) / k * partial * decay(count, ring / (0.6 + 0.4 * k))

    def one() -> np.ndarray:
        return rng.uniform(0.4, 1) * notes[rng.integers(len(notes))]

    return events(rng, samples, beat, one, rng.choice([0.6, 1.0]))


def bells(rng: Generator, samples: int) -> np.ndarray:
    """Bells and gongs: partials out of tune that ring."""
    root, each, ring = pitch(rng, 150, 1500), rng.uniform(0.3, 2), rng.uniform(0.3, 2.5)

    def one() -> np.ndarray:
        f0, count = root * 2 ** (rng.choice(_SCALE) / 12), int(2 * ring * SAMPLE_RATE)
        partials = [f0 * p * rng.uniform(0.99, 1.01) for p in _BELL if f0 * p < 7500]
        return sum(rng.uniform(0.2, 1) * sine(p, count) * decay(count, ring * f0 / p) for p in partials)

    return events(rng, samples, each, one, rng.choice([0.3, 1.0]))


def drums(rng: Generator, samples: int) -> np.ndarray:
    """A kit that plays a pattern: a falling thump, a rattle, a hiss of metal."""
    out, step = np.zeros(samples), rng.uniform(0.1, 0.22)
    count = int(0.3 * SAMPLE_RATE)
    kick = sine(rng.uniform(40, 70) * (1 + 4 * decay(count, 0.03, 1e-4)), count) * decay(count, 0.1)
    snare = (coloured(rng, count, 0.5, 800, 7000) + sine(rng.uniform(160, 240), count)) * decay(count, 0.07)
    metal = coloured(rng, count, 0.0, 4500, 8000) * decay(count, rng.uniform(0.02, 0.08))
    hits = [(kick, rng.random(16) < 0.35), (snare, rng.random(16) < 0.3), (metal, rng.random(16) < 0.7)]
    hits[0][1][0] = True  # no bar without a sound
    for place in range(int(samples / SAMPLE_RATE / step) + 1):
        for drum, pattern in hits:
            if pattern[place % 16]:
                lay(out, rng.uniform(0.4, 1) * drum, int(place * step * SAMPLE_RATE))
    return out


# Knocks, water, animals


def clicks(rng: Generator, samples: int) -> np.ndarray:
    """Typing, a clock, a mouse: clicks of a few milliseconds, over a little noise."""
    regular, each = rng.choice([0.0, 0.3, 1.0]), rng.uniform(0.06, 0.6)

    def one() -> np.ndarray:
        length = int(rng.uniform(0.004, 0.03) * SAMPLE_RATE)
        ring = sine(rng.uniform(800, 5000), length)
        return (rng.uniform(0.2, 1) * ring + coloured(rng, length, 0.0, 500)) * decay(
            length, length / 8e4, 1e-4
        )

    return events(rng, samples, each, one, regular) + 10 ** rng.uniform(-4, -1.5) * coloured(
        rng, samples, 1.0
    )


def steps(rng: Generator, samples: int) -> np.ndarray:
    """Footsteps, knocks on wood: thumps with a rattle."""
    body = rng.uniform(70, 400)

    def one() -> np.ndarray:
        length = int(0.15 * SAMPLE_RATE)
        thump = sine(body * rng.uniform(0.9, 1.1), length) * decay(length, 0.02)
        return thump + rng.uniform(0.05, 0.8) * coloured(rng, length, 1.0, 200, 3000) * decay(length, 0.015)

    hits = events(rng, samples, rng.uniform(0.2, 0.8), one, rng.choice([0.3, 0.9]))
    return hits + 10 ** rng.uniform(-4, -1.5) * coloured(rng, samples, 1.0)


def bubbles(rng: Generator, samples: int) -> np.ndarray:
    """Water poured or boiling: sines that rise and die within hundredths of a second."""

    def one() -> np.ndarray:
        f0 = pitch(rng, 300, 3000)
        length = int(min(0.15, 30 / f0) * SAMPLE_RATE)
        rise = 1 + rng.uniform(0, 2) * np.arange(length) / length
        return rng.exponential(1) * sine(f0 * rise, length) * decay(length, 8 / f0, 2e-3)

    drops = events(rng, samples, pitch(rng, 0.004, 0.15), one, 0.0)
    return drops + rng.uniform(0, 0.2) * coloured(rng, samples, 1.0)


def birds(rng: Generator, samples: int) -> np.ndarray:
    """Songs: whistles that glide and trill between 1.5 and 7 kHz, in groups, with pauses."""
    centre = pitch(rng, 1800, 5500)

    def one() -> np.ndarray:
        song = np.zeros(int(rng.uniform(0.2, 1.2) * SAMPLE_RATE))
        length, bend, trill = (
            int(rng.uniform(0.03, 0.25) * SAMPLE_RATE),
            rng.uniform(-0.4, 0.4),
            rng.uniform(0, 0.1),
        )
        for place in range(0, len(song), int(length * rng.uniform(1.1, 2))):
            f0 = centre * (
                1 + bend * np.linspace(-0.5, 0.5, length) + trill * sine(rng.uniform(15, 60), length)
            )
            lay(song, sine(np.minimum(f0, 7500), length) * np.hanning(length), place)
        return song

    return events(rng, samples, rng.uniform(0.3, 1.5), one, 0.2) + 10 ** rng.uniform(-4, -1) * coloured(
        rng, samples, 1.0
    )


def barks(rng: Generator, samples: int) -> np.ndarray:
    """A dog: bursts of a falling, rough pitch and breath, in one fixed colour."""
    f0, length = pitch(rng, 200, 900), int(rng.uniform(0.08, 0.3) * SAMPLE_RATE)
    colour = pitch(rng, 500, 1800)

    def one() -> np.ndarray:
        fall = (
            f0
            * rng.uniform(0.9, 1.1)
            * np.linspace(1.2, 0.7, length)
            * (1 + 0.03 * rng.standard_normal(length))
        )
        voice = harmonics(rng, fall, length, 0.5) + 2 * coloured(rng, length, 1.0, 200, 4000)
        hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
        gain = 0.05 + 1 / (1 + ((hertz - colour) / (0.4 * colour)) ** 2)
        return np.fft.irfft(np.fft.rfft(voice) * gain, length) * np.hanning(length)

    return events(rng, samples, rng.uniform(0.25, 1.0), one, 0.3) + 10 ** rng.uniform(-4, -2) * coloured(
        rng, samples, 1.0
    )
