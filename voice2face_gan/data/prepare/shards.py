"""Preparation cut into shards: some records each, prepared by any process in any order, kept on disk.

    .STORE.preparing/            beside the store, so that the last rename is atomic
        lock                     held while a process works here
        records.jsonl            one record a line, in the layout's order
        plan.json                fingerprint, settings, where each shard begins in records.jsonl
        shards/00000.npz ...     what became of a shard's records; whole or not there
        crashed.json             records that bring the process down: number -> sentence
        now/PID                  the record that a process is at

A shard depends on its records and the settings alone. So what a killed run has left is what another run
would have made, and the store put together from it is the same to the byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from voice2face_gan.data.layouts.base import RawRecord
from voice2face_gan.data.parquet_cells import file_of, media_name
from voice2face_gan.data.prepare.settings import PrepareSettings
from voice2face_gan.errors import DataError, VoiceToFaceError
from voice2face_gan.files import lock, write_bytes

FORMAT = 3  # since it is kept what each face shows of its image (Item.visible_box)
"""Changes whenever the same files and settings would give another store."""

# Records in a shard: few in a small set, so that all processes have some, and never so many that a process
# holds more than 50 MB of log-mels (32 voices of two minutes).
# The speech itself is three times as large.
_MIN_RECORDS, _MAX_RECORDS, _MIN_SHARDS = 8, 32, 64
_PATHS = ("voice", "face")

Done = Callable[[dict], None]
"""Called with the report of `prepare_shard`, when the shard is on disk."""


@dataclass(frozen=True)
class Plan:
    """The work of a preparation.

    Attributes:
        work: the working folder.
        fingerprint: hash of records, sizes of their files, settings and FORMAT.
        count: records in all.
        size: records in a shard.
        starts: byte in records.jsonl at which each shard begins, and the end.
        settings: of the preparation.
        face_state: of the layout's images.
    """

    work: Path
    fingerprint: str
    count: int
    size: int
    starts: tuple[int, ...]
    settings: PrepareSettings
    face_state: str

    @property
    def shards(self) -> int:
        return len(self.starts) - 1

    def path(self, shard: int) -> Path:
        return self.work / "shards" / f"{shard:06d}.npz"

    def todo(self) -> list[int]:
        """Shards that are not on disk."""
        return [shard for shard in range(self.shards) if not self.path(shard).exists()]

    def lines(self, shard: int) -> list[str]:
        with (self.work / "records.jsonl").open("rb") as file:
            file.seek(self.starts[shard])
            return file.read(self.starts[shard + 1] - self.starts[shard]).decode().splitlines()

    def records(self) -> Iterator[RawRecord]:
        """All records, in order."""
        with (self.work / "records.jsonl").open(encoding="utf-8") as file:
            yield from (RawRecord(**json.loads(line)) for line in file)

    def crashed(self, shard: int) -> dict[int, str]:
        """Records of a shard that must not be touched: place in the shard -> sentence."""
        path = self.work / "crashed.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        first = shard * self.size
        return {int(n) - first: s for n, s in known.items() if first <= int(n) < first + self.size}

    def note_crash(self, number: int, sentence: str) -> None:
        path = self.work / "crashed.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_bytes(path, json.dumps(known | {number: sentence}).encode())


def make_plan(
    work: Path,
    records: Iterable[RawRecord],
    settings: PrepareSettings,
    face_state: str,
    more: dict,
    limit: int | None = None,
) -> Plan:
    """List the records in the working folder. Memory does not grow with their number.

    Args:
        work: the working folder, made if needed.
        records: of the layout.
        settings, face_state: see `items.prepare_item`.
        more: whatever else the records depend on; for the fingerprint.
        limit: take only so many records.
    Returns:
        The plan, not yet written: `start` does that.
    Raises:
        DataError: there are no records.
    """
    (work / "shards").mkdir(parents=True, exist_ok=True)
    frame = {"format": FORMAT, "settings": settings.fingerprinted(), "face_state": face_state, **more}
    digest = hashlib.sha256(json.dumps(frame, sort_keys=True).encode())
    places, place = [], 0
    with (work / "records.jsonl.new").open("wb") as file:
        for record in islice(records, limit):
            row = asdict(record)
            places.append(place)
            place += file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            # A set that is moved stays the same set; a file that is replaced does not.
            sizes = {name: _size(row[name]) for name in _PATHS if row[name]}
            digest.update(json.dumps({**row, **dict.fromkeys(_PATHS), **sizes}).encode() + b"\n")
    if not places:
        raise DataError("no records were found there; check the folder and the layout.")
    most = _MIN_RECORDS if settings.voice.keep_speech else _MAX_RECORDS
    size = min(max(len(places) // _MIN_SHARDS, _MIN_RECORDS), most)
    starts = (*places[::size], place)
    return Plan(work, digest.hexdigest()[:16], len(places), size, starts, settings, face_state)


def start(plan: Plan, force: bool = False) -> bool:
    """Write the plan, unless an interrupted run has left it.

    Args:
        plan: what `make_plan` gave.
        force: drop what an interrupted run with other records or settings has left.
    Returns:
        Whether there is an earlier run to go on with.
    Raises:
        DataError: the folder holds an interrupted run with other records or settings.
    """
    path, new = plan.work / "plan.json", plan.work / "records.jsonl.new"
    if path.exists() and any((plan.work / "shards").iterdir()):
        if json.loads(path.read_text(encoding="utf-8"))["fingerprint"] == plan.fingerprint:
            os.replace(new, plan.work / "records.jsonl")  # the files may lie elsewhere now
            return True
        if not force:
            new.unlink()
            raise DataError(
                f"{plan.work} holds an interrupted run with other records or settings; give those again to "
                "go on with it, or --force to drop it."
            )
        path.unlink()  # first: shards without a plan are nobody's
    (plan.work / "crashed.json").unlink(missing_ok=True)
    for old in (plan.work / "shards").iterdir():
        old.unlink()
    os.replace(new, plan.work / "records.jsonl")
    write_bytes(path, json.dumps({"fingerprint": plan.fingerprint, "records": plan.count}).encode())
    return False


def drop_work(plan: Plan) -> None:
    """Remove what runs of this plan have left; what belongs to another stays."""
    path = plan.work / "plan.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8"))["fingerprint"] == plan.fingerprint:
        shutil.rmtree(plan.work / "shards")


def prepare_shard(
    lines: list[str],
    settings: PrepareSettings,
    face_state: str,
    skip: dict[int, str],
    at: Callable[[int], None] | None = None,
) -> tuple[bytes, dict]:
    """Prepare some records.

    Args:
        lines: their JSON.
        settings, face_state: see `items.prepare_item`.
        skip: place -> sentence of records that must not be touched.
        at: called with the place of each record before it is prepared.
    Returns:
        The shard as an .npz file: voices float16 (rows, mel bins), those of `Item.log_mel`, end to end, faces
        uint8 (n, side, side, 3), inside int16 (n, 4) (`Item.visible_box`), rows uint8 of JSON, an object a
        record with `frames` (how many rows of voices, or null), `faces` and `dropped`, and `noted` if
        anything was (`Item.noted`); where speech is kept also
        speech int16 (samples,), end to end, and `samples` (or null) a record.
        And a report, a dict: records, audio_seconds, processor_seconds, and seconds by step.
    """
    import torch

    from voice2face_gan.data.prepare.record import Clock, Item, prepare_item

    torch.set_num_threads(1)  # the parallelism is in the processes
    clock, began = Clock(), time.process_time()
    side, bins = settings.faces.side, settings.features.n_mels
    voices, faces, rows = [np.empty((0, bins), np.float16)], [np.empty((0, side, side, 3), np.uint8)], []
    speech, boxes = [np.empty(0, np.int16)], []
    for place, line in enumerate(lines):
        record = RawRecord(**json.loads(line))
        parts = [(part, path) for part in _PATHS if (path := getattr(record, part))]
        if at is not None:
            at(place)
        if place in skip:
            item = Item(dropped=[(part, path, "crashes the decoder", skip[place]) for part, path in parts])
        else:
            try:
                item = prepare_item(record, settings, face_state, clock)
            except VoiceToFaceError:
                raise
            except Exception as error:  # one file in a million must not end the run; it is listed
                sentence = f"{media_name(parts[0][1])}: {type(error).__name__}: {error}"
                item = Item(dropped=[(part, path, "unexpected error", sentence) for part, path in parts])
        if item.log_mel is not None:
            voices.append(item.log_mel)
        faces.extend(face[None] for face in item.faces)
        boxes.extend(item.visible_box)
        frames = None if item.log_mel is None else len(item.log_mel)
        rows.append({"frames": frames, "faces": len(item.faces), "dropped": item.dropped})
        if item.noted:
            rows[-1]["noted"] = item.noted
        if settings.voice.keep_speech:
            rows[-1]["samples"] = None if item.speech is None else len(item.speech)
            speech += [] if item.speech is None else [item.speech]
    with clock("write"):
        content = io.BytesIO()
        text = np.frombuffer(json.dumps(rows).encode(), np.uint8)
        arrays = {"voices": np.concatenate(voices), "faces": np.concatenate(faces), "rows": text}
        arrays["inside"] = np.array(boxes, np.int16).reshape(-1, 4)
        if settings.voice.keep_speech:
            arrays["speech"] = np.concatenate(speech)
        del voices, faces, speech
        np.savez(content, **arrays)
        del arrays
    about = {
        "records": len(lines),
        "audio_seconds": clock.audio_seconds,
        "processor_seconds": time.process_time() - began,
        "seconds": dict(clock.seconds),
    }
    return content.getvalue(), about


def run_shard(plan: Plan, shard: int) -> dict:
    """Prepare a shard and put it on disk; a note names the record in work."""
    path = plan.work / "now" / str(os.getpid())
    with path.open("w") as note:

        def at(place: int) -> None:
            note.seek(0)
            note.write(f"{shard} {place} ")
            note.flush()

        content, about = prepare_shard(
            plan.lines(shard), plan.settings, plan.face_state, plan.crashed(shard), at
        )
    write_bytes(plan.path(shard), content)
    path.unlink()
    return about


def load_shard(plan: Plan, shard: int) -> tuple[list[dict], Callable[[str], np.ndarray]]:
    """The rows of a shard, and a function that reads its "voices", "faces", "inside" or "speech"."""
    with np.load(plan.path(shard), allow_pickle=False) as file:
        rows = json.loads(file["rows"].tobytes())

    def read(name: str) -> np.ndarray:
        with np.load(plan.path(shard), allow_pickle=False) as file:
            return file[name]

    return rows, read


@contextlib.contextmanager
def locked(work: Path) -> Iterator[None]:
    """One process at a time in a working folder; the system lets go of the lock however a process ends.

    Raises:
        DataError: another one is there.
    """
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as file:
        try:
            lock(file)
        except OSError as error:
            raise DataError(f"another process is at work in {work}; wait for it to end.") from error
        yield


def _size(path: str) -> int:
    try:
        return os.stat(file_of(path)).st_size
    except OSError:
        return -1
