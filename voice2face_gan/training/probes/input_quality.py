"""Probes of the input's quality: no speech, a child's voice, or several speakers. The pipeline warns by them.

Logistic regressions on the voice encoder's features of a clip (models/probes.py):

    speech    speech of a store, clean and distorted, against sounds that are none (synthetic/sounds.py)
    child     records younger than 13 against adults, clean and distorted
    several   one person after another against one alone, clean and distorted

They are kept in a checkpoint as `probes`.

Of held-out speakers' clips more than 0.8 for child have (in the default weights) 41 % of the children's,
mostly those aged 6 and 7, 2 % of the adults' of the same corpora and none of others': from 8 on voices are
much like a woman's (experiments/labbook/recordings-and-warnings.md).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.audio.augment.policy import SignalAugmentation
from voice2face_gan.audio.augment.waveform import add_at_snr
from voice2face_gan.audio.encoder_input import encoder_input
from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.audio.vad import VadSettings
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.data.batches.sampling import classes
from voice2face_gan.data.batches.speech import SpeechBank
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError, NoSpeechError
from voice2face_gan.models.probes import SEVERAL
from voice2face_gan.synthetic.sounds import SOUNDS, make_sound
from voice2face_gan.training.probes.logistic import fit_logistic

CHILD, ADULT = 13, 18  # years: younger is a child; from there on an adult; between them voices break
CLIPS, SOUND_CLIPS = 960, 440  # examples of speech and of other sounds
_SECONDS = (15, 80)  # lengths of the examples, in tenths
_BATCH = 16  # clips cut to one length and distorted together, each the other's babble
_DISTORTED = 0.5  # share of the examples of either kind
_BEHIND = 0.25  # share of the distorted speech with another sound behind it
_BEHIND_SNR = (5.0, 20.0)  # dB
# See fit_logistic; those with which speakers and sounds that were left out are separated best. The second is
# larger: a hundred speakers must not decide on hundreds of channels.
_PENALTY = {"speech": 0.1, "child": 1.0, SEVERAL: 1e-4}
_TURNS = (30, 100)  # lengths of the speech of one or two people, in tenths of a second
_FIRST = (0.25, 0.75)  # the first one's share of it


def fit_quality_probes(
    encoder: nn.Module,
    features: FeatureSettings,
    store: Store,
    vad: VadSettings | None = None,
    clips: int = CLIPS,
    sounds: int = SOUND_CLIPS,
    kinds: Sequence[str] = tuple(SOUNDS),
    seed: int = 0,
) -> dict[str, Tensor]:
    """Fit all probes; about a minute on one core.

    Args:
        encoder: in evaluation mode, on the CPU.
        features: the log-mel settings it was trained with.
        store: training records with kept speech (16 kHz). Records without an age count as adults.
        vad: how the pipeline finds speech; default VadSettings().
        clips: pieces of speech; where there are children, a third of them are theirs.
        sounds: sounds that are no speech, of all kinds alike.
        kinds: names in synthetic/sounds.py.
        seed: decides pieces, distortions and sounds.
    Returns:
        "speech"; where the store has children and adults, "child"; where the encoder measures how far pieces
        agree, "several". Each as in models/probes.py; the sigmoid is the probability when both classes are
        equally frequent.
    Raises:
        DataError: the store keeps no speech.
    """
    voiced = store.select(store.has_speech)
    if not len(voiced):
        raise DataError(f"{store.folder}: keeps no speech; prepare it again with --keep-speech.")
    items = _balanced(voiced, clips, np.random.default_rng([seed, 0]))
    spoken = speech_features(encoder, features, voiced, items, kinds, seed)
    other, _ = sound_features(encoder, features, vad or VadSettings(), kinds, sounds, seed)
    probes = {"speech": fit(spoken, other, _PENALTY["speech"])}
    child, adult = (torch.from_numpy(group[items]) for group in (_children(voiced), _adults(voiced)))
    if child.any() and adult.any():
        probes["child"] = fit(spoken[child], spoken[adult], _PENALTY["child"])
    if encoder.has_agreement:
        two, one = speaker_change_features(encoder, features, voiced, clips // 4, seed)
        probes[SEVERAL] = fit(two[:, None], one[:, None], _PENALTY[SEVERAL])
    return probes


def fit(positive: Tensor, negative: Tensor, penalty: float) -> Tensor:
    """Logistic regression of (N, channels) against (M, channels): float32 (channels + 1,).

    Each channel counts by its own standard deviation, for some vary a hundred times as much as others.
    """
    x = torch.cat([positive, negative]).double()
    y = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).double()
    mean, std = x.mean(dim=0), x.std(dim=0)
    std = std.clamp(min=1e-3 * float(std.mean()) + 1e-12)
    theta = fit_logistic((x - mean) / std, y, penalty)
    weights = theta[:-1] / std
    return torch.cat([weights, theta[-1:] - mean @ weights]).float()


def speech_features(
    encoder: nn.Module,
    features: FeatureSettings,
    store: Store,
    items: np.ndarray,
    kinds: Sequence[str] = tuple(SOUNDS),
    seed: int = 0,
) -> Tensor:
    """The encoder's features of a random piece of each item's speech, every other one distorted: float32
    (items, channels)."""
    bank, (_, labels) = SpeechBank(store, 1), classes(store)
    # Level, band, room and company of a recording must not decide whether somebody speaks.
    distort, rate = SignalAugmentation(speed=0), features.sample_rate
    rng = np.random.default_rng([seed, 1])
    found = []
    for start in range(0, len(items), _BATCH):
        some = items[start : start + _BATCH]
        samples = _length(rng, rate)
        pieces = bank.crops(some, samples, rng)
        changed = rng.random(len(some)) < _DISTORTED
        if changed.any():
            pieces[changed] = _with_sounds(pieces[changed], kinds, rng, rate)
            pieces[changed] = distort(pieces[changed], samples, labels[some[changed]], rate, rng)
        found.append(_features(encoder, (encoder_input(piece, features, encoder.takes) for piece in pieces)))
    return torch.cat(found)


@torch.no_grad()
def speaker_change_features(
    encoder: nn.Module, features: FeatureSettings, store: Store, count: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """How far the pieces of clips agree in which two people speak in turn, and in which one does: float32
    (count,) each. Every other clip is distorted, but nobody talks behind it.

    Raises:
        DataError: fewer than two speakers.
    """
    bank, (speakers, labels) = SpeechBank(store, 1), classes(store)
    if len(speakers) < 2:
        raise DataError(f"{store.folder}: two speakers are needed for the probe of several.")
    distort, rate = SignalAugmentation(speed=0, babble=0), features.sample_rate
    rng = np.random.default_rng([seed, 4])
    found = torch.empty(2, count)
    for i in range(count):
        samples = int(rng.integers(_TURNS[0], _TURNS[1] + 1)) * rate // 10
        first = int(samples * rng.uniform(*_FIRST))
        one = rng.integers(len(labels))
        other = rng.choice(np.flatnonzero(labels != labels[one]))
        alone = bank.crops(np.array([one]), samples, rng)
        # One speaker's piece is cut too: the cut alone must not separate them.
        again = torch.cat([alone[:, samples - first :], alone[:, : samples - first]], dim=1)
        pair = torch.cat([alone[:, :first], bank.crops(np.array([other]), samples - first, rng)], dim=1)
        both = torch.cat([pair, again])
        if rng.random() < _DISTORTED:
            both = distort(both, samples, np.zeros(2), rate, rng)
        for row, speech in enumerate(both):
            mel = encoder_input(speech, features, encoder.takes)
            found[row, i] = encoder.with_agreement(mel[None])[2][0]
    return found[0], found[1]


def sound_features(
    encoder: nn.Module,
    features: FeatureSettings,
    vad: VadSettings,
    kinds: Sequence[str],
    count: int,
    seed: int = 0,
) -> tuple[Tensor, np.ndarray]:
    """The encoder's features of sounds: whole, and of the parts that the pipeline takes for speech, if any.

    Returns:
        float32 (examples, channels), and the kind of each, str (examples,).
    """
    distort, rate = SignalAugmentation(speed=0, noise=0), features.sample_rate
    rng = np.random.default_rng([seed, 2])
    inputs, names = [], []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        samples = _length(rng, rate)
        sound = make_sound(kind, samples / rate, [seed, 3, number])
        if rng.random() < _DISTORTED:
            sound = distort(torch.from_numpy(sound)[None], samples, np.zeros(1), rate, rng)[0].numpy()
        inputs.append(encoder_input(sound, features, encoder.takes))
        names.append(kind)
        try:
            found = voice_features((sound, rate), vad, features, takes=encoder.takes)
        except NoSpeechError:
            continue  # refused as it is
        if found.speech_seconds < 0.99 * found.seconds:
            inputs.append(found.encoder_input)
            names.append(kind)
    return _features(encoder, inputs), np.array(names)


def _children(store: Store) -> np.ndarray:
    return store.age < CHILD


def _adults(store: Store) -> np.ndarray:
    return np.isnan(store.age) | (store.age >= ADULT)


def _balanced(store: Store, count: int, rng: np.random.Generator) -> np.ndarray:
    """Records at random, every speaker of a group alike: int64 (count,).

    The groups, equal where none is empty: children; the others of the corpora (the first part of a source's
    name) that have children; everybody else. Without the second the microphone gives a child away.
    """
    child = _children(store)
    corpus = np.array([name.split("/")[0] for name in store.source])
    beside = np.isin(corpus, np.unique(corpus[child])) & ~child
    groups = [group for group in (child, beside, ~child & ~beside) if group.any()]
    items = []
    for number, group in enumerate(groups):
        mine = np.flatnonzero(group)
        _, who, clips = np.unique(store.identity[mine], return_inverse=True, return_counts=True)
        weight = 1 / clips[who]
        wanted = count // len(groups) + (number < count % len(groups))
        items.append(rng.choice(mine, wanted, p=weight / weight.sum()))
    return rng.permutation(np.concatenate(items))


def _length(rng: np.random.Generator, rate: int) -> int:
    return int(rng.integers(_SECONDS[0], _SECONDS[1] + 1)) * rate // 10  # Fourier transforms of it are fast


def _with_sounds(speech: Tensor, kinds: Sequence[str], rng: np.random.Generator, rate: int) -> Tensor:
    """Some of the pieces (B, samples) with another sound behind them: they are speech still."""
    speech = speech.clone()
    for row in np.flatnonzero(rng.random(len(speech)) < _BEHIND):
        kind, seed = kinds[rng.integers(len(kinds))], int(rng.integers(2**31))
        sound = torch.from_numpy(make_sound(kind, speech.shape[1] / rate, seed))
        snr = torch.tensor([rng.uniform(*_BEHIND_SNR)], dtype=torch.float32)
        speech[row] = add_at_snr(speech[row, None], sound[None], snr)[0]
    return speech


@torch.no_grad()
def _features(encoder: nn.Module, inputs: Iterator[Tensor] | Sequence[Tensor]) -> Tensor:
    return torch.cat([encoder.features(one[None]) for one in inputs])
