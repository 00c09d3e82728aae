"""Recordings of common kinds, made from speech that a store keeps; see robustness.py."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator

from voice2face_gan.audio.augment import waveform
from voice2face_gan.bench.generate import encode
from voice2face_gan.data.batches.speech import SpeechBank
from voice2face_gan.synthetic.sounds import FAMILIES, make_sound
from voice2face_gan.training.probes.input_quality import ADULT, CHILD

RATE = 16_000
PAUSE = RATE // 2  # samples without speech before and after it, where noise is heard alone
TALKERS = 4  # of the babble
MUSIC = [make.__name__ for make in FAMILIES["music"]]


@dataclass
class Clip:
    """Speech of one speaker: float32 (samples,) at 16 kHz in [-1, 1]; gender "female", "male" or ""."""

    speech: np.ndarray
    identity: str
    gender: str = ""


Make = Callable[[list[Clip], int, Generator], object]  # -> what VoiceToFace.generate_many takes


def padded(x: np.ndarray) -> np.ndarray:
    return np.pad(x, PAUSE)


def recorded(x: np.ndarray, rate: int = RATE) -> tuple[np.ndarray, int]:
    """16-bit samples and their rate, made quieter where the recording would clip."""
    x = x / max(1.0, float(np.abs(x).max()))
    return np.rint(32767 * x).astype(np.int16), rate


def mixed(speech: np.ndarray, other: np.ndarray, snr: float) -> np.ndarray:
    """Speech between its pauses and something behind it all (samples + 2 PAUSE,), `snr` dB
    below the speech."""
    gain = np.sqrt(np.mean(speech**2) / max(np.mean(other**2), 1e-20) / 10 ** (snr / 10))
    return padded(speech) + (gain * other).astype(np.float32)


def coloured(samples: int, slope: float, rng: Generator) -> np.ndarray:
    """Noise of power 1 / frequency^slope, (samples,)."""
    draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return waveform.coloured_noise(torch.tensor([slope]), samples, draws)[0].numpy()


def babble(clips: list[Clip], i: int, samples: int, rng: Generator) -> np.ndarray:
    """Other speakers at once, each as loud as the others, (samples,)."""
    others = [clip.speech for j, clip in enumerate(clips) if j != i]
    chosen = rng.choice(len(others), min(TALKERS, len(others)), replace=False)
    turned = [np.roll(np.resize(others[j], samples), rng.integers(samples)) for j in chosen]
    return np.sum([x / max(np.sqrt(np.mean(x**2)), 1e-10) for x in turned], axis=0)


def noisy(kind: str, snr: float, seconds: float | None = None) -> Make:
    """Noise behind all of it, or behind so many seconds from its middle."""

    def make(clips: list[Clip], i: int, rng: Generator):
        speech = clips[i].speech if seconds is None else middle(clips[i].speech, seconds)
        samples = len(speech) + 2 * PAUSE
        if kind == "babble":
            other = babble(clips, i, samples, rng)
        elif kind == "music":
            other = make_sound(MUSIC[i % len(MUSIC)], samples / RATE, int(rng.integers(2**31)))
        else:
            other = coloured(samples, {"white": 0.0, "pink": 1.0}[kind], rng)
        return recorded(mixed(speech, other, snr))

    return make


def banded(x: np.ndarray, low: float, high: float, order: int) -> np.ndarray:
    edges = (torch.tensor([float(f)]) for f in (low, high))
    return waveform.band_limit(torch.from_numpy(x)[None], *edges, RATE, order)[0].numpy()


def memo(clips: list[Clip], i: int, rng: Generator) -> bytes:
    """A phone's memo: a room of 0.5 s reverberation, its noise at 20 dB, 100 to 7,000 Hz, a file of Opus."""
    draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
    response = waveform.room_response(torch.tensor([0.5]), torch.tensor([3.0]), RATE, draws)
    heard = waveform.convolve(torch.from_numpy(clips[i].speech)[None], response)[0].numpy()
    x = banded(mixed(heard, coloured(len(heard) + 2 * PAUSE, 1.0, rng), 20.0), 100, 7000, 8)
    return encode(x / max(1.0, float(np.abs(x).max())), "opus", bit_rate=24_000)


def telephone(clips: list[Clip], i: int, rng: Generator) -> tuple[np.ndarray, int]:
    """A landline, as it comes out of it: 8,000 samples a second, 300 to 3,400 Hz, 8-bit mu-law."""
    x = banded(padded(clips[i].speech), 300, 3400, 24)[::2]  # 34 dB down where it would fold over
    x = waveform.mu_law(torch.from_numpy(x / max(np.abs(x).max(), 1e-10))[None])[0].numpy()
    return recorded(x, RATE // 2)


def level(decibels: float) -> Make:
    """Louder or quieter, cut off at full scale; louder starts from a recording that just reaches it."""

    def make(clips: list[Clip], i: int, rng: Generator):
        x = padded(clips[i].speech) * 10 ** (decibels / 20)
        return recorded(np.clip(x / np.abs(clips[i].speech).max() if decibels > 0 else x, -1, 1))

    return make


def piece(seconds: float) -> Make:
    return lambda clips, i, rng: recorded(padded(middle(clips[i].speech, seconds)))


def middle(speech: np.ndarray, seconds: float) -> np.ndarray:
    samples = round(seconds * RATE)
    start = max(0, len(speech) - samples) // 2
    return speech[start : start + samples]


def partner(clips: list[Clip], i: int) -> Clip:
    return clips[(i + 1) % len(clips)]


def after(clips: list[Clip], i: int, rng: Generator):
    """Half of one clip, then half of the next person's."""
    one, two = (clip.speech[: len(clip.speech) // 2] for clip in (clips[i], partner(clips, i)))
    return recorded(np.concatenate([padded(one), padded(two)]))


def at_once(clips: list[Clip], i: int, rng: Generator):
    """Two people equally loud, for as long as the first speaks."""
    one = clips[i].speech
    two = np.resize(partner(clips, i).speech, len(one))
    return recorded(padded(one + two * np.sqrt(np.mean(one**2) / max(np.mean(two**2), 1e-20))))


CLEAN, AFTER, AT_ONCE = "clean", "two speakers, one after the other", "two speakers at once, 0 dB"
RECORDINGS: dict[str, Make] = {
    CLEAN: lambda clips, i, rng: recorded(padded(clips[i].speech)),
    "phone memo (Opus, 24 kbit/s)": memo,
    **{f"{k} noise, {snr} dB": noisy(k, snr) for k in ("white", "pink", "babble") for snr in (20, 10, 5, 0)},
    **{f"music behind, {snr} dB": noisy("music", snr) for snr in (10, 5)},
    "telephone, 8 kHz": telephone,
    "30 dB quieter": level(-30),
    "20 dB too loud, clipped": level(20),
    **{f"{seconds} s of speech": piece(seconds) for seconds in (2.0, 1.0, 0.2)},
    "0.2 s of speech in pink noise, 20 dB": noisy("pink", 20, 0.2),
    AFTER: after,
    AT_ONCE: at_once,
}


GROUPS = ("children under 13", "adults of the same data", "singing")


def people(store, count: int, longest: float, shortest: float = 3.0, each: bool = False, seed: int = 0):
    """At most `count` clips: of each person the first of `shortest` seconds or more, people in an order that
    the seed decides; with `each` all of them, a person's after another's. `longest` seconds are taken."""
    bank, found = SpeechBank(store, 1), {}
    for item in np.flatnonzero(store.has_speech & (store.speech_samples >= shortest * RATE)):
        found.setdefault(str(store.identity[item]), []).append(int(item))
    order = np.random.default_rng(seed).permutation(len(found))
    items = [found[name] for name in (sorted(found)[k] for k in order)]
    chosen = [item for mine in items for item in (mine if each else mine[:1])][:count]
    samples = round(longest * RATE)
    return [
        Clip(bank.whole(item)[:samples].numpy(), str(store.identity[item]), str(store.gender[item]))
        for item in chosen
    ]


def group_clips(store, name: str, count: int, longest: float, seed: int) -> list[Clip]:
    """All clips, short ones too, of one of GROUPS. Songs are those of RAVDESS (vocal channel 02)."""
    corpus = np.array([source.split("/")[0] for source in store.source])
    child = store.age < CHILD
    if name == "children under 13":
        keep = child
    elif name == "singing":
        keep = np.array([source.split("/")[-1].startswith("03-02-") for source in store.source], dtype=bool)
    else:
        keep = (store.age >= ADULT) & np.isin(corpus, np.unique(corpus[child]))
    return people(store.select(keep), count, longest, 1.0, True, seed)
