"""Shards on the processes of this machine, and what to do when a file brings one of them down."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

from voice2face_gan.data.prepare.shards import Done, Plan, run_shard
from voice2face_gan.errors import DataError


def run(plan: Plan, todo: list[int], workers: int, done: Done) -> None:
    """Prepare shards on this machine; one worker works in this process, unless a run came to an end there.

    A file that brings a process down (a fault in FFmpeg or dlib, or all memory taken) is found by preparing
    what was at work alone, then left out and listed.
    """
    now = plan.work / "now"
    now.mkdir(exist_ok=True)
    if (workers == 1 or len(todo) == 1) and not any(now.iterdir()):
        for shard in todo:
            done(run_shard(plan, shard))
        return
    _clear(now)
    while todo:
        try:
            _pool(plan, todo, workers, done)
            return
        except BrokenProcessPool:
            at_work = {_noted(note)[0] for note in now.iterdir()}
            for shard in sorted(at_work & set(plan.todo())):
                _alone(plan, shard, done)
            todo = plan.todo()


def _alone(plan: Plan, shard: int, done: Done) -> None:
    """Prepare one shard in a process of its own, leaving out one record after another that ends it."""
    now = plan.work / "now"
    while True:
        _clear(now)
        try:
            _pool(plan, [shard], 1, done)
            return
        except BrokenProcessPool as error:
            place = max((_noted(note)[1] for note in now.iterdir()), default=-1)
            if place < 0 or place in plan.crashed(shard):
                raise DataError("Processes end before they begin; is there enough memory?") from error
            sentence = "the process that opened it came to a sudden end, so it is left out."
            plan.note_crash(shard * plan.size + place, sentence)


def _clear(now: Path) -> None:
    for note in now.iterdir():
        note.unlink()


def _noted(note: Path) -> tuple[int, int]:
    """(shard, place) that a process was at; (-1, -1) before its first record."""
    words = note.read_text().split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (-1, -1)


def _pool(plan: Plan, todo: list[int], workers: int, done: Done) -> None:
    """Spread shards over processes. They are spawned: a fork of a process with threads may never wake up."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(todo)), context, _begin, (plan,)) as pool:
        waiting = iter(todo)
        try:
            running = {pool.submit(_work, shard) for shard in islice(waiting, 2 * workers)}
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done(future.result())
                running |= {pool.submit(_work, shard) for shard in islice(waiting, len(finished))}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_plan: Plan | None = None  # of this worker process


def _begin(plan: Plan) -> None:
    """A worker's first act. Ctrl-C is for the parent to handle, and without the parent the worker ends: it
    would wait for work for ever if that were killed."""
    global _plan
    _plan = plan
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(shard: int) -> dict:
    return run_shard(_plan, shard)
