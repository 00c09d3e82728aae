"""Robustness of the pipeline to recordings of common kinds.

    python experiments/robustness.py --data avspeech.store,voxceleb.store,voices.store --checkpoint default

One clip each of adult test speakers, drawn by the seed, is made into each of RECORDINGS and goes through the
whole pipeline (decoding, speech detection, log-mel, encoder, generator). Children's clips, songs where the
data have any, and synthesised sounds that are no speech do the same, and recorded ones from --real. --out
keeps all figures as JSON.

Columns of the first table: refused for too little speech; warned of no speech, of a child, of several
speakers, of less than 2 s; right sex, of those with a gender label; the same sex as the clean clip; distance
of pixels (0 to 255) from the clean clip's face, mean absolute difference; images in which dlib's HOG finds a
face; the age that the shipped face classifier reads in them, and the share below 16 years.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from recordings import (
    ADULT,
    AFTER,
    AT_ONCE,
    CLEAN,
    GROUPS,
    RATE,
    RECORDINGS,
    Clip,
    group_clips,
    padded,
    partner,
    people,
    recorded,
)

from voice2face_gan.errors import DataError, MetricError, VoiceToFaceError
from voice2face_gan.synthetic.sounds import FAMILIES, SOUNDS, make_sound

TEEN = 16  # years; a face that looks younger is a child's
NOT_SPEECH, CHILDISH, SHORT = ("not sound like speech", "steady noise"), ("child",), ("s of speech;",)
SEVERAL = ("more than one person",)
NO_SONG = "the data have no recording of singing"


def encode(model, recordings: list) -> list:
    """The generation of each recording, None where it was refused.

    Raises:
        VoiceToFaceError: an error other than too little speech.
    """
    from voice2face_gan.errors import NoSpeechError

    results = list(model.generate_many(recordings))
    for result in results:
        if isinstance(result, VoiceToFaceError) and not isinstance(result, NoSpeechError):
            raise result
    return [None if isinstance(result, VoiceToFaceError) else result for result in results]


def pixels(results: list) -> torch.Tensor:
    """uint8 (faces, side, side, 3) of those that were not refused."""
    return torch.from_numpy(np.stack([np.asarray(result.faces[0]) for result in results if result]))


def percent(values) -> float | None:
    values = list(values)
    return 100 * float(np.mean(values)) if values else None


def warned(result, phrases: tuple[str, ...]) -> bool:
    return any(phrase in result.warning for phrase in phrases)


def judged(results: list, clips: list[Clip], clean: list | None, reader, zoom: float = 1.0) -> dict:
    """A row of the table: number by column, None where there is nothing to count. `zoom` is the model's."""
    row: dict = {"clips": len(results), "refused": percent(result is None for result in results)}
    pairs = [(result, clip) for result, clip in zip(results, clips, strict=True) if result]
    columns = (("no speech", NOT_SPEECH), ("child", CHILDISH), ("several", SEVERAL), ("short", SHORT))
    for column, phrases in columns:
        row[column] = percent(warned(result, phrases) for result, _ in pairs)
    female = [(result.female > 0.5, clip.gender) for result, clip in pairs if result.female is not None]
    row["right sex"] = percent(is_female == (gender == "female") for is_female, gender in female if gender)
    if clean:
        both = [(result, two) for result, two in zip(results, clean, strict=True) if result and two]
        sides = [(a.female > 0.5, b.female > 0.5) for a, b in both if a.female is not None]
        row["same sex"] = percent(a == b for a, b in sides)
        moved = [
            np.abs(np.asarray(a.faces[0], float) - np.asarray(b.faces[0], float)).mean() for a, b in both
        ]
        row["moved"] = float(np.mean(moved)) if moved else None
    if pairs:
        from voice2face_gan.evaluation.readers import hog
        from voice2face_gan.faces.reframe import reframed

        faces = pixels(results)
        age = reader.read(reframed(faces, zoom)).age
        row["age"], row["under 16"] = float(age.mean()), percent(age < TEEN)
        try:
            row["HOG"] = percent(hog.find(faces)[1])
        except MetricError:
            row["HOG"] = None
    return row


def sounds(model, each: int, seed: int) -> dict[str, list]:
    """Generations from new draws of each kind of sound, 4 s long; other draws than those of
    training/probes/input_quality.py."""
    return {
        kind: encode(model, [(make_sound(kind, 4.0, [seed, 7919, number, k]), RATE) for k in range(each)])
        for number, kind in enumerate(SOUNDS)
    }


def real_sounds(model, folder: Path) -> dict[str, list]:
    """Generations from recorded sounds, by the name of their folder.

    Raises:
        DataError: there is no such folder, or no file in any of its folders.
        VoiceToFaceError: a file is no recording.
    """
    kinds = {}
    for kind in sorted(folder.iterdir()) if folder.is_dir() else []:
        files = sorted(kind.iterdir()) if kind.is_dir() else []
        if files:
            kinds[kind.name] = encode(model, files)
    if not kinds:
        raise DataError(f"{folder}: no sounds; put the files of each kind into a folder of its own there.")
    return kinds


def sound_row(kinds: dict[str, list]) -> dict:
    """A row of the table for kinds of sounds: shares without a warning, and the kind with the largest."""
    passed = {
        k: [bool(result) and not warned(result, NOT_SPEECH) for result in results]
        for k, results in kinds.items()
    }
    every = [result for results in kinds.values() for result in results]
    worst = max(passed, key=lambda kind: np.mean(passed[kind]))
    return {
        "sounds": len(every),
        "refused": percent(result is None for result in every),
        "warned": percent(bool(result) and warned(result, NOT_SPEECH) for result in every),
        "unwarned": percent(value for values in passed.values() for value in values),
        "worst": f"{worst} {percent(passed[worst]):.0f}",
    }


def separation(speech: list, kinds: dict[str, list]) -> dict:
    """AUC of Generation.speech, P(speech > sound) with ties half, of what is not refused: all, by kind."""
    from voice2face_gan.evaluation.metrics.noise import placements

    low = {kind: scores(results) for kind, results in kinds.items()}
    high, low = scores(speech), {kind: values for kind, values in low.items() if len(values)}
    if not len(high) or not low:
        return {}
    every = np.concatenate(list(low.values()))
    return {
        "AUC": float(placements(high, every).mean()),
        "by kind": {kind: float(placements(high, values).mean()) for kind, values in low.items()},
        "speech": len(high),
        "sounds": len(every),
    }


def scores(results: list) -> np.ndarray:
    return np.array([result.speech for result in results if result and result.speech is not None])


def measure(store, model, reader, options) -> dict:
    """Everything: "rows", "sounds", "separation", "between people" (the yardstick of `moved`), "pairs"; of
    recorded sounds, where there are any, "real" and "real separation"."""
    real = real_sounds(model, options.real) if options.real else {}  # first: a wrong folder is said at once
    heard_by_name: dict[str, list] = {}
    rows: dict[str, dict] = {}
    adults = store.select(np.isnan(store.age) | (store.age >= ADULT))
    clips = people(adults, options.clips, options.seconds, seed=options.seed)
    if len(clips) < 2:
        raise DataError(
            "fewer than two adult test people have 3 s of kept speech; see prepare --keep-speech."
        )
    for number, (name, make) in enumerate(RECORDINGS.items()):
        print(name, file=sys.stderr, flush=True)
        made = [make(clips, i, np.random.default_rng([options.seed, number, i])) for i in range(len(clips))]
        heard_by_name[name] = encode(model, made)
        rows[name] = judged(heard_by_name[name], clips, heard_by_name[CLEAN], reader, model.zoom)
    for name in GROUPS:
        group = group_clips(store, name, options.clips, options.seconds, options.seed)
        results = encode(model, [recorded(padded(clip.speech)) for clip in group])
        rows[name] = judged(results, group, None, reader, model.zoom)
    faces = pixels(heard_by_name[CLEAN]).float().flatten(1)
    kinds = sounds(model, options.sounds, options.seed)
    speech = [result for results in heard_by_name.values() for result in results]
    families = {name: [make.__name__ for make in family] for name, family in FAMILIES.items()}
    families |= {"mixture": ["mixture"], "all": list(SOUNDS)}
    return {
        "between people": float(torch.pdist(faces, p=1).mean() / faces.shape[1]),
        "rows": rows,
        "pairs": {name: by_pair(heard_by_name[name], clips) for name in (AFTER, AT_ONCE)},
        "sounds": {name: sound_row({k: kinds[k] for k in names}) for name, names in families.items()},
        "separation": separation(speech, kinds),
        "real": {name: sound_row({name: results}) for name, results in real.items()},
        "real separation": separation(speech, real),
    }


def by_pair(results: list, clips: list[Clip]) -> dict:
    """Right sex of the first of two speakers, where both are of one sex and where they are not."""
    found: dict[str, list] = {"same": [], "other": []}
    for i, result in enumerate(results):
        a, b = clips[i].gender, partner(clips, i).gender
        if result and result.female is not None and a and b:
            found["same" if a == b else "other"].append((result.female > 0.5) == (a == "female"))
    return {kind: percent(values) for kind, values in found.items()}


PERCENTS = ("refused", "no speech", "child", "several", "short", "right sex", "same sex")


def tables(result: dict) -> str:
    """Markdown of what `measure` gives; a dash where there is nothing to count."""
    between = f"moved (people differ by {result['between people']:.1f})"
    lines = [line("recording", "clips", *(f"{c} %" for c in PERCENTS), between, "HOG %", "age", "under 16 %")]
    lines.append("|---" * (6 + len(PERCENTS)) + "|")
    for name, row in result["rows"].items():
        title = f"singing ({NO_SONG})" if name == "singing" and not row["clips"] else name
        cells = [cell(row.get(column)) for column in (*PERCENTS, "moved", "HOG", "age", "under 16")]
        lines.append(line(title, row["clips"], *cells))
    lines += ["", line("sounds", "number", "refused %", "warned %", "unwarned %", "most often unwarned, %")]
    lines.append("|---" * 6 + "|")
    recorded_ones = {f"recorded: {name}": row for name, row in result["real"].items()}
    for name, row in (result["sounds"] | recorded_ones).items():
        cells = [cell(row[column]) for column in ("refused", "warned", "unwarned")]
        lines.append(line(name, row["sounds"], *cells, row["worst"]))
    for title, sides in (("", result["separation"]), ("recorded ", result["real separation"])):
        if not sides:
            continue
        kind, least = min(sides["by kind"].items(), key=lambda pair: pair[1])
        lines.append(
            f"\nAUC of `Generation.speech`, {sides['speech']} recordings of speech (all rows above "
            f"the children's) against {sides['sounds']} {title}sounds, of what was not "
            f"refused: {sides['AUC']:.4f}; "
            f"the lowest of a kind: {least:.4f} ({kind})."
        )
    for name, pair in result["pairs"].items():
        same, other = (cell(pair[kind]) for kind in ("same", "other"))
        lines.append(
            f"\n{name}: sex of the first right for {same} % of pairs of one sex, {other} % of others."
        )
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
    parser.add_argument("--real", type=Path, help="recorded sounds that are no speech, a folder of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    options = parser.parse_args(arguments)

    from voice2face_gan.data.open import open_source
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.pipeline import VoiceToFace

    try:
        store = open_source(options.data, keep_speech=True).of_split("test")
        result = measure(
            store, VoiceToFace.from_pretrained(options.checkpoint), open_reader("trunk"), options
        )
    except VoiceToFaceError as error:
        parser.error(str(error))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(tables(result))


if __name__ == "__main__":
    main()
