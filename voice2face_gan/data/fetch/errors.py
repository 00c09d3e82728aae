"""Errors of fetching, with the reason and whether another try can help."""


class FetchError(Exception):
    """A clip, or all clips of a video, cannot be fetched now.

    Attributes:
        reason: one line for failures.csv.
        final: another try cannot help: the video is gone, private or damaged.
        throttled: the server asks for patience (429, 503, "not a bot"): everybody should wait.
        retry_after: seconds that it asks for, or None.
    """

    def __init__(
        self, reason: str, final: bool = False, throttled: bool = False, retry_after: float | None = None
    ):
        super().__init__(reason)
        self.reason = reason
        self.final, self.throttled, self.retry_after = final, throttled, retry_after


class FetchStopped(Exception):
    """The run is being stopped: leave everything as it is."""
