"""State of a fetch: an append-only log that survives kill -9, and two tables made of it.

`state.jsonl` has a line a clip and try, appended when a clip is done or given up; the last line of a clip
counts, a line cut short by a crash is passed over. `clips.csv` (done) and `failures.csv` (given up) are
written anew from it, each under a temporary name that is renamed.
"""

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path

from voice2face_gan.data.fetch.clip_list import Clip
from voice2face_gan.data.layouts.avspeech import TABLE, TITLES
from voice2face_gan.errors import OutputError
from voice2face_gan.files import lock, write_bytes

STATE, FAILURES = "state.jsonl", "failures.csv"
_FAILURE_TITLES = ("youtube_id", "start", "end", "reason", "final")


class StateLog:
    """The state of a folder of clips; one process at a time may have it open.

    Args:
        folder: is made if it is not there.
    Raises:
        OutputError: the folder cannot be written, or another process has it open.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.done: dict[str, Clip] = {}
        self.failed: dict[str, tuple[Clip, str, bool]] = {}  # clip, reason, final
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / STATE).open("a+", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror}).") from error
        self._lock()
        self._load()
        for left_over in (folder / "clips").glob("*/.*.tmp"):  # of a run that was killed
            left_over.unlink(missing_ok=True)

    def add_done(self, clip: Clip) -> None:
        self._append(clip, {"state": "done"})
        self.done[clip.name] = clip
        self.failed.pop(clip.name, None)

    def add_failed(self, clip: Clip, reason: str, final: bool) -> None:
        self._append(clip, {"state": "failed", "reason": reason, "final": final})
        self.failed[clip.name] = (clip, reason, final)

    def write_tables(self) -> None:
        """clips.csv and failures.csv, sorted."""
        done = ([c.file, c.video, c.start, c.end, c.x, c.y] for _, c in sorted(self.done.items()))
        failed = (
            [c.video, c.start, c.end, reason, "yes" if final else "no"]
            for _, (c, reason, final) in sorted(self.failed.items())
        )
        write_table(self.folder / TABLE, TITLES, done)
        write_table(self.folder / FAILURES, _FAILURE_TITLES, failed)

    def close(self) -> None:
        self.write_tables()
        self._file.close()

    def _append(self, clip: Clip, what: dict) -> None:
        entry = {"youtube_id": clip.video, "start": clip.start, "end": clip.end, "x": clip.x, "y": clip.y}
        self._file.write(json.dumps(entry | what) + "\n")
        self._file.flush()

    def _load(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        if content and not content.endswith("\n"):
            self._file.write("\n")  # end the line that a crash cut short, so that the next one is whole
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                clip = Clip(*(entry[key] for key in ("youtube_id", "start", "end", "x", "y")))
            except (ValueError, KeyError, TypeError):
                continue
            if entry.get("state") == "done":
                self.failed.pop(clip.name, None)
                self.done[clip.name] = clip
            else:
                self.failed[clip.name] = (clip, str(entry.get("reason")), bool(entry.get("final")))
        # A clip whose file has been removed is to be fetched again.
        self.done = {name: clip for name, clip in self.done.items() if (self.folder / clip.file).is_file()}

    def _lock(self) -> None:
        """Ends with the process. On Windows two runs at once fetch some clips twice, and harm nothing."""
        try:
            lock(self._file)
        except BlockingIOError:
            self._file.close()
            raise OutputError(
                f"{self.folder}: another run is fetching into it; wait, or give another folder."
            ) from None
        except OSError:
            return  # a network drive without locks


def write_table(path: Path, titles: Iterable[str], rows: Iterable[Iterable]) -> None:
    """A CSV file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(rows)
    try:
        write_bytes(path, text.getvalue().encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({os.strerror(error.errno or 0)}).") from error
