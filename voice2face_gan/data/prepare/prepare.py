"""A data set as it lies on disk -> a prepared store.

    layout.records ─► records.jsonl ─► shards, by processes or a cluster ─► split ─► store, renamed when whole

What is listed, prepared and written is streamed, so memory does not grow with the set; only the names of its
identities and videos are held. Twice the store's size is needed on disk until it has its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voice2face_gan.audio.vad import VadSettings
from voice2face_gan.data.layouts import find_layout
from voice2face_gan.data.layouts.base import OFFICIAL, SEEDED, SF2F
from voice2face_gan.data.prepare.merge import AUTO, UNDECIDED, assemble, assign
from voice2face_gan.data.prepare.process_pool import run
from voice2face_gan.data.prepare.settings import PrepareSettings
from voice2face_gan.data.prepare.shards import Plan, drop_work, locked, make_plan, start
from voice2face_gan.data.splits import RULES
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError, StoreError
from voice2face_gan.faces.landmarks import predictor

MAX_WORKERS = 10
"""Processes unless more are asked for: so a preparation stays below 4 GiB of memory."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SplitChoice:
    """The split of the identities.

    Attributes:
        rule: "wen-letters", "official", "seeded", "stratified", "none", the path of a list, or "" for the
            layout's own; where that is "seeded" and the records name everybody's side, theirs.
        seed: of the shuffle.
    """

    rule: str = ""
    seed: int = 0


@dataclass
class Outcome:
    """Result of a preparation.

    Attributes:
        store: the store, opened.
        already: it was there, of these records and settings, and nothing was done.
        resumed: it went on with an interrupted run.
        seconds: of wall-clock time.
        audio_seconds: length of the recordings decoded by this run.
        processor_seconds: that all processes computed in this run, waiting and their start left out.
        steps: step -> seconds of all processes of this run.
    """

    store: Store
    already: bool = False
    resumed: bool = False
    seconds: float = 0.0
    audio_seconds: float = 0.0
    processor_seconds: float = 0.0
    steps: Counter = field(default_factory=Counter)


def prepare(
    layout: str,
    sources: Sequence[str | Path],
    folder: str | Path,
    settings: PrepareSettings | None = None,
    *,
    options: dict[str, str] | None = None,
    split: SplitChoice = SplitChoice(),
    limit: int | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    dataset: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Prepare a data set, go on with an interrupted preparation of it, or find that it is done.

    Args:
        layout: name of a layout.
        sources: what it asks for.
        folder: of the store.
        settings: of features, speech and faces; default: those of the 2019 recipe, but soft speech is raised
            for the detector (vad.target_level_db).
        options: of the layout.
        split: of the identities.
        limit: take only the first so many records.
        workers: processes, each of 0.3 to 0.4 GiB; default: as many as there are processors, at most
            MAX_WORKERS.
        cluster: address of a Ray cluster, or "local", instead of processes of our own.
        dataset: name of the data set; equal identities of one data set are one person when stores are joined.
            Default: the layout and the name of the first source.
        force: replace a store, or an interrupted run, of other records or settings.
        progress: called with (records done, records in all).
    Raises:
        DataError: nothing to prepare, nothing could be prepared, an empty split, another process at work, or
            an interrupted run of other settings.
        StoreError: the store exists and is of other records or settings.
        ImageError: faces must be found and the extra `faces` is not installed.
    """
    began = time.perf_counter()
    settings = settings or PrepareSettings()
    if settings.faces.landmarks:
        predictor()  # a missing extra is said before anything is decoded
    known = find_layout(layout)
    folder = Path(folder).expanduser().absolute()
    _refuse_other_folder(folder)
    options = known.check_options(options or {})
    if options.get("split") == SF2F and split.rule not in ("", OFFICIAL):
        raise DataError(f"--option split={SF2F} and --split {split.rule} are two ways to split; give one.")
    records = known.records(sources, **options)
    default = known.rule(options)
    options = {k: v for k, v in options.items() if not known.options[k].is_old_way(v)}
    paths = [Path(source).expanduser().absolute() for source in sources]
    about = {
        "layout": layout,
        "family": dataset or getattr(known, "dataset", None) or f"{layout}/{paths[0].name}",
        "options": options,
        "split": _rule(split.rule, default),
        "seed": split.seed,
    }
    work = folder.with_name(f".{folder.name}.preparing")
    with locked(work):
        try:
            plan = make_plan(work, records, settings, known.face_state, {"layout": layout, **options}, limit)
            store_print = [plan.fingerprint, {**about, "split": _rule_content(about["split"])}]
            about["fingerprint"] = hashlib.sha256(json.dumps(store_print).encode()).hexdigest()[:16]
            done = None if force else _finished(folder, plan, about)
            if done is not None:
                drop_work(plan)  # a kill after the last rename leaves it
                return Outcome(done, already=True, seconds=time.perf_counter() - began)
            resumed = start(plan, force)
            assign(plan.records(), about)  # so that a split that cannot be made is refused at once
            outcome = _prepare_shards(plan, workers, cluster, progress)
            assemble(plan, folder, {**about, "sources": [str(path) for path in paths]})
            drop_work(plan)
        finally:
            if not any((work / "shards").glob("*.npz")):  # nothing that another run could go on with
                shutil.rmtree(work, ignore_errors=True)
    outcome.store, outcome.resumed = Store(folder), resumed
    outcome.seconds = time.perf_counter() - began
    return outcome


def _rule(rule: str, default: str) -> str:
    """The rule asked for, or the layout's. A layout that would shuffle lets its records speak first."""
    if not rule:
        return AUTO if default == SEEDED else default
    if rule not in (*RULES, UNDECIDED) and not Path(rule).is_file():
        raise DataError(
            f"there is no split '{rule}'; give {', '.join((*RULES, UNDECIDED))}, or the path of a list."
        )
    return rule


def _rule_content(rule: str) -> str:
    """A rule for the fingerprint: the content of a list, not its path."""
    return rule if rule in (*RULES, AUTO, UNDECIDED) else Path(rule).read_text(errors="replace")


def _refuse_other_folder(folder: Path) -> None:
    """Refuse a folder that is no store, even with force."""
    if folder.is_file() or (
        folder.is_dir() and not (folder / "store.json").is_file() and any(folder.iterdir())
    ):
        raise StoreError(f"{folder} exists and is no prepared store; give another name for the store.")


def _finished(folder: Path, plan: Plan, about: dict) -> Store | None:
    """The store, if it is there and of these records and settings."""
    if not (folder / "store.json").is_file():
        return None
    store = Store(folder)
    if store.about["source"].get("fingerprint") == about["fingerprint"]:
        return store
    raise StoreError(
        f"{folder} was prepared from other files or with other settings ({_change(store, plan, about)}); "
        "give another name, or --force to prepare it again."
    )


def _change(store: Store, plan: Plan, about: dict) -> str:
    """Differences of a store from what is asked for, as far as known."""
    then = {"features": store.about["features"], **store.about["source"].get("settings", {})}
    usual = PrepareSettings(vad=VadSettings()).to_dict()  # of settings that are younger than the store
    for group, keys in plan.settings.to_dict().items():
        for key, value in keys.items():
            was = then.get(group, {}).get(key, usual[group][key])
            if was != value:
                return f"{group}.{key} is {value} now, was {was}"
    then = store.about["source"]
    for key, value in {**about, "records": plan.count}.items():
        if key != "fingerprint" and then.get(key) != value:
            return f"{key}: {value!r} now, was {then.get(key)!r}"
    if not {"levels", "zoom"} <= store.about.keys():
        return "the same settings, by an older version"
    return "the same settings, but files have changed"


def _prepare_shards(
    plan: Plan, workers: int | None, cluster: str | None, progress: Progress | None
) -> Outcome:
    """Prepare what is not on disk yet."""
    todo = plan.todo()
    missing = sum(min(plan.size, plan.count - shard * plan.size) for shard in todo)
    outcome = Outcome(None)  # its store is not there yet
    ready = plan.count - missing

    def done(about: dict) -> None:
        nonlocal ready
        ready += about["records"]
        outcome.audio_seconds += about["audio_seconds"]
        outcome.processor_seconds += about["processor_seconds"]
        outcome.steps.update(about["seconds"])
        if progress is not None:
            progress(ready, plan.count)

    if progress is not None:
        progress(ready, plan.count)
    if cluster is not None and todo:
        from voice2face_gan.data.prepare.cluster import run_on_ray

        run_on_ray(plan, todo, cluster, done)
    elif todo:
        run(plan, todo, workers or min(processors(), MAX_WORKERS), done)
    return outcome


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
