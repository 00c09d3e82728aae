"""From shards on disk to a store: who is on which side, what goes in, what was dropped."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from voice2face_gan.data.layouts import RawRecord
from voice2face_gan.data.layouts.base import OFFICIAL, SEEDED
from voice2face_gan.data.prepare.shards import Plan, load_shard
from voice2face_gan.data.splits import RULES, read_split_list, shared_videos, split_identities, stratum
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import DataError
from voice2face_gan.faces.aligned_landmarks import SEARCH_SIDE, enlarged
from voice2face_gan.faces.landmarks import predictor

DROPPED = ("source", "identity", "part", "file", "reason", "what")
"""Columns of a store's dropped.csv."""

NOTED = ("source", "identity", "part", "file", "what")
"""Columns of a store's noted.csv, which names the files that were taken in part; not there if none was."""

AUTO, UNDECIDED = "auto", "none"
"""Split rules beside those of `splits`: the records' own sides, if all records have one, and seeded
elsewhere; every record without a side."""


def assign(records: Iterator[RawRecord], about: dict) -> tuple[dict[str, str], set[tuple[str, str]]]:
    """Decide on which side everybody is.

    Args:
        records: of those who are to be split.
        about: its keys split and seed.
    Returns:
        identity -> side, and (identity, video) whose clips are left out because the video is on two sides.
    Raises:
        DataError: a side would be empty, or somebody is on two.
    """
    genders: dict[str, str] = {}
    ages: dict[str, float] = {}
    ethnicities: dict[str, str] = {}
    given: dict[str, str] = {}
    videos: set[tuple[str, str]] = set()
    for record in records:
        genders[record.identity] = genders.get(record.identity) or record.gender
        if record.age is not None:
            ages.setdefault(record.identity, record.age)
        if record.ethnicity:
            ethnicities.setdefault(record.identity, record.ethnicity)
        if record.split and given.setdefault(record.identity, record.split) != record.split:
            raise DataError(f"'{record.identity}' is on two sides of the official split; correct the labels.")
        if record.group:
            videos.add((record.identity, record.group))
    rule = about["split"]
    if rule == AUTO:
        rule = OFFICIAL if len(given) == len(genders) else SEEDED
    if rule == UNDECIDED:
        return dict.fromkeys(genders, ""), set()
    if rule not in RULES:
        rule, given = OFFICIAL, read_split_list(Path(rule), genders)
    # Sorted: the order of a set differs from run to run.
    strata = {n: stratum(gender, ages.get(n), ethnicities.get(n, "")) for n, gender in genders.items()}
    split = split_identities(rule, genders, given, sorted(videos), seed=about["seed"], strata=strata)
    return split, shared_videos(split, sorted(videos))


def assemble(plan: Plan, folder: Path, about: dict) -> None:
    """Put the store together from the shards, in the order of the records.

    Raises:
        DataError: nothing could be prepared, or a side of the split is empty.
    """
    reasons: Counter[str] = Counter()
    split, left_out = assign(_survivors(plan, reasons), about)
    source = {**about, "settings": _without_features(plan), "records": plan.count}
    features, side = plan.settings.features.to_dict(), plan.settings.faces.side
    keep_speech = plan.settings.voice.keep_speech
    zoom, find = plan.settings.faces.zoom, predictor() if plan.settings.faces.landmarks else None
    kept = {"keep_speech": keep_speech, "keep_landmarks": find is not None, "zoom": zoom}
    with StoreWriter(folder, features, side, source, plan.work / "store", **kept) as writer:
        listed = io.StringIO()
        dropped = csv.writer(listed, lineterminator="\n")
        dropped.writerow(DROPPED)
        noted: list[tuple[str, ...]] = []
        for record, row, voice, faces, boxes, speech in _contents(plan):
            names = (record.source, record.identity)
            if (record.identity, record.group) in left_out:
                what = f"video {record.group} shows people of two sides of the split"
                for part in ("voice", "face"):
                    if getattr(record, part):
                        dropped.writerow((*names, part, getattr(record, part), "video on two sides", what))
                continue
            for part, path, reason, sentence in row["dropped"]:
                dropped.writerow((*names, part, path, reason, sentence))
            noted += [(*names, *note) for note in row.get("noted", ())]
            for k in range(max(int(voice is not None), len(faces))):
                has_voice = k == 0 and voice is not None
                landmarks = None
                if find is not None and k < len(faces):
                    (large,) = enlarged(torch.from_numpy(faces[k])[None])
                    landmarks = find.on_template(large, zoom) / SEARCH_SIDE
                writer.add(
                    replace(
                        record,
                        source=f"{record.source}#{k}" if k else record.source,
                        split=split[record.identity],
                    ),
                    voice[2:].T if has_voice else None,
                    faces[k] if k < len(faces) else None,
                    speech if k == 0 else None,
                    voice[:2] if has_voice else None,
                    boxes[k] if k < len(faces) else None,
                    landmarks,
                )
        writer.attach("dropped.csv", listed.getvalue())
        if noted:
            writer.attach("noted.csv", _table(NOTED, noted))
        writer.finish()


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Rows as the text of a CSV file."""
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([titles, *rows])
    return content.getvalue()


def _without_features(plan: Plan) -> dict:
    """The settings for store.json, which names those of the log-mel elsewhere."""
    return {group: keys for group, keys in plan.settings.to_dict().items() if group != "features"}


def _survivors(plan: Plan, reasons: Counter) -> Iterator[RawRecord]:
    """The records of which something is left; counts why the rest is not.

    Raises:
        DataError: at the end, if nothing is left of any.
    """
    found, first = False, ""
    for shard in range(plan.shards):
        rows, _ = load_shard(plan, shard)
        for line, row in zip(plan.lines(shard), rows, strict=True):
            reasons.update(reason for _, _, reason, _ in row["dropped"])
            first = first or (row["dropped"][0][3] if row["dropped"] else "")
            if row["frames"] is not None or row["faces"]:
                found = True
                yield RawRecord(**json.loads(line))
    if not found:
        shutil.rmtree(plan.work / "shards")
        counts = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
        raise DataError(f"none of the {plan.count} records could be prepared ({counts}). The first: {first}")


def _contents(
    plan: Plan,
) -> Iterator[tuple[RawRecord, dict, np.ndarray | None, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Every record with its row, its voice (2 + frames, mel bins) or None, its faces (n, side, side, 3) and
    what they show of their images (n, 4), and its speech (samples,) or None."""
    for shard in range(plan.shards):
        rows, read = load_shard(plan, shard)
        voices, faces, boxes = (read(name) for name in ("voices", "faces", "inside"))
        speech = read("speech") if plan.settings.voice.keep_speech else None
        frame = face = sample = 0
        for line, row in zip(plan.lines(shard), rows, strict=True):
            voice = None if row["frames"] is None else voices[frame : frame + row["frames"]]
            frame += row["frames"] or 0
            count = row.get("samples")
            spoken = None if count is None else speech[sample : sample + count]
            sample += count or 0
            mine = slice(face, face + row["faces"])
            yield RawRecord(**json.loads(line)), row, voice, faces[mine], boxes[mine], spoken
            face += row["faces"]
