"""What people record, one kind after the other: how the pipeline takes it.

    python experiments/robustness.py --data avspeech.store,voxceleb.store,voices.store --checkpoint default

Of adult test people, one clip each, drawn by the seed: every clip is made into each of RECORDINGS and goes the
whole way (decoding, speech detection, log-mel, embedder, generator). Children's clips, songs where the data have
any, and synthesised sounds that are no speech go the same way. Prints two markdown tables; --out keeps all as JSON.

Columns of the first: `refused` too little speech; warned that it is no speech, `child` that it may be a child,
`short` that it is less than 2 s; `right sex` of those with a gender label; `same sex` as the same clip told when
clean; `moved` mean absolute difference of pixels (of 255) from the face of the clean clip; `HOG` pictures in which
dlib finds a face; `age` that the shipped judge reads in the faces, mean, and the share below 16 years.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator

from voice2face_gan.audio import distort
from voice2face_gan.bench.generate import encode
from voice2face_gan.errors import DataError, MetricError, VoiceToFaceError
from voice2face_gan.synthetic.sounds import FAMILIES, SOUNDS, make_sound

RATE = 16_000
PAUSE = RATE // 2  # samples without speech before and after it, where noise is heard alone
TALKERS = 4  # of the babble
CHILD, ADULT = 13, 18  # years, as in training/alarms.py
TEEN = 16  # years; a face that looks younger is a child's
NOT_SPEECH, CHILDISH, SHORT = ("not sound like speech", "steady noise"), ("child",), ("s of speech;",)
MUSIC = [make.__name__ for make in FAMILIES["music"]]
NO_SONG = "the data have no recording of singing"


@dataclass
class Clip:
    """Speech of one person: float32 (samples,) at 16 kHz in [-1, 1]; gender "female", "male" or ""."""

    speech: np.ndarray
    identity: str
    gender: str = ""


Make = Callable[[list[Clip], int, Generator], object]  # -> what VoiceToFace.listen_all takes


def padded(x: np.ndarray) -> np.ndarray:
    return np.pad(x, PAUSE)


def recorded(x: np.ndarray, rate: int = RATE) -> tuple[np.ndarray, int]:
    """As 16-bit numbers, made quieter where it would clip."""
    x = x / max(1.0, float(np.abs(x).max()))
    return np.rint(32767 * x).astype(np.int16), rate


def mixed(speech: np.ndarray, other: np.ndarray, snr: float) -> np.ndarray:
    """Speech between its pauses and something behind it all (samples + 2 PAUSE,), `snr` dB below the speech."""
    gain = np.sqrt(np.mean(speech**2) / max(np.mean(other**2), 1e-20) / 10 ** (snr / 10))
    return padded(speech) + (gain * other).astype(np.float32)


def coloured(samples: int, slope: float, rng: Generator) -> np.ndarray:
    """Noise of power 1 / frequency^slope, (samples,)."""
    draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return distort.coloured_noise(torch.tensor([slope]), samples, draws)[0].numpy()


def babble(clips: list[Clip], i: int, samples: int, rng: Generator) -> np.ndarray:
    """Other people talking at once, each as loud as the others, (samples,)."""
    others = [clip.speech for j, clip in enumerate(clips) if j != i]
    chosen = rng.choice(len(others), min(TALKERS, len(others)), replace=False)
    turned = [np.roll(np.resize(others[j], samples), rng.integers(samples)) for j in chosen]
    return np.sum([x / max(np.sqrt(np.mean(x**2)), 1e-10) for x in turned], axis=0)


def noisy(kind: str, snr: float) -> Make:
    def make(clips: list[Clip], i: int, rng: Generator):
        speech = clips[i].speech
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
    return distort.band_limit(torch.from_numpy(x)[None], *edges, RATE, order)[0].numpy()


def memo(clips: list[Clip], i: int, rng: Generator) -> bytes:
    """A phone's memo: a room of 0.5 s reverberation, its noise at 20 dB, 100 to 7,000 Hz, a file of Opus."""
    draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
    response = distort.room_response(torch.tensor([0.5]), torch.tensor([3.0]), RATE, draws)
    heard = distort.convolve(torch.from_numpy(clips[i].speech)[None], response)[0].numpy()
    x = banded(mixed(heard, coloured(len(heard) + 2 * PAUSE, 1.0, rng), 20.0), 100, 7000, 8)
    return encode(x / max(1.0, float(np.abs(x).max())), "opus", bit_rate=24_000)


def telephone(clips: list[Clip], i: int, rng: Generator) -> tuple[np.ndarray, int]:
    """A landline, as it comes out of it: 8,000 samples a second, 300 to 3,400 Hz, 8-bit mu-law."""
    x = banded(padded(clips[i].speech), 300, 3400, 24)[::2]  # 34 dB down where it would fold over
    x = distort.mu_law(torch.from_numpy(x / max(np.abs(x).max(), 1e-10))[None])[0].numpy()
    return recorded(x, RATE // 2)


def level(decibels: float) -> Make:
    """Louder or quieter, cut off at full scale; louder starts from a recording that just reaches it."""

    def make(clips: list[Clip], i: int, rng: Generator):
        x = padded(clips[i].speech) * 10 ** (decibels / 20)
        return recorded(np.clip(x / np.abs(clips[i].speech).max() if decibels > 0 else x, -1, 1))

    return make


def piece(seconds: float) -> Make:
    """So much from the middle."""

    def make(clips: list[Clip], i: int, rng: Generator):
        speech, samples = clips[i].speech, round(seconds * RATE)
        start = max(0, len(speech) - samples) // 2
        return recorded(padded(speech[start : start + samples]))

    return make


def partner(clips: list[Clip], i: int) -> Clip:
    return clips[(i + 1) % len(clips)]


def after(clips: list[Clip], i: int, rng: Generator):
    """Half of one clip, then half of the next person's."""
    one, two = (clip.speech[: len(clip.speech) // 2] for clip in (clips[i], partner(clips, i)))
    return recorded(np.concatenate([padded(one), padded(two)]))


def at_once(clips: list[Clip], i: int, rng: Generator):
    """Two people equally loud, for as long as the first speaks."""
    one, two = clips[i].speech, partner(clips, i).speech
    return recorded(mixed(one, padded(np.resize(two, len(one))) * np.sqrt(1 + 2 * PAUSE / len(one)), 0.0))


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
    AFTER: after,
    AT_ONCE: at_once,
}
GROUPS = ("children under 13", "adults of the same data", "singing")


def people(store, count: int, longest: float, shortest: float = 3.0, each: bool = False, seed: int = 0):
    """Clips of a store's records, at most `count`: the first long enough of each person, people in an order that
    the seed decides; with `each` all of them, a person after the other. At most `longest` seconds of a clip."""
    from voice2face_gan.data.speech import SpeechBank

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


def hear(model, recordings: list) -> list:
    """What was heard in each, None where it was refused.

    Raises:
        VoiceToFaceError: something else than too little speech is the matter.
    """
    from voice2face_gan.errors import NoSpeechError

    heard = list(model.listen_all(recordings))
    for one in heard:
        if isinstance(one, VoiceToFaceError) and not isinstance(one, NoSpeechError):
            raise one
    return [None if isinstance(one, VoiceToFaceError) else one for one in heard]


def pixels(heard: list) -> torch.Tensor:
    """uint8 (faces, side, side, 3) of those that were not refused."""
    return torch.from_numpy(np.stack([np.asarray(one.faces[0]) for one in heard if one]))


def percent(values) -> float | None:
    values = list(values)
    return 100 * float(np.mean(values)) if values else None


def warned(one, phrases: tuple[str, ...]) -> bool:
    return any(phrase in one.warning for phrase in phrases)


def judged(heard: list, clips: list[Clip], clean: list | None, judge) -> dict:
    """A row of the table: number by column, None where there is nothing to count."""
    row: dict = {"clips": len(heard), "refused": percent(one is None for one in heard)}
    pairs = [(one, clip) for one, clip in zip(heard, clips, strict=True) if one]
    for column, phrases in (("no speech", NOT_SPEECH), ("child", CHILDISH), ("short", SHORT)):
        row[column] = percent(warned(one, phrases) for one, _ in pairs)
    female = [(one.female > 0.5, clip.gender) for one, clip in pairs if one.female is not None]
    row["right sex"] = percent(said == (gender == "female") for said, gender in female if gender)
    if clean:
        both = [(one, two) for one, two in zip(heard, clean, strict=True) if one and two]
        told = [(a.female > 0.5, b.female > 0.5) for a, b in both if a.female is not None]
        row["same sex"] = percent(a == b for a, b in told)
        moved = [
            np.abs(np.asarray(a.faces[0], float) - np.asarray(b.faces[0], float)).mean() for a, b in both
        ]
        row["moved"] = float(np.mean(moved)) if moved else None
    if pairs:
        from voice2face_gan.evaluation.judges import hog

        faces = pixels(heard)
        age = judge.read(faces).age
        row["age"], row["under 16"] = float(age.mean()), percent(age < TEEN)
        try:
            row["HOG"] = percent(hog.find(faces)[1])
        except MetricError:
            row["HOG"] = None
    return row


def sounds(model, each: int, seed: int) -> dict[str, list]:
    """What is heard in new draws of each kind of sound, 4 s long; training/alarms.py draws from other seeds."""
    return {
        kind: hear(model, [(make_sound(kind, 4.0, [seed, 7919, number, k]), RATE) for k in range(each)])
        for number, kind in enumerate(SOUNDS)
    }


def sound_row(kinds: dict[str, list]) -> dict:
    """Of some kinds of sounds: how many pass without a warning that it is no speech, and of which most do."""
    passed = {k: [bool(one) and not warned(one, NOT_SPEECH) for one in heard] for k, heard in kinds.items()}
    every = [one for heard in kinds.values() for one in heard]
    worst = max(passed, key=lambda kind: np.mean(passed[kind]))
    return {
        "sounds": len(every),
        "refused": percent(one is None for one in every),
        "warned": percent(bool(one) and warned(one, NOT_SPEECH) for one in every),
        "unwarned": percent(value for values in passed.values() for value in values),
        "worst": f"{worst} {percent(passed[worst]):.0f}",
    }


def separation(speech: list, kinds: dict[str, list]) -> dict:
    """AUC of Heard.speech, P(speech > sound) with ties half, of what is not refused: all, and by kind."""
    from voice2face_gan.evaluation.noise import placements

    high = np.array([one.speech for one in speech if one and one.speech is not None])
    low = {
        k: np.array([one.speech for one in heard if one and one.speech is not None])
        for k, heard in kinds.items()
    }
    low = {kind: values for kind, values in low.items() if len(values)}
    if not len(high) or not low:
        return {}
    every = np.concatenate(list(low.values()))
    by_kind = {kind: float(placements(high, values).mean()) for kind, values in low.items()}
    return {
        "AUC": float(placements(high, every).mean()),
        "speech": len(high),
        "sounds": len(every),
        "by kind": by_kind,
    }


def measure(store, model, judge, options) -> dict:
    """Everything: "rows", "sounds", "separation", "between people" (the yardstick of `moved`) and "pairs"."""
    heard_by_name: dict[str, list] = {}
    rows: dict[str, dict] = {}
    adults = store.select(np.isnan(store.age) | (store.age >= ADULT))
    clips = people(adults, options.clips, options.seconds, seed=options.seed)
    if len(clips) < 2:
        raise DataError(
            "fewer than two adult test people have 3 s of kept speech; prepare with --keep-speech."
        )
    for number, (name, make) in enumerate(RECORDINGS.items()):
        print(name, file=sys.stderr, flush=True)
        made = [make(clips, i, np.random.default_rng([options.seed, number, i])) for i in range(len(clips))]
        heard_by_name[name] = hear(model, made)
        rows[name] = judged(heard_by_name[name], clips, heard_by_name[CLEAN], judge)
    for name in GROUPS:
        mine = group_clips(store, name, options.clips, options.seconds, options.seed)
        heard = hear(model, [recorded(padded(clip.speech)) for clip in mine])
        rows[name] = judged(heard, mine, None, judge)
    faces = pixels(heard_by_name[CLEAN]).float().flatten(1)
    kinds = sounds(model, options.sounds, options.seed)
    spoken = [one for heard in heard_by_name.values() for one in heard]
    families = {name: [make.__name__ for make in family] for name, family in FAMILIES.items()}
    families |= {"mixture": ["mixture"], "all": list(SOUNDS)}
    return {
        "between people": float(torch.pdist(faces, p=1).mean() / faces.shape[1]),
        "rows": rows,
        "pairs": {name: by_pair(heard_by_name[name], clips) for name in (AFTER, AT_ONCE)},
        "sounds": {name: sound_row({k: kinds[k] for k in names}) for name, names in families.items()},
        "separation": separation(spoken, kinds),
    }


def by_pair(heard: list, clips: list[Clip]) -> dict:
    """Right sex of the first of two speakers, where both are of one sex and where they are not."""
    found: dict[str, list] = {"same": [], "other": []}
    for i, one in enumerate(heard):
        a, b = clips[i].gender, partner(clips, i).gender
        if one and one.female is not None and a and b:
            found["same" if a == b else "other"].append((one.female > 0.5) == (a == "female"))
    return {kind: percent(values) for kind, values in found.items()}


PERCENTS = ("refused", "no speech", "child", "short", "right sex", "same sex")


def tables(result: dict) -> str:
    """Markdown of what `measure` gives; a dash where there is nothing to count."""
    between = f"moved (people differ by {result['between people']:.1f})"
    lines = [line("recording", "clips", *(f"{c} %" for c in PERCENTS), between, "HOG %", "age", "under 16 %")]
    lines.append("|---" * 12 + "|")
    for name, row in result["rows"].items():
        title = f"singing ({NO_SONG})" if name == "singing" and not row["clips"] else name
        cells = [cell(row.get(column)) for column in (*PERCENTS, "moved", "HOG", "age", "under 16")]
        lines.append(line(title, row["clips"], *cells))
    lines += ["", line("sounds", "number", "refused %", "warned %", "unwarned %", "most often unwarned, %")]
    lines.append("|---" * 6 + "|")
    for name, row in result["sounds"].items():
        cells = [cell(row[column]) for column in ("refused", "warned", "unwarned")]
        lines.append(line(name, row["sounds"], *cells, row["worst"]))
    if told := result["separation"]:
        kind, least = min(told["by kind"].items(), key=lambda pair: pair[1])
        lines.append(
            f"\nAUC of `Heard.speech`, {told['speech']} recordings of speech (all rows above the children) against "
            f"{told['sounds']} sounds that were not refused: {told['AUC']:.4f}; least of a kind: {least:.4f} ({kind})."
        )
    for name, pair in result["pairs"].items():
        told = ", ".join(f"{cell(value)} % where the second is of {kind} sex" for kind, value in pair.items())
        lines.append(f"\n{name}: sex of the first right for {told.replace('of same', 'of the same')}.")
    return "\n".join(lines)


def line(*cells) -> str:
    return "| " + " | ".join(str(c) for c in cells) + " |"


def cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="stores that keep speech")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--clips", type=int, default=100, help="people at most, and clips of children")
    parser.add_argument("--seconds", type=float, default=6.0, help="of speech of a clip at most")
    parser.add_argument("--sounds", type=int, default=12, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    options = parser.parse_args(arguments)

    from voice2face_gan.data.sources import open_source
    from voice2face_gan.evaluation.judges import open_judge
    from voice2face_gan.pipeline import VoiceToFace

    try:
        store = open_source(options.data, keep_speech=True).of_split("test")
        result = measure(store, VoiceToFace.from_pretrained(options.checkpoint), open_judge("trunk"), options)
    except VoiceToFaceError as error:
        parser.error(str(error))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(tables(result))


if __name__ == "__main__":
    main()
