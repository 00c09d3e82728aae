"""A bounded number of jobs at once and waiting; the others are told when to come again."""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from voice2face_gan.web.limits import Limits
from voice2face_gan.web.refusal import Refusal

_MEMORY = 0.1  # weight of the last job in the mean duration
_LONGEST_RETRY = 60


class Pool:
    """Threads that decode and make images. Its methods are called from the event loop's thread.

    Args:
        limits: of the server.
        prepare: called in each thread before its first job.
    Attributes:
        in_flight: jobs running or waiting.
        refused: jobs refused so far.
    """

    def __init__(self, limits: Limits, prepare: Callable[[], None] | None = None):
        self.limits = limits
        self.in_flight = self.refused = 0
        self.mean_seconds = 0.0  # of a job; 0 before the first
        self._threads = ThreadPoolExecutor(limits.workers, "v2f-worker", prepare)

    def expected_wait(self) -> float:
        """Seconds until a job that came now would begin."""
        before = self.in_flight - self.limits.workers + 1
        return max(0, before) * self.mean_seconds / self.limits.workers

    async def run(self, job: Callable[[], Any]) -> Any:
        """The result of a job.

        Raises:
            Refusal: 429, at once, where the queue is full or would take longer than `wait_seconds`.
        """
        full = self.in_flight >= self.limits.workers + self.limits.queue
        if full or self.expected_wait() > self.limits.wait_seconds:
            self.refused += 1
            seconds = min(_LONGEST_RETRY, max(1, math.ceil(self.expected_wait())))
            raise Refusal(429, f"The studio is busy; try again in {seconds} s.", seconds)
        self.in_flight += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._timed, job)
        # The job goes on if the client has left, so that it is counted until its end.
        future.add_done_callback(self._done)
        result, seconds = await asyncio.shield(future)
        weight = _MEMORY if self.mean_seconds else 1.0
        self.mean_seconds += weight * (seconds - self.mean_seconds)
        return result

    def _done(self, future) -> None:
        self.in_flight -= 1
        if not future.cancelled():
            future.exception()  # seen, also where nobody waits any more

    @staticmethod
    def _timed(job: Callable[[], Any]) -> tuple[Any, float]:
        start = perf_counter()
        return job(), perf_counter() - start

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
