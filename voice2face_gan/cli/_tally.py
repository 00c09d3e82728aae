"""Results of the clips of a command, for the terminal, for --json and for --json-lines."""

import json
import os
import sys
import time

import click

from voice2face_gan.cli._clips import Clip
from voice2face_gan.cli._console import say
from voice2face_gan.errors import AudioError, ImageError, VoiceToFaceError


class Tally:
    """Counts of clips, and the messages of failures.

    Args:
        lines: print a JSON line for each clip on standard output, at once.
        keeping: existing results are kept without an error.
    Attributes:
        seen: number of files looked at.
        made: number of clips with a result.
        kept: clips whose result existed and is kept.
        skipped: number of files in folders that are no recordings.
        errors: {"clip", "error"} of each failure.
    """

    def __init__(self, lines: bool = False, keeping: bool = False):
        self.lines, self.keeping = lines, keeping
        self.seen = self.made = self.skipped = 0
        self.kept: list[str] = []
        self.errors: list[dict[str, str]] = []
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def fail(self, name: str, error: VoiceToFaceError) -> None:
        """Count and print the failure of a clip, or of a folder, that cannot be read or written."""
        self.errors.append({"clip": name, "error": str(error)})
        self.line(self.errors[-1])
        text, short = str(error), os.path.basename(name)
        # Messages call a file by its name alone, which many folders may hold.
        say(f"Error: {name}{text[len(short) :]}" if text.startswith(f"{short}:") else f"Error: {text}")

    def failed(self, clip: Clip, error: VoiceToFaceError) -> None:
        """Count a clip that cannot be used: skipped if it is a file of a folder without the ending of one."""
        if not clip.sure and isinstance(error, (AudioError, ImageError)):
            self.skipped += 1
        else:
            self.fail(clip.name, error)

    def keep(self, clip: Clip, files: list[str]) -> None:
        """Count a clip whose result exists."""
        self.kept.append(clip.name)
        self.line({"clip": clip.name, "files": files, "kept": True})

    def line(self, document: dict) -> None:
        if self.lines:
            click.echo(json_line(document))  # which flushes

    def refuse_nothing(self, folders: list[str], what: str) -> None:
        """Fail where there are folders and nothing in them was `what` ("a recording")."""
        if folders and self.skipped and not (self.made or self.kept or self.errors):
            first = folders[0] + (f" and {len(folders) - 1} more" if len(folders) > 1 else "")
            self.fail(folders[0], AudioError(f"{first}: none of the {self.skipped} files is {what}."))

    def summary(self, what: str = "recordings") -> str:
        """A sentence: "12 made, 3 kept, 2 skipped (no recordings), 1 failed in 4.2 s."."""
        counts = [f"{self.made} made"]
        if self.kept:
            counts.append(f"{len(self.kept)} kept")
        if self.skipped:
            counts.append(f"{self.skipped} skipped (no {what})")
        counts.append(f"{len(self.errors)} failed")
        return f"{', '.join(counts)} in {self.seconds:.1f} s."


def json_line(document: dict, encoding: str | None = None) -> str:
    """JSON on one line, with escapes where the encoding, that of standard output, lacks the letters."""
    text = json.dumps(document, ensure_ascii=False)
    try:
        text.encode(encoding or sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document)
    return text
