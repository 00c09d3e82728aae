"""One evaluation as data: what `evaluate` prints and keeps in a run's evaluation.jsonl, and how it is read.

A line of evaluation.jsonl is one record:

    checkpoint, data, split, gender, identities, clips, faces, trained_on    what was judged
    weights, records     hashes of the checkpoint's weights and of the data, by which it is recognised
    options              what the metrics were given
    judge                {name, what it was trained on, its figures on people it never saw}
    metrics              {metric: {figure: {value, low, high, n, counted, chance, unit, protocol}}}
    skipped              {metric: why it could not be computed}
    notes                what the metrics say besides: sentences

Lines of earlier versions lack some of these; they are read, but only lines whose hashes agree are used again.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from voice2face_gan.data.store import LABELS, PLACES, Store
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import Case
from voice2face_gan.evaluation.registry import Figure, Options, compute
from voice2face_gan.models import inception_weights
from voice2face_gan.models.checkpoint import WEIGHTS

FILE = "evaluation.jsonl"
_DIGITS = 16  # of SHA-256, in hexadecimal
_SAME = ("weights", "records", "split", "gender", "options")  # what makes a kept record this one

Results = dict[str, dict[str, Figure]]  # metric -> figure's name -> figure


def compute_all(
    case: Case, metrics: Iterable[str], options: Options | None = None
) -> tuple[Results, dict[str, str]]:
    """Every metric that can be computed, and why the others cannot: (results, skipped)."""
    results, skipped = {}, {}
    for name in metrics:
        try:
            results[name] = compute(name, case, options)
        except MetricError as error:
            skipped[name] = str(error)
    return results, skipped


def build_record(
    case: Case, results: Results, skipped: dict[str, str] | None = None, options: Options | None = None
) -> dict:
    """A record, ready for JSON."""
    return {
        **case.about,
        **identity_of(case, options),
        "judge": {**case.judge.about, "name": case.judge.name},
        "metrics": {n: {k: f.to_dict() for k, f in figures.items()} for n, figures in results.items()},
        "skipped": skipped or {},
        "notes": [] if options is None else list(options.notes),
    }


def identity_of(case: Case, options: Options | None = None) -> dict:
    """weights, records and options of a record: what tells whether a kept one is of the same."""
    folder = None if case.model is None else case.model.checkpoint.folder
    given = asdict(options or Options())
    given.pop("notes")
    given.pop("no_inception")
    given["inception"] = inception_weights.is_here(given.pop("inception_weights"))
    return {
        "weights": None if folder is None else weights_hash(folder),
        "records": None if case.store is None else store_hash(case.store),
        "options": json.loads(json.dumps(given)),  # as it comes back: lists, no tuples
    }


def weights_hash(folder: Path) -> str | None:
    """Of a checkpoint's weights file; None where there is none."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def store_hash(store: Store) -> str:
    """Of a store's records, settings and place of every voice and face: the same on every machine."""
    digest = hashlib.sha256()
    about = {k: v for k, v in store.about.items() if k != "source"}
    digest.update(json.dumps([about, _fingerprints(store.about["source"])], sort_keys=True).encode())
    for name in (*LABELS, *PLACES):
        column = getattr(store, name)
        digest.update("\n".join(column.tolist()).encode() if column.dtype.kind == "U" else column.tobytes())
    return digest.hexdigest()[:_DIGITS]


def _fingerprints(source: dict) -> list:
    """What a store says of the files it was made from, without their paths."""
    parts = source.get("stores", [source])
    return [[part.get(k) for k in ("layout", "fingerprint", "seed", "speakers", "clips")] for part in parts]


def run_of(checkpoint: Path | None) -> Path | None:
    """The run folder that a checkpoint folder (RUN/checkpoints/NAME or RUN/embedder) lies in, or None."""
    if checkpoint is None:
        return None
    folder = Path(checkpoint).resolve()
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder.parent
    return run if (run / "run.json").is_file() else None


def append_record(run: Path, record: dict) -> None:
    """One line more in a run's evaluation.jsonl.

    Raises:
        OSError: it cannot be written.
    """
    line = (json.dumps(record) + "\n").encode()
    file = os.open(run / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        written = os.write(file, line)  # one call: lines of processes that write at once are not mixed
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run / FILE))
    finally:
        os.close(file)


def read_records(run: Path | None) -> list[dict]:
    """The records of a run, oldest first; lines that are none (cut off, foreign) are passed over."""
    return [line for line in read_lines(run, FILE) if isinstance(line.get("metrics"), dict)]


def read_lines(run: Path | None, name: str) -> list[dict]:
    """The JSON objects in a file of lines below a run folder; [] where there is none."""
    try:
        text = (run / name).read_text(encoding="utf-8", errors="replace") if run is not None else ""
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [line for line in found if isinstance(line, dict)]


def kept_figures(records: list[dict], wanted: dict, metrics: Iterable[str]) -> tuple[Results, list[str]]:
    """The newest figures of each metric in the records of one case, and the notes of those records.

    Args:
        records: of the run.
        wanted: weights, records, split, gender, options, and judge {name} that a record must have.
        metrics: which are looked for.
    """
    results: Results = {}
    said: dict[str, list] = {}
    for record in records:
        judge = record.get("judge")
        same_judge = isinstance(judge, dict) and judge.get("name") == wanted["judge"]["name"]
        if same_judge and all(k in record and record[k] == wanted[k] for k in _SAME):
            found = {name: figures for name, figures in results_of(record).items() if name in metrics}
            results |= found
            notes = record.get("notes")
            said |= dict.fromkeys(found, notes if isinstance(notes, list) else [])
    return results, list(dict.fromkeys(str(note) for notes in said.values() for note in notes))


def results_of(record: dict) -> Results:
    """The figures of a record; what is no figure is passed over."""
    results: Results = {}
    for name, figures in record["metrics"].items():
        entries = figures.items() if isinstance(figures, dict) else ()
        read = {str(k): figure for k, entry in entries if (figure := _figure(entry)) is not None}
        if read:
            results[name] = read
    return results


def _figure(entry) -> Figure | None:
    known = {f.name for f in fields(Figure)}
    try:
        given = {k: v for k, v in entry.items() if k in known}
        value = float("nan") if given["value"] is None else float(given["value"])
        figure = Figure(**{**given, "value": value, "n": int(given["n"])})
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    texts = (figure.counted, figure.protocol, figure.unit)
    numbers = (figure.low, figure.high, figure.chance)
    fine = all(isinstance(t, str) for t in texts) and all(x is None or _is_number(x) for x in numbers)
    return figure if fine else None


def _is_number(x) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)
