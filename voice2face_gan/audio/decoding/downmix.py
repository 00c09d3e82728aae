"""Several channels -> one.

    one channel                  as it is
    two, or no layout known      the mean
    a layout such as 5.1         the mean weighted by place: centre 1, front 0.707, others 0.5, LFE 0, divided
                                 by their sum, so that no weighting clips where the mean does not
    a dead channel               left out: its swing is below -60 dBFS and 30 dB below the largest
    channels that cancel         the loudest channel alone, where the result would be 20 dB below them

Dead and cancelling channels are found over all that has been decoded so far: over 30 s at a time at least, or
the whole of a shorter recording. So memory is bounded, nothing is decoded twice, and a channel that becomes
active after minutes is used from then on. An offset (DC) counts as silence.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from voice2face_gan.audio.decoding.info import AudioInfo

WINDOW_SECONDS = 30.0
"""Length of what is held back to decide over, in seconds."""

MIN_SWING = 10 ** (-60 / 20)
"""Half the swing from lowest to highest sample below which a channel may be dead; full scale is 1."""

_BELOW_LOUDEST = 10 ** (-30 / 20)
_CANCELLED = 10 ** (-20 / 10)  # of the channels' mean power
_ALIKE = 1e-3  # of power, within which two channels are as loud
_WINDOW_BYTES = 64 * 2**20  # bounds what is held of many channels at high rates

_PLACES = {"FC": 1.0, "FL": 0.707, "FR": 0.707, "FLC": 0.707, "FRC": 0.707, "DL": 0.707, "DR": 0.707}
_PLACES |= {"LFE": 0.0, "LFE2": 0.0}
_ELSEWHERE = 0.5
_SIDES = ("left", "right")


@dataclass
class Piece:
    """Some decoded sound.

    Attributes:
        samples: (channels, n) of uint8, int8, int16, int32 or int64 (full scale) or floats (full scale 1).
        rate: samples per second.
        layout: the channels' places as FFmpeg names them ("FL", "LFE", ...); () if they are not known.
    """

    samples: np.ndarray
    rate: int
    layout: tuple[str, ...] = ()


def mono(pieces: Iterator[Piece], info: AudioInfo) -> Iterator[tuple[np.ndarray, int]]:
    """The pieces as (float32 (n,), rate), full scale 1, each a new array; decisions are noted in `info`.

    Memory is bounded by 30 s of one kind of piece. NaN and infinite samples are passed on.
    """
    for (channels, rate, layout), group in itertools.groupby(pieces, key=_kind):
        if channels == 1:
            yield from ((_single(piece.samples), rate) for piece in group)
            continue
        mixer = _Mixer(channels, layout)
        held: list[tuple[np.ndarray, float]] = []
        size = 0
        for piece in group:
            held.append(mixer.take(piece.samples))
            size += held[-1][0].shape[1]
            if size >= WINDOW_SECONDS * rate or 4 * channels * size >= _WINDOW_BYTES:
                yield from ((mixed, rate) for mixed in mixer.mix(held, info))
                held, size = [], 0
        yield from ((mixed, rate) for mixed in mixer.mix(held, info))


def swing(samples: np.ndarray) -> float:
    """Half the distance from the lowest to the highest sample of the widest channel; full scale 1."""
    samples, scale = _floats(samples)
    with np.errstate(all="ignore"):
        return float((samples.max(axis=1) - samples.min(axis=1)).max()) / 2 * scale


def _kind(piece: Piece) -> tuple[int, int, tuple[str, ...]]:
    return len(piece.samples), piece.rate, piece.layout


def _floats(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """The same numbers as float32, a new array, and the factor that makes full scale 1."""
    if samples.dtype == np.uint8:  # unsigned means an offset of half the range, in WAV and everywhere else
        return (samples.astype(np.int16) - 128).astype(np.float32, order="C"), 1 / 128
    if samples.dtype == np.int64:  # its squares would not fit
        samples = (samples >> 32).astype(np.int32)
    scale = 1 / -float(np.iinfo(samples.dtype).min) if samples.dtype.kind == "i" else 1.0
    with np.errstate(over="ignore"):  # a float64 that float32 does not hold; found out by the caller
        return samples.astype(np.float32, order="C"), scale


def _single(samples: np.ndarray) -> np.ndarray:
    floats, scale = _floats(samples)
    return np.multiply(floats[0], np.float32(scale), out=floats[0])


class _Mixer:
    """Statistics of the channels so far, and the weights that follow from them."""

    def __init__(self, channels: int, layout: tuple[str, ...]):
        self.layout = layout
        self.places = np.array([_PLACES.get(place, _ELSEWHERE) for place in layout] or [1.0] * channels)
        self.count = 0
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.sum, self.products = np.zeros(channels), np.zeros((channels, channels))

    def take(self, samples: np.ndarray) -> tuple[np.ndarray, float]:
        """Learn from samples (channels, n), and give them back as floats with their factor."""
        floats, scale = _floats(samples)
        with np.errstate(all="ignore"):
            self.count += floats.shape[1]
            self.low = np.minimum(self.low, floats.min(axis=1) * scale)
            self.high = np.maximum(self.high, floats.max(axis=1) * scale)
            self.sum += floats.sum(axis=1, dtype=np.float64) * scale
            self.products += (floats @ floats.T).astype(np.float64) * scale**2
        return floats, scale

    def mix(self, held: list[tuple[np.ndarray, float]], info: AudioInfo) -> Iterator[np.ndarray]:
        """The pieces held, each as one channel (n,)."""
        if not held:
            return
        weights = self._weights(info)
        equal = bool((weights == weights[0]).all())
        for floats, scale in held:
            if equal:
                weights_now = np.full(len(floats), scale / len(floats), dtype=np.float32)
            elif weights.max() == 1:
                yield floats[int(weights.argmax())] * np.float32(scale)
                continue
            else:
                weights_now = (weights * scale).astype(np.float32)
            with np.errstate(all="ignore"):  # NaN is found out by the caller
                mixed = weights_now @ floats
            yield mixed

    def _weights(self, info: AudioInfo) -> np.ndarray:
        """float64 (channels,), their sum 1."""
        size = (self.high - self.low) / 2
        dead = (size < MIN_SWING) & (size < size.max() * _BELOW_LOUDEST)
        places = self.places
        if not (~dead & (places > 0)).any():  # somebody recorded on what is named the LFE
            places = np.ones_like(places)
        weights = np.where(dead, 0.0, places)
        weights /= weights.sum()
        if dead.any():
            info.add_note(self._dead_note(dead))
        with np.errstate(all="ignore"):
            covariance = self.products / self.count - np.outer(self.sum, self.sum) / self.count**2
            power = np.where(weights > 0, np.diag(covariance), 0)
            cancelled = weights @ covariance @ weights < _CANCELLED * power[weights > 0].mean()
        if cancelled and power.max() > 0:
            # The first of those alike: a sound and its negative differ by rounding alone.
            loudest = int((power > (1 - _ALIKE) * power.max()).argmax())
            info.add_note(f"the channels cancel each other, so {self._named(loudest)} is heard alone")
            weights = np.zeros_like(weights)
            weights[loudest] = 1.0
        return weights

    def _named(self, channel: int) -> str:
        return f"the {_SIDES[channel]} channel" if len(self.low) == 2 else f"channel {channel + 1}"

    def _dead_note(self, dead: np.ndarray) -> str:
        if len(dead) == 2:
            return f"the {_SIDES[int(dead.argmax())]} channel is silent and left out"
        return f"{int(dead.sum())} of {len(dead)} channels are silent and left out"
