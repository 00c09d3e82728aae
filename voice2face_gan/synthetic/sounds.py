"""Sounds that are no speech: noises, machines, music, knocks, animals. All synthesised, decided by a seed.

They train and test the probe for speech (training/probes/input_quality.py).
`SOUNDS` names all kinds, functions of `sounds_noise` and `sounds_music`; `FAMILIES` groups those that sound
alike, so that a whole family can be held out. Every draw differs in pitch, tempo, colour and loudness.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from voice2face_gan.errors import DataError
from voice2face_gan.synthetic import sounds_music as music
from voice2face_gan.synthetic import sounds_noise as noises
from voice2face_gan.synthetic.sound_parts import SAMPLE_RATE

_PEAK_DB = (-30.0, -1.0)  # of a recording's loudest sample


FAMILIES: dict[str, tuple[Callable[[Generator, int], np.ndarray], ...]] = {
    "noises": (noises.noise, noises.band_noise, noises.wind, noises.rain, noises.applause),
    "machines": (noises.hum, noises.tone, noises.sweep, noises.siren, noises.beeps, noises.engine),
    "music": (music.chords, music.melody, music.plucked, music.bells, music.drums),
    "nature": (music.clicks, music.steps, music.bubbles, music.birds, music.barks),
}
"""Kinds that sound alike; holding out a family is a harder test than holding out a kind."""


def mixture(rng: Generator, samples: int) -> np.ndarray:
    """Two or three other sounds at once, of random levels."""
    makers = [make for family in FAMILIES.values() for make in family]
    out = np.zeros(samples)
    for i in rng.choice(len(makers), rng.integers(2, 4), replace=False):
        x = makers[i](rng, samples)
        out += rng.uniform(0.1, 1) * x / max(float(np.abs(x).max()), 1e-12)
    return out


SOUNDS: dict[str, Callable[[Generator, int], np.ndarray]] = {
    make.__name__: make for family in FAMILIES.values() for make in family
} | {"mixture": mixture}


def make_sound(kind: str, seconds: float, seed: int | list[int] = 0) -> np.ndarray:
    """One sound.

    Args:
        kind: a name in SOUNDS.
        seconds: its length.
        seed: decides everything else; a sequence of numbers, too.
    Returns:
        float32 (samples,), 16 kHz, in [-1, 1], its peak 1 to 30 dB below full scale.
    Raises:
        DataError: no such kind, or no length.
    """
    if kind not in SOUNDS:
        raise DataError(f"no sound '{kind}'; known are {', '.join(SOUNDS)}.")
    samples = round(seconds * SAMPLE_RATE)
    if samples < 1:
        raise DataError(f"a sound of {seconds} s has no samples.")
    rng = np.random.default_rng(seed)
    x = SOUNDS[kind](rng, samples)
    level = 10 ** (rng.uniform(*_PEAK_DB) / 20)
    return (x * (level / max(float(np.abs(x).max()), 1e-12))).astype(np.float32)
