"""Fetching AVSpeech: from its list of YouTube videos and times to a folder of clips, resumable and polite.

A video is opened once for all its clips. The state log holds what was fetched, so the same command goes
on where it was stopped, however it was stopped. Clips that failed for good (the video is gone) are not asked
for again; those that failed in passing (the connection, too many requests) are.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from voice2face_gan.data.fetch.clip_list import Clip, read_clip_list
from voice2face_gan.data.fetch.errors import FetchError, FetchStopped
from voice2face_gan.data.fetch.rate_limit import RateLimit
from voice2face_gan.data.fetch.remote import YOUTUBE, Site, import_yt_dlp
from voice2face_gan.data.fetch.state_log import StateLog, write_table
from voice2face_gan.errors import DataError, OutputError

_TABLES_EVERY = 60.0  # seconds between two writings of the tables
_MAX_REFUSED = 3  # videos in a row given up because the server asks for patience


@dataclass(frozen=True)
class FetchSettings:
    """Settings of fetching.

    Attributes:
        workers: threads, each at one video.
        rate: videos asked for in a second, all workers together.
        retries: further tries of a video after the first.
        backoff: seconds before the first retry; doubled every time.
        url: address of a video, with {id}.
        height: of the images, at most, where there is a choice.
        timeout: seconds without an answer that count as a failure.
        retry_failed: also try clips that failed for good.
    """

    workers: int = 4
    rate: float = 1.0
    retries: int = 4
    backoff: float = 2.0
    url: str = YOUTUBE
    height: int = 480
    timeout: float = 30.0
    retry_failed: bool = False


@dataclass
class FetchResult:
    """Result of a run.

    Attributes:
        rows, bad_rows: rows of the list looked at, and how many of them are no clips (listed in
            bad_rows.csv).
        there: clips that earlier runs had fetched.
        given_up: clips that earlier runs had found to be gone, not tried again.
        done: clips fetched now.
        failed: clips that failed now.
        left: clips not come to, because the run was stopped.
        reasons: reason -> clips that failed for it now.
        bytes: read from the network.
        seconds: that the run took.
        stopped: "" if it came to the end, "interrupted", or a sentence on why the server refuses.
    """

    rows: int = 0
    bad_rows: int = 0
    there: int = 0
    given_up: int = 0
    done: int = 0
    failed: int = 0
    left: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    seconds: float = 0.0
    stopped: str = ""


@dataclass(frozen=True)
class _Outcome:
    """Outcome of a clip, the end of a video (`clip` is None), or a fatal error."""

    clip: Clip | None
    failure: FetchError | None = None
    bytes: int = 0
    fatal: BaseException | None = None


Progress = Callable[[FetchResult, int, float], None]
"""Called a few times a second with the result so far, the clips to fetch in this run, and the seconds that
everybody is waiting at the server's wish."""


def fetch_avspeech(
    table: str | Path,
    folder: str | Path,
    first: int = 1,
    last: int | None = None,
    settings: FetchSettings | None = None,
    progress: Progress | None = None,
) -> FetchResult:
    """Fetch the clips of rows `first` to `last` (both included, from 1) of AVSpeech's list into a folder.

    Writes clips/*/ID_START-END.mp4, clips.csv, failures.csv, bad_rows.csv and state.jsonl; `AVSpeech` (the
    layout) reads it. Ctrl-C ends the run in good order, with `stopped` set.

    Raises:
        DataError: yt-dlp is missing, the list cannot be read, the address has no {id}.
        OutputError: the folder cannot be written, or is in use.
    """
    settings = settings or FetchSettings()
    if "{id}" not in settings.url:
        raise DataError(f"the address '{settings.url}' must hold {{id}} where the video's id goes.")
    import_yt_dlp()
    listed = read_clip_list(Path(table), first, last)
    folder = Path(folder).expanduser()
    log = StateLog(folder)
    try:
        write_table(folder / "bad_rows.csv", ("row", "reason", "text"), listed.bad)
        run = _Run(log, settings)
        return run.fetch(listed.clips, FetchResult(rows=listed.rows, bad_rows=len(listed.bad)), progress)
    finally:
        log.close()


class _Run:
    """Workers that fetch videos, and one thread (the caller's) that alone writes the log."""

    def __init__(self, log: StateLog, settings: FetchSettings):
        self.log, self.settings = log, settings
        self.stop = threading.Event()
        self.limit = RateLimit(settings.rate, settings.backoff, self.stop)
        self.videos: queue.SimpleQueue[list[Clip]] = queue.SimpleQueue()
        self.outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()

    def fetch(self, clips: list[Clip], result: FetchResult, progress: Progress | None) -> FetchResult:
        started = time.monotonic()
        videos = self._to_fetch(clips, result)
        total = result.left
        for video in videos:
            self.videos.put(video)
        workers = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(min(self.settings.workers, len(videos)))
        ]
        for worker in workers:
            worker.start()
        try:
            self._collect(len(videos), result, total, progress, started)
        except KeyboardInterrupt:
            result.stopped = "interrupted"
        finally:
            self.stop.set()
            for worker in workers:
                worker.join(timeout=5)  # one that hangs on the network dies with the process
        while not self.outcomes.empty():  # clips finished while stopping
            self._note(self.outcomes.get(), result)
        result.seconds = time.monotonic() - started
        return result

    def _to_fetch(self, clips: list[Clip], result: FetchResult) -> list[list[Clip]]:
        """The clips that are still to be fetched, by video, in the order of the list; counts the others."""
        videos: dict[str, list[Clip]] = {}
        for clip in clips:
            if clip.name in self.log.done:
                result.there += 1
            elif not self.settings.retry_failed and self.log.failed.get(clip.name, (clip, "", False))[2]:
                result.given_up += 1
            else:
                videos.setdefault(clip.video, []).append(clip)
                result.left += 1
        return list(videos.values())

    def _collect(
        self, videos: int, result: FetchResult, total: int, progress: Progress | None, started: float
    ):
        """Log the outcomes of the workers until all videos are done, or the server refuses."""
        tables_written = time.monotonic()
        refused = 0
        while videos:
            try:
                outcome = self.outcomes.get(timeout=0.2)
            except queue.Empty:
                outcome = None
            if outcome is not None:
                videos -= outcome.clip is None
                if outcome.clip is None:
                    throttled = outcome.failure is not None and outcome.failure.throttled
                    refused = refused + 1 if throttled else 0 if outcome.failure is None else refused
                self._note(outcome, result)
            result.seconds = time.monotonic() - started
            if progress is not None:
                progress(result, total, self.limit.paused())
            if time.monotonic() - tables_written > _TABLES_EVERY:
                self.log.write_tables()
                tables_written = time.monotonic()
            if refused >= _MAX_REFUSED:
                result.stopped = f"the server refuses further requests ({outcome.failure.reason})"
                return

    def _note(self, outcome: _Outcome, result: FetchResult) -> None:
        result.bytes += outcome.bytes
        if outcome.fatal is not None:
            raise outcome.fatal
        if outcome.clip is None:
            return
        result.left -= 1
        if outcome.failure is None:
            self.log.add_done(outcome.clip)
            result.done += 1
        else:
            self.log.add_failed(outcome.clip, outcome.failure.reason, outcome.failure.final)
            result.failed += 1
            result.reasons[outcome.failure.reason] += 1

    def _work(self) -> None:
        """A worker: videos until there are none, or the run stops."""
        site = Site(self.stop, self.settings.height, self.settings.timeout)
        try:
            while not self.stop.is_set():
                try:
                    clips = self.videos.get_nowait()
                except queue.Empty:
                    return
                self.outcomes.put(_Outcome(None, failure=self._video(site, clips)))
        except FetchStopped:
            return
        except BaseException as error:  # of ours or of the disk: the run must not wait for this worker
            self.outcomes.put(_Outcome(None, fatal=error))
        finally:
            site.close()

    def _video(self, site: Site, clips: list[Clip]) -> FetchError | None:
        """Fetch a video's clips, with retries; the failure that ended it, or None."""
        waiting = list(clips)
        for attempt in range(self.settings.retries + 1):
            self.limit.wait()
            try:
                self._attempt(site, waiting)
                return None
            except FetchError as error:
                failure = error
            except (FetchStopped, OutputError):
                raise
            except Exception as error:  # a fault in yt-dlp must not end a run of a million clips
                failure = FetchError(f"{type(error).__name__}: {error}"[:200])
            if failure.final or attempt == self.settings.retries:
                break
            self.limit.after(failure, attempt)
        for clip in waiting:
            self.outcomes.put(_Outcome(clip, failure))
        return failure

    def _attempt(self, site: Site, waiting: list[Clip]) -> None:
        """Fetch what is still waiting, removing each clip from the list as it is decided.

        Raises:
            FetchError: that concerns the whole video, or may pass.
        """
        from voice2face_gan.data.fetch.clip_cutter import DISK, cut_clip  # PyAV: not before it is needed

        files = site.open(self.settings.url.replace("{id}", waiting[0].video))
        try:
            while waiting:
                clip, failure = waiting[0], None
                before = sum(file.fetched for file in files)
                try:
                    cut_clip(files, clip.start, clip.end, self.log.folder / clip.file)
                except FetchError as error:
                    if not error.final:
                        raise
                    failure = error  # of this clip: the film ends before it, or is damaged there
                except OSError as error:
                    if error.errno in DISK:
                        raise OutputError(
                            f"{self.log.folder}: cannot be written ({error.strerror}); "
                            "make room, then give the same command again."
                        ) from error
                    raise FetchError(f"the connection failed: {error}") from error
                waiting.pop(0)
                spent = sum(file.fetched for file in files) - before
                self.outcomes.put(_Outcome(clip, failure, bytes=spent))
        finally:
            for file in files:
                file.close()
