"""AVSpeech's list: one line a clip, without a header: YouTube id, start, end (seconds), face centre x, y."""

import io
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from voice2face_gan.data.layouts.reading.tables import read_text
from voice2face_gan.errors import DataError

_ID = re.compile(r"[A-Za-z0-9_-]{11}$")
_MAX_SECONDS = 60.0  # AVSpeech's clips are 3 to 10


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a video with one speaker.

    Attributes:
        video: YouTube id, eleven letters, digits, "-" or "_".
        start, end: seconds.
        x, y: centre of the speaker's face at the start, 0 to 1 from the top left.
    """

    video: str
    start: float
    end: float
    x: float
    y: float

    @property
    def name(self) -> str:
        """Unique, and a good file name: "-DkHcIWfjBY_281.480000-286.400000"."""
        return f"{self.video}_{self.start:.6f}-{self.end:.6f}"

    @property
    def file(self) -> str:
        """Path below the folder of the set; in folders by the id's first signs, as a set has 2.6 M clips."""
        return f"clips/{self.video[:2]}/{self.name}.mp4"


@dataclass
class ClipList:
    """Rows of a list.

    Attributes:
        clips: the good ones, in order, each once.
        bad: (line number, what is wrong, the line) of the others.
        rows: how many rows were looked at.
    """

    clips: list[Clip] = field(default_factory=list)
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    rows: int = 0


def read_clip_list(path: Path, first: int = 1, last: int | None = None) -> ClipList:
    """Rows `first` to `last` of a list, both included, the first row of the file being 1.

    Raises:
        DataError: the file cannot be read, or no row asked for is good.
    """
    found = ClipList()
    seen: set[tuple[str, float, float]] = set()
    for number, line in enumerate(_lines(path), start=1):
        if number < first or not line.strip():
            continue
        if last is not None and number > last:
            break
        found.rows += 1
        try:
            clip = _clip(line)
            key = (clip.video, clip.start, clip.end)
            if key in seen:
                raise ValueError("an earlier row is the same clip")
        except ValueError as error:
            found.bad.append((number, str(error), line.strip()[:200]))
            continue
        seen.add(key)
        found.clips.append(clip)
    if not found.clips:
        what = f" ({found.bad[0][1]}, line {found.bad[0][0]})" if found.bad else ""
        raise DataError(
            f"{path}: rows {first} to {last or 'the end'} hold no clip{what}; "
            "AVSpeech's rows are: YouTube id, start, end, x, y."
        )
    return found


def _lines(path: Path) -> io.StringIO:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give AVSpeech's list (avspeech_train.csv).")
    return io.StringIO(read_text(path))


def _clip(line: str) -> Clip:
    """A row as a clip; a ValueError describes what is wrong with it."""
    cells = line.strip().split(",")  # no cell of such a list has a comma in it; a csv.reader takes 3x as long
    if len(cells) != 5:
        raise ValueError(f"{len(cells)} cells instead of 5")
    video = cells[0].strip(' "')
    if not _ID.match(video):
        raise ValueError("the first cell is no YouTube id")
    try:
        start, end, x, y = map(float, cells[1:])
    except ValueError:
        raise ValueError("start, end, x and y are not all numbers") from None
    if not all(map(math.isfinite, (start, end, x, y))) or not 0 <= start < end:
        raise ValueError("start and end are no stretch of time")
    if end - start > _MAX_SECONDS:
        raise ValueError(f"longer than {_MAX_SECONDS:.0f} s")
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError("the face's centre is not from 0 to 1")
    return Clip(video, start, end, x, y)
