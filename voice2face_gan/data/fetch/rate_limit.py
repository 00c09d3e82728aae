"""Rate limit of requests, with back-off when the server asks for it."""

import random
import threading
import time

from voice2face_gan.data.fetch.errors import FetchError, FetchStopped

MAX_WAIT_SECONDS = 3600.0  # a server that asks for more gets this


class RateLimit:
    """Rate limit that all workers share.

    Args:
        rate: videos asked for in a second, all workers together.
        backoff: seconds before the first retry; doubled for every further one.
        stop: set when the run is to stop; waiting ends then.
    """

    def __init__(self, rate: float, backoff: float, stop: threading.Event):
        self.interval, self.backoff, self.stop = 1.0 / rate, backoff, stop
        self._lock = threading.Lock()
        self._next = time.monotonic()

    def wait(self) -> None:
        """Wait until it is this worker's turn.

        Raises:
            FetchStopped: the run is being stopped.
        """
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self.interval
                    break
                left = self._next - now
            self._sleep(left)  # and look again: a pause may have come meanwhile
        if self.stop.is_set():
            raise FetchStopped

    def after(self, error: FetchError, attempt: int) -> None:
        """Wait before attempt `attempt` + 1: one worker, or all if the server asks for patience.

        The wait doubles with every attempt and is drawn from half to one and a half of that, so that workers
        that failed together do not come back together. It is never shorter than what the server asked for.
        """
        seconds = self.backoff * 2**attempt * random.uniform(0.5, 1.5)
        seconds = min(max(seconds, error.retry_after or 0.0), MAX_WAIT_SECONDS)
        if not error.throttled:
            self._sleep(seconds)
            return
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def paused(self) -> float:
        """Seconds until the next video may be asked for."""
        return max(self._next - time.monotonic(), 0.0)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise FetchStopped
