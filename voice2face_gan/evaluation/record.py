"""One evaluation as data: printed by `evaluate`, appended to a run's evaluation.jsonl, and read again.

A line of evaluation.jsonl is one record:

    checkpoint, data, split, gender, identities, clips, faces, trained_on    the evaluation set
    weights, records     hashes of the checkpoint's weights and of the data
    options              options of the metrics
    judge                the face reader: {name, its training data, its figures on people it never saw}
    metrics              {metric: {figure: {value, low, high, n, counted, chance, unit, protocol}}}
    skipped              {metric: the reason why it could not be computed}
    notes                further sentences of the metrics

Lines of earlier versions lack some of these. They are read, but only lines whose hashes agree are used again.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from voice2face_gan.data.store import LABELS, PLACES, Store
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.registry import Options, compute
from voice2face_gan.models import inception_weights
from voice2face_gan.models.checkpoint import weights_hash
from voice2face_gan.results import FILE, Results, results_of

_HASH_DIGITS = 16  # of SHA-256, in hexadecimal
_IDENTIFYING_KEYS = ("weights", "records", "split", "gender", "options")  # equal in records of one subject


def compute_all(
    eval_set: EvalSet, metrics: Iterable[str], options: Options | None = None
) -> tuple[Results, dict[str, str]]:
    """(results of the metrics that can be computed, reasons why the others cannot)."""
    results, skipped = {}, {}
    for name in metrics:
        try:
            results[name] = compute(name, eval_set, options)
        except MetricError as error:
            skipped[name] = str(error)
    return results, skipped


def build_record(
    eval_set: EvalSet, results: Results, skipped: dict[str, str] | None = None, options: Options | None = None
) -> dict:
    """A record, ready for JSON."""
    return {
        **eval_set.about,
        **identity_of(eval_set, options),
        "judge": {**eval_set.reader.about, "name": eval_set.reader.name},
        "metrics": {n: {k: f.to_dict() for k, f in figures.items()} for n, figures in results.items()},
        "skipped": skipped or {},
        "notes": [] if options is None else list(options.notes),
    }


def identity_of(eval_set: EvalSet, options: Options | None = None) -> dict:
    """The keys weights, records and options of a record, which identify its subject."""
    folder = None if eval_set.model is None else eval_set.model.checkpoint.folder
    given = asdict(options or Options())
    given.pop("notes")
    given.pop("no_inception")
    given["inception"] = inception_weights.is_here(given.pop("inception_weights"))
    return {
        "weights": None if folder is None else weights_hash(folder),
        "records": None if eval_set.store is None else store_hash(eval_set.store),
        "options": json.loads(json.dumps(given)),  # as JSON gives it back: lists, no tuples
    }


def store_hash(store: Store) -> str:
    """Hash of a store's records, settings and place of every voice and face: the same on every machine."""
    digest = hashlib.sha256()
    about = {k: v for k, v in store.about.items() if k != "source"}
    digest.update(json.dumps([about, _fingerprints(store.about["source"])], sort_keys=True).encode())
    for name in (*LABELS, *PLACES):
        column = getattr(store, name)
        digest.update("\n".join(column.tolist()).encode() if column.dtype.kind == "U" else column.tobytes())
    return digest.hexdigest()[:_HASH_DIGITS]


def _fingerprints(source: dict) -> list:
    """Layout, fingerprint, seed and sizes of the sources that a store was made from, without their paths."""
    parts = source.get("stores", [source])
    return [[part.get(k) for k in ("layout", "fingerprint", "seed", "speakers", "clips")] for part in parts]


def append_record(run: Path, record: dict) -> None:
    """Append one line to a run's evaluation.jsonl.

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


def kept_figures(records: list[dict], wanted: dict, metrics: Iterable[str]) -> tuple[Results, list[str]]:
    """The newest figures of each metric among the records of one subject, and the notes of those records.

    Args:
        records: records of the run, oldest first.
        wanted: weights, records, split, gender, options, and judge {name} that a record must have.
        metrics: names of the metrics wanted.
    """
    results: Results = {}
    notes_by_metric: dict[str, list] = {}
    for record in records:
        reader = record.get("judge")
        same_judge = isinstance(reader, dict) and reader.get("name") == wanted["judge"]["name"]
        if same_judge and all(k in record and record[k] == wanted[k] for k in _IDENTIFYING_KEYS):
            found = {name: figures for name, figures in results_of(record).items() if name in metrics}
            results |= found
            notes = record.get("notes")
            notes_by_metric |= dict.fromkeys(found, notes if isinstance(notes, list) else [])
    return results, list(dict.fromkeys(str(note) for notes in notes_by_metric.values() for note in notes))
