"""Voices of the synthetic world: a source-filter synthesiser of speech-like syllables.

A clip is planned as phrases of syllables (a plan of 10 ms frames: formants, voicing, frication, f0), then
made in three steps. Glottal pulses, one a cycle, each with its own jitter and shimmer, are laid on the time
axis at fractions of a sample. Frames of the pulse train and of noise are multiplied, in the frequency domain,
by the spectrum of the glottal flow derivative, the all-pole vocal tract and the microphone. The frames are
overlap-added. The glottal spectrum sits in the filter and not in the pulses, so that it cannot alias.

Sources: Fant 1960 (Acoustic Theory of Speech Production); vowels, Peterson & Barney 1952 (J. Acoust. Soc.
Am. 24, 175), table II, men; spectrum of the glottal flow derivative (a resonance near f0, then -6 dB per
octave, then -12), Doval, d'Alessandro & Henrich 2006 (Acta Acustica 92, 1026).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from voice2face_gan.errors import DataError
from voice2face_gan.synthetic.speakers import WORKERS, Speakers, speaker_generator

SAMPLE_RATE = 16_000
"""Hz."""

REFERENCE_TRACT = 17.5
"""cm: the vocal tract to which VOWELS belong; formants scale with REFERENCE_TRACT / vocal_tract_length."""

VOWELS = {
    "i": (270, 2290, 3010),
    "I": (390, 1990, 2550),
    "E": (530, 1840, 2480),
    "ae": (660, 1720, 2410),
    "A": (730, 1090, 2440),
    "O": (570, 840, 2410),
    "U": (440, 1020, 2240),
    "u": (300, 870, 2240),
    "V": (640, 1190, 2390),
    "er": (490, 1350, 1690),
}
"""F1, F2, F3 in Hz of American English vowels, averages of 33 men (Peterson & Barney 1952)."""

_UPPER = (3500.0, 4500.0, 5500.0)  # F4-F6 of a uniform 17.5 cm tube, Hz
_BANDWIDTH = np.array(
    [70.0, 90.0, 130.0, 200.0, 280.0, 360.0]
)  # Hz, vowels; a little above Fant's closed glottis
_HOP = 160  # samples: 10 ms
_FRAME = 2 * _HOP
_FFT = 720  # the 400 samples beyond a frame hold the ringing of the formants: -40 dB at 70 Hz of bandwidth
_BINS = _FFT // 2 + 1
_TAPS = np.arange(-7, 9)  # of the windowed sinc that lays a pulse between samples

# Consonants: formant targets (Hz, 17.5 cm), voicing, frication, place of the frication (centre, width in Hz).
_CONSONANTS: dict[str, tuple[tuple[int, int, int], float, float, tuple[float, float]]] = {
    "m": ((250, 1000, 2200), 0.42, 0.0, (1000, 800)),
    "n": ((250, 1500, 2500), 0.42, 0.0, (1000, 800)),
    "l": ((350, 1100, 2700), 0.65, 0.0, (1000, 800)),
    "w": ((300, 700, 2200), 0.60, 0.0, (1000, 800)),
    "j": ((280, 2200, 2950), 0.60, 0.0, (1000, 800)),
    "v": ((300, 1100, 2300), 0.40, 0.10, (4500, 3500)),
    "z": ((300, 1700, 2600), 0.32, 0.30, (6000, 1500)),
    "s": ((350, 1700, 2600), 0.0, 0.65, (6300, 1400)),
    "S": ((350, 1800, 2500), 0.0, 0.75, (3600, 1100)),
    "f": ((350, 1100, 2300), 0.0, 0.22, (4500, 3500)),
    "h": ((500, 1500, 2500), 0.0, 0.30, (1500, 1200)),
    "b": ((250, 800, 2200), 0.25, 0.30, (900, 700)),
    "d": ((250, 1700, 2600), 0.25, 0.35, (4200, 1500)),
    "g": ((250, 2000, 2400), 0.25, 0.35, (2200, 700)),
    "t": ((300, 1700, 2600), 0.0, 0.60, (4800, 1600)),
    "k": ((300, 1900, 2400), 0.0, 0.55, (2300, 800)),
}
_STOPS = frozenset("bdgtk")
_ONSETS = ("", *_CONSONANTS)
_CODAS = ("m", "n", "l", "s", "z")


def _noise_frames() -> np.ndarray:
    """Spectra of 1,024 frames of white noise, complex64 (1024, bins).

    A clip picks from them at random: fresh noise would cost more than the rest of the synthesis. The
    square root of a Hann window adds up in power where frames overlap.
    """
    white = np.random.default_rng(1952).standard_normal((1024, _FRAME), dtype=np.float32)
    return np.fft.rfft(white * np.sqrt(_WINDOW), _FFT).astype(np.complex64)


def _room_noise() -> np.ndarray:
    """Two loops of 8 s of noise with unit RMS, float32 (2, samples): -3 and -6 dB per octave above 60 Hz."""
    length = 8 * SAMPLE_RATE
    white = np.fft.rfft(np.random.default_rng(1960).standard_normal((2, length)))
    hertz = np.maximum(np.linspace(0, SAMPLE_RATE / 2, white.shape[1]), 60)
    loops = np.fft.irfft(white * hertz ** -np.array([[0.5], [1.0]]), length)
    return (loops / np.sqrt(np.mean(loops**2, axis=1, keepdims=True))).astype(np.float32)


_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(_FRAME) + 0.5) / _FRAME)).astype(np.float32)
_NOISE = _noise_frames()
_ROOM_NOISE = _room_noise()
_HERTZ = np.linspace(0, SAMPLE_RATE / 2, _BINS)


@dataclass
class _Plan:
    """Phonetic content frame by frame (10 ms); float64 (frames,) unless shaped otherwise."""

    formants: np.ndarray  # (frames, 6) Hz, of the 17.5 cm tract
    widths: np.ndarray  # (frames, 6) Hz
    voicing: np.ndarray  # amplitude of the glottal pulses
    aspiration: np.ndarray  # amplitude of noise at the glottis, beyond the speaker's breathiness
    frication: np.ndarray  # amplitude of noise at a constriction
    place: np.ndarray  # (frames, 2) Hz: centre and width of the frication
    contour: np.ndarray  # f0 / mean f0


def synthesise(speakers: Speakers, seconds: float = 4.0, seed: int = 0, clip: int = 0) -> np.ndarray:
    """One clip of every speaker: float32 (N, round(seconds x 16000)), mono, 16 kHz, within [-1, 1].

    Clips of one speaker differ in content, loudness, mean f0 (by about 3 %), microphone, room and
    background noise. A clip depends on the seed, the speaker and its number only, not on the batch; but a
    shorter clip is not the start of a longer one, as phrases are planned for the length.

    Raises:
        DataError: fewer than 0.1 seconds, or a negative seed or clip.
    """
    if not seconds >= 0.1:
        raise DataError(f"A clip needs at least 0.1 seconds, not {seconds}.")
    samples = round(seconds * SAMPLE_RATE)
    out = np.empty((len(speakers), samples), dtype=np.float32)

    # One speaker at a time: a clip's 400 frames fill the vector units, and the arrays stay in the cache.
    def fill(i: int) -> None:
        rng = speaker_generator(seed, speakers.name[i], 0, clip)
        out[i] = _speak(
            rng,
            samples,
            f0=float(speakers.f0[i]),
            stretch=REFERENCE_TRACT / float(speakers.vocal_tract_length[i]),
            breathiness=float(speakers.breathiness[i]),
            jitter=float(speakers.jitter[i]),
            tremor=float(speakers.tremor[i]),
        )

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(fill, range(len(speakers))))
    return out


def _speak(
    rng: np.random.Generator,
    samples: int,
    f0: float,
    stretch: float,
    breathiness: float,
    jitter: float,
    tremor: float,
) -> np.ndarray:
    """One clip, float32 (samples,)."""
    frames = -(-samples // _HOP) + 1
    plan = _plan(rng, frames)
    time = np.arange(frames) * _HOP / SAMPLE_RATE
    shake = 1 + tremor * np.sin(2 * np.pi * (rng.uniform(4.5, 6.0) * time + rng.random()))
    pitch = f0 * np.exp(0.03 * np.clip(rng.standard_normal(), -2, 2)) * plan.contour * shake
    pulses = _pulse_train(rng, pitch, plan.voicing, frames, jitter)

    # Both sources through the tract: S = (pulses x glottis + noise x aspiration) / A + noise x frication.
    padded = np.lib.stride_tricks.sliding_window_view(pulses, _FRAME)[::_HOP][:frames]
    spectrum = np.fft.rfft(padded * _WINDOW, _FFT)
    noise = _NOISE[rng.integers(0, len(_NOISE), frames)]
    spectrum *= _glottis(f0, breathiness)
    tilt = (1 / (1 + _HERTZ / 5000)).astype(np.float32)  # breath noise at the glottis, nearly white
    breath = (0.030 * breathiness * plan.voicing + plan.aspiration).astype(np.float32)
    spectrum += noise * (breath[:, None] * tilt)
    spectrum *= _tract(plan.formants * stretch, plan.widths * np.sqrt(stretch), stretch)
    hissing = np.flatnonzero(plan.frication > 1e-3)
    centre, width = plan.place[hissing, :1] * stretch**0.5, plan.place[hissing, 1:]
    hiss = np.exp(-0.5 * ((_HERTZ - centre) / width).astype(np.float32) ** 2)
    spectrum[hissing] += noise[hissing] * (hiss * (0.10 * plan.frication[hissing, None]).astype(np.float32))
    spectrum *= _microphone(rng)

    rings = np.fft.irfft(spectrum, _FFT).astype(np.float32)
    wave = _overlap_add(rings)[_HOP : _HOP + samples]
    wave = _room(rng, wave)
    level = float(np.sqrt(np.mean(wave**2))) + 1e-9
    loudness = 10 ** (rng.uniform(-27, -18) / 20)
    wave *= loudness / level
    wave += _background(rng, samples, loudness * 10 ** (-rng.uniform(28, 45) / 20))
    # Speech peaks 12-18 dB above its mean: a soft knee near full scale keeps the rare loud burst inside.
    return np.tanh(wave)


def _plan(rng: np.random.Generator, frames: int) -> _Plan:
    """Phrases of 5-9 syllables at 4-5 a second, with short pauses, until the frames are filled."""
    vowels = np.array(list(VOWELS.values()), dtype=float)
    rows: list[
        tuple[float, ...]
    ] = []  # frames, F1, F2, F3, voicing, aspiration, frication, centre, width, nasal
    contour: list[np.ndarray] = []
    total = 0

    def segment(length: int, target: np.ndarray, voicing: float, aspiration: float, frication: float,
                place: tuple[float, float] = (1000.0, 800.0), nasal: float = 0.0) -> None:  # fmt: skip
        nonlocal total
        rows.append((length, *target, voicing, aspiration, frication, *place, nasal))
        total += length

    neutral = np.array([500.0, 1500.0, 2500.0])
    segment(int(rng.integers(1, 7)), neutral, 0, 0, 0)
    contour.append(np.full(total, 1.0))
    while total < frames + 10:
        start, syllables = total, int(rng.integers(5, 10))
        accents = []
        for k in range(syllables):
            stress = rng.uniform(0.65, 1.0)
            onset = _ONSETS[rng.integers(len(_ONSETS))]
            if onset:
                target, voicing, frication, place = _CONSONANTS[onset]
                if onset in _STOPS:  # closure, then burst, then a breath of aspiration when voiceless
                    segment(int(rng.integers(2, 5)), target, voicing, 0, 0)
                    segment(1, target, 0, 0, frication, place)
                    if onset in "tk":
                        segment(int(rng.integers(1, 3)), target, 0, 0.02, 0)
                else:
                    segment(int(rng.integers(5, 9)), target, voicing, 0, frication, place, onset in "mn")
            vowel = vowels[rng.integers(len(vowels))] * np.exp(0.03 * rng.standard_normal(3))
            long = 1.5 if k == syllables - 1 else 1.0  # phrase-final lengthening
            accents.append((total, stress))
            segment(int(rng.integers(10, 18) * stress * long), vowel, stress, 0, 0)
            if rng.random() < 0.25:
                coda = _CODAS[rng.integers(len(_CODAS))]
                target, voicing, frication, place = _CONSONANTS[coda]
                segment(int(rng.integers(4, 7)), target, voicing, 0, frication, place, coda in "mn")
        length = total - start
        # Declination over the phrase, a rise of pitch on stressed syllables, and a final fall or rise.
        t = np.arange(length)
        line = 0.10 * (0.5 - t / length) + rng.normal(0, 0.02)
        for onset_frame, stress in accents:
            line += 0.16 * (stress - 0.78) * np.exp(-(((t + start - onset_frame - 6) / 8) ** 2))
        line += rng.choice([-0.14, -0.10, 0.10]) * np.clip((t - length + 22) / 22, 0, 1) ** 2
        contour.append(np.exp(line))
        pause = int(rng.integers(8, 24))
        inhale = 0.012 if pause > 14 else 0.0  # breath taken in a long enough pause
        segment(pause, neutral, 0, inhale, 0)
        contour.append(np.ones(pause))

    table = np.array(rows)
    tracks = np.repeat(table[:, 1:], table[:, 0].astype(int), axis=0)[:frames]
    slow, quick = np.hanning(11)[1:-1], np.hanning(5)[1:-1]
    formants = np.column_stack([_smooth(tracks[:, k], slow) for k in range(3)])
    nasal = _smooth(tracks[:, 8], quick)[:, None]
    return _Plan(
        formants=np.column_stack([formants, np.tile(_UPPER, (frames, 1))]),
        widths=_BANDWIDTH * (1 + nasal * np.array([0.4, 2.0, 1.5, 1.0, 0.5, 0.5])),
        voicing=_smooth(tracks[:, 3], quick),
        aspiration=_smooth(tracks[:, 4], slow),
        frication=_smooth(tracks[:, 5], np.array([0.2, 0.6, 0.2])),
        place=tracks[:, 6:8],
        contour=_smooth(np.concatenate(contour)[:frames], slow),
    )


def _smooth(track: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve with a kernel of odd length, holding the ends."""
    half = len(kernel) // 2
    return np.convolve(np.pad(track, half, mode="edge"), kernel / kernel.sum(), mode="valid")


def _pulse_train(
    rng: np.random.Generator, pitch: np.ndarray, voicing: np.ndarray, frames: int, jitter: float
) -> np.ndarray:
    """Band-limited glottal pulses, float32 ((frames + 2) x hop,), the first hop being lead-in."""
    cycles = np.concatenate([[0.0], np.cumsum(pitch[:-1]) * _HOP / SAMPLE_RATE]) + rng.random()
    at = np.interp(np.arange(1, int(cycles[-1]) + 1), cycles, np.arange(frames))  # frame of every pulse
    period = SAMPLE_RATE / np.interp(at, np.arange(frames), pitch)
    place = at * _HOP + _HOP + jitter * period * rng.standard_normal(len(at)).clip(-3, 3)
    size = np.interp(at, np.arange(frames), voicing)
    # A pulse's energy is shared over its period: without the root, high voices would be louder.
    size *= np.exp(3 * jitter * rng.standard_normal(len(at))) * np.sqrt(period / 100)
    whole = np.floor(place).astype(int)
    offset = _TAPS - (place - whole)[:, None]
    kernel = np.sinc(offset) * np.cos(np.pi * offset / 17) ** 2 * size[:, None]
    train = np.zeros((frames + 2) * _HOP)
    index = np.clip(whole[:, None] + _TAPS, 0, len(train) - 1)
    np.add.at(train, index.ravel(), kernel.ravel())
    return train.astype(np.float32)


def _glottis(f0: float, breathiness: float) -> np.ndarray:
    """Spectrum of the glottal flow derivative at the lips, complex64 (bins,): radiation is the derivative."""
    s = 1j * _HERTZ
    peak = 0.9 * f0  # the glottal formant
    resonance = s * peak / (peak**2 + s * peak * 1.2 - _HERTZ**2 + 0j)
    tilt = 3200.0 - 2200.0 * breathiness  # Hz: a breathy voice closes softly, so its spectrum falls earlier
    return (resonance / (1 + s / tilt)).astype(np.complex64)


def _tract(formants: np.ndarray, widths: np.ndarray, stretch: float) -> np.ndarray:
    """Frequency response of the all-pole vocal tract, complex64 (frames, bins), 1 at 0 Hz.

    Args:
        formants: (frames, 6) Hz.
        widths: (frames, 6) Hz.
        stretch: of the frequency axis; the shortest tracts push F6 towards the Nyquist frequency, where it
            stays below 7.8 kHz.
    """
    radius = np.exp(-np.pi * widths / SAMPLE_RATE)
    angle = 2 * np.pi * np.minimum(formants, 7800.0) / SAMPLE_RATE
    first, second = -2 * radius * np.cos(angle), radius**2
    poly = np.ones((len(formants), 1))
    for k in range(formants.shape[1]):
        grown = np.pad(poly, ((0, 0), (0, 2)))
        grown[:, 1:-1] += poly * first[:, k : k + 1]
        grown[:, 2:] += poly * second[:, k : k + 1]
        poly = grown
    gain = poly.sum(axis=1, keepdims=True).astype(np.float32)
    # Not a matrix product: its own threads would fight with the ones that call this.
    return gain / np.fft.rfft(poly.astype(np.float32), _FFT)


def _microphone(rng: np.random.Generator) -> np.ndarray:
    """Response of a microphone and its distance, float32 (bins,): tilt, two edges and a gentle ripple."""
    octaves = np.log2(np.maximum(_HERTZ, 30) / 1000)
    ripple = sum(
        rng.normal(0, 1.0) * np.cos(2 * np.pi * (octaves * rng.uniform(0.1, 0.5) + rng.random()))
        for _ in range(3)
    )
    decibels = rng.normal(0, 1.0) * np.clip(octaves, -3, 3) + ripple
    low, high = rng.uniform(40, 110), rng.uniform(5500, 9000)
    edges = 1 / np.sqrt(1 + (low / np.maximum(_HERTZ, 1)) ** 4) / np.sqrt(1 + (_HERTZ / high) ** 8)
    return (10 ** (decibels / 20) * edges).astype(np.float32)


def _room(rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    """The wave with five early reflections of a small room."""
    strength = rng.uniform(0.0, 0.3)
    out = wave.copy()
    for delay in np.sort(rng.integers(30, 700, 5)):
        gain = strength * rng.choice([-1, 1]) * np.exp(-delay / 300)
        if delay < len(wave):
            out[delay:] += np.float32(gain) * wave[:-delay]
    return out


def _background(rng: np.random.Generator, samples: int, level: float) -> np.ndarray:
    """Low noise of a room, falling by 3-6 dB per octave, float32 (samples,), of about that RMS level."""
    mix = rng.random()
    starts = rng.integers(0, _ROOM_NOISE.shape[1], 2)
    index = np.arange(samples)
    pink, brown = (_ROOM_NOISE[k].take(index + starts[k], mode="wrap") for k in range(2))
    return np.float32(level * np.sqrt(mix)) * pink + np.float32(level * np.sqrt(1 - mix)) * brown


def _overlap_add(rings: np.ndarray) -> np.ndarray:
    """Add frames (frames, 720), 160 samples apart, into one wave."""
    frames, length = rings.shape
    parts = -(-length // _HOP)
    rings = np.pad(rings, ((0, 0), (0, parts * _HOP - length))).reshape(frames, parts, _HOP)
    out = np.zeros((frames + parts, _HOP), dtype=np.float32)
    for k in range(parts):
        out[k : k + frames] += rings[:, k]
    return out.ravel()
