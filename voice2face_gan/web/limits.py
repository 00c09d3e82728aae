"""Limits of the studio: sizes, durations, numbers of jobs."""

import math
import os
from dataclasses import dataclass

from voice2face_gan.errors import ServeError


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        upload_bytes: of a request's body.
        recording_seconds: of a recording, after `start` and `end` were applied.
        variants: images of one answer.
        morph_steps: images of a morph.
        workers: jobs done at once, a thread and a decoding process each; 0 for as many as there are
            processors, at most 4.
        queue: jobs that may wait.
        wait_seconds: expected waiting beyond which a job is refused with 429, even where the queue has room.
        uploads: bodies received at once.
        stall_seconds: silence of a client within a request, after which it is given up.
        upload_seconds: of a whole upload.
        decode_seconds: of decoding one recording.
        decode_bytes: address space of a decoding process beyond what it takes before its first recording.
        connections: open at once; beyond them the answer is 503.
    Raises:
        ServeError: a value out of its range.
    """

    upload_bytes: int = 32 * 2**20
    recording_seconds: float = 600.0
    variants: int = 16
    morph_steps: int = 16
    workers: int = 0
    queue: int = 32
    wait_seconds: float = 1.0
    uploads: int = 16
    stall_seconds: float = 10.0
    upload_seconds: float = 120.0
    decode_seconds: float = 15.0
    decode_bytes: int = 2**30
    connections: int = 256

    def __post_init__(self) -> None:
        if not self.workers:
            object.__setattr__(self, "workers", min(4, _processors()))
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise ServeError(f"{name} must be a number above 0, not {value:g}.")


def _processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
