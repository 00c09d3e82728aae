"""The prepared store: a folder that a training run opens by memory map.

    store.json     version, counts, log-mel settings, source layout, what the store was made from
    records.csv    one row a record: its names and labels, and where its voice and face lie
    voices.npy     float16 (rows, mel bins): of all voices, end to end: each bin's mean and standard deviation
                   (log_mel.normalise_with_stats), then the normalised frames
    faces.npy      uint8 (faces, side, side, 3)
    inside.npy     int16 (faces, 4): left, top, right and bottom of what each face shows of its image, in
                   pixels; the rest lies beyond the image's edges and was made up (stores of old lack it)
    landmarks.npy  float32 (faces, 68, 2): x and y of each face's landmarks in fractions of the side, where
                   they were kept (faces.landmarks of `prepare`)
    speech.npy     int16 (samples,): the speech that the log-mels show, end to end, where it was kept (115 MB
                   an hour at 16 kHz); noise and rooms can be added to it, which they cannot to log-mels

    dropped.csv    of a prepared store: each recording and image that was left out, and why

A store is written (data/store_writer.py) under a temporary name and renamed when it is whole.
"""

import csv
import json
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from voice2face_gan.data.records import GENDERS, SPLITS
from voice2face_gan.errors import DataError, StoreError
from voice2face_gan.faces.mean_shape import POINTS

VERSION = 1
PLACES = ("voice_offset", "voice_frames", "face_index")  # in frames, frames, faces; blank where absent
SPEECH_PLACES = (
    "speech_offset",
    "speech_samples",
)  # columns of a store that keeps speech; blank where absent
LABELS = ("source", "identity", "gender", "split", "nationality", "ethnicity")  # text, one entry a record


class Store:
    """A store, or a part of one, opened for reading.

    Attributes:
        folder: its path.
        about: the content of store.json.
        voices: float16 (rows, mel bins), memory-mapped; two rows before each voice's frames are the mean and
            the deviation of its bins if `has_raw_log_mel`.
        faces: uint8 (faces, side, side, 3), memory-mapped.
        visible_box: int16 (faces, 4), the pixels [left, right) x [top, bottom) that show the image; all
            of them in a store without inside.npy.
        landmarks: float32 (faces, 68, 2), memory-mapped; (0, 68, 2) in a store without.
        identity, gender, split, source: arrays of str, one entry a record.
        age: float64, NaN where unknown.
        voice_offset, voice_frames, face_index: int64, one entry a record, -1 where it has none.
        speech: int16 (samples,), memory-mapped; empty in a store of log-mels alone.
        speech_offset, speech_samples: int64, one entry a record, -1 where it has none.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / "store.json").is_file():
            state = (
                "is no prepared store (it has no store.json)" if self.folder.exists() else "does not exist"
            )
            raise StoreError(f"{self.folder} {state}; give a prepared store, or 'synthetic'.")
        try:
            self.about = json.loads((self.folder / "store.json").read_text(encoding="utf-8"))
            if self.about["version"] != VERSION:
                raise StoreError(f"{self.folder}: store version {self.about['version']}, expected {VERSION}.")
            columns = _columns(self.folder / "records.csv")
            self.voices = _map(self.folder / "voices.npy")
            self.faces = _map(self.folder / "faces.npy")
            boxes = self.folder / "inside.npy"
            self.visible_box = _map(boxes) if boxes.is_file() else full_boxes(self.faces)
            found = self.folder / "landmarks.npy"
            self.landmarks = _map(found) if found.is_file() else no_landmarks()
            if self.landmarks.shape[1:] != (POINTS, 2) or len(self.landmarks) not in (0, len(self.faces)):
                raise ValueError("landmarks.npy does not fit its faces")
            kept = "samples" in self.about
            self.speech = _map(self.folder / "speech.npy") if kept else np.zeros(0, dtype=np.int16)
            counts = [len(part) for part in (columns["age"], self.voices, self.faces, self.speech)]
            if len(self.visible_box) != len(self.faces) or counts != [
                self.about.get(k, 0) for k in ("records", "frames", "faces", "samples")
            ]:
                raise ValueError("the counts in store.json do not fit its files")
        except (OSError, ValueError, KeyError, IndexError, StopIteration) as error:
            raise StoreError(
                f"{self.folder}: the store cannot be read ({error}); prepare it again."
            ) from error
        for name in LABELS:
            setattr(self, name, np.array(columns[name], dtype=str))
        self.age = np.array(columns["age"], dtype=np.float64)
        for name in (*PLACES, *SPEECH_PLACES):
            setattr(self, name, np.array(columns[name], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.identity)

    @property
    def dataset(self) -> str:
        """Name of the data set: `source.family` of store.json, else the layout. Equal names of identities
        are one person only within one data set. Each seed of the synthetic world is a data set."""
        source = self.about["source"]
        dataset = str(source.get("family") or source.get("layout") or self.folder.name)
        return f"{dataset}-{source.get('seed')}" if dataset == "synthetic" else dataset

    @property
    def zoom(self) -> float:
        """Scale of the faces relative to the template of faces/align.py."""
        return float(self.about.get("zoom", 1.0))

    @property
    def vad(self) -> dict:
        """Settings of speech detection, a VadSettings as dict.

        Empty where they are not known, as of voices that were taken whole, or differ between joined stores.
        """
        stores = [store for store in getattr(self, "stores", (self,)) if store.has_voice.any()]
        settings = [store.about["source"].get("settings", {}) for store in stores]
        # A setting at None is as one that an older store does not name.
        found = [
            {key: value for key, value in one["vad"].items() if value is not None}
            for one in settings
            if one.get("voice", {}).get("vad")
        ]
        return found[0] if found and all(one == found[0] for one in found) else {}

    def select(self, keep: np.ndarray | Callable[["Store"], np.ndarray]) -> "Store":
        """The records where `keep` is true, sharing the arrays of voices and faces."""
        mask = keep(self) if callable(keep) else keep
        part = object.__new__(Store)
        part.__dict__.update(self.__dict__)
        for name in (*LABELS, "age", *PLACES, *SPEECH_PLACES):
            setattr(part, name, getattr(self, name)[mask])
        return part

    def of_gender(self, gender: str) -> "Store":
        """The records of one gender ("female", "male"), or all ("all", unknown ones included).

        Raises:
            DataError: none is left.
        """
        if gender == "all":
            return self
        if gender not in GENDERS:
            raise DataError(f"gender must be female, male or all, not '{gender}'.")
        part = self.select(self.gender == gender)
        if not len(part):
            raise DataError(f"{self.folder}: no record is of gender '{gender}' in the data set's metadata.")
        return part

    def of_split(self, split: str) -> "Store":
        """The records of a split, or all of them ("all").

        Raises:
            DataError: the split is empty.
        """
        part = self if split == "all" else self.select(self.split == split)
        if not len(part):
            raise DataError(f"{self.folder}: the split '{split}' is empty.")
        return part

    @property
    def has_voice(self) -> np.ndarray:
        return self.voice_offset >= 0

    @property
    def has_face(self) -> np.ndarray:
        return self.face_index >= 0

    @property
    def has_landmarks(self) -> bool:
        """True if each face comes with its landmarks."""
        return len(self.landmarks) == len(self.faces) > 0

    @property
    def fully_visible(self) -> np.ndarray:
        """bool (records,): the face lies wholly within its image, but for a pixel at each edge."""
        return self.has_face & (self._visible_sides().min(axis=1) >= self.about["side"] - 2)

    @property
    def visible_share(self) -> np.ndarray:
        """float (records,): how much of the face lies within its image, 0 to 1; of records with faces."""
        return self._visible_sides().prod(axis=1) / self.about["side"] ** 2

    def _visible_sides(self) -> np.ndarray:
        """float (records, 2): width and height in pixels of what each face shows of its image."""
        if not len(self.visible_box):
            return np.zeros((len(self), 2))
        boxes = np.asarray(self.visible_box)[self.face_index.clip(min=0)].astype(float)
        return boxes[:, 2:] - boxes[:, :2]

    @property
    def has_speech(self) -> np.ndarray:
        return self.speech_offset >= 0

    @property
    def has_raw_log_mel(self) -> bool:
        """True if log-mels can be restored as they were before normalisation."""
        return bool(self.about.get("levels"))

    def breakdown(self) -> list[dict]:
        """Counts by split and gender: split, gender ("unknown" too), identities, voices, faces, hours."""
        rows = []
        for split in (*SPLITS, ""):
            for gender in (*GENDERS, ""):
                mine = (self.split == split) & (self.gender == gender)
                if mine.any():
                    rows.append(
                        {
                            "split": split or "undecided",
                            "gender": gender or "unknown",
                            "identities": len(np.unique(self.identity[mine])),
                            "voices": int(self.has_voice[mine].sum()),
                            "faces": int(self.has_face[mine].sum()),
                            "hours": round(self._hours(mine), 3),
                        }
                    )
        return rows

    def dropped(self) -> dict[str, int]:
        """Counts of what was left out, by reason ("face: no face"); most first."""
        path = self.folder / "dropped.csv"
        if not path.is_file():
            return {}
        with path.open(newline="", encoding="utf-8") as file:
            found = Counter(f"{row['part']}: {row['reason']}" for row in csv.DictReader(file))
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    def noted(self) -> int:
        """Number of files that were taken in part; noted.csv names them."""
        path = self.folder / "noted.csv"
        if not path.is_file():
            return 0
        with path.open(newline="", encoding="utf-8") as file:
            return sum(1 for _ in csv.DictReader(file))

    def _hours(self, mask: np.ndarray) -> float:
        frames = float(self.voice_frames[mask & self.has_voice].sum())
        return frames * self.about["features"]["hop_ms"] / 3_600_000

    def summary(self) -> dict:
        """Counts by split and gender, for a checkpoint's config.json and for messages."""
        by_gender = {
            str(g) or "unknown": len(np.unique(self.identity[self.gender == g]))
            for g in np.unique(self.gender)
        }
        return {
            "identities": len(np.unique(self.identity)),
            "voices": int(self.has_voice.sum()),
            "faces": int(self.has_face.sum()),
            "hours": round(self._hours(self.has_voice), 3),
            "identities_by_gender": by_gender,
        }


def no_landmarks() -> np.ndarray:
    """`Store.landmarks` of a store without."""
    return np.zeros((0, POINTS, 2), dtype=np.float32)


def _columns(path: Path) -> dict[str, list | array]:
    """records.csv by column. A million records must not be a million dicts: numbers become numbers at once,
    and labels, which most records share with others, are kept once."""
    columns = {name: array("d" if name == "age" else "q") for name in ("age", *PLACES, *SPEECH_PLACES)}
    columns |= {name: [] for name in LABELS}
    known: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        order = [(columns[name], name, i) for i, name in enumerate(next(rows)) if name in columns]
        for row in rows:
            for column, name, i in order:
                cell = row[i]
                if name == "age":
                    column.append(float(cell or "nan"))
                elif name in PLACES or name in SPEECH_PLACES:
                    column.append(int(cell or -1))
                else:
                    column.append(cell if name == "source" else known.setdefault(cell, cell))
    if not any(len(columns[name]) for name in SPEECH_PLACES):  # a store of log-mels alone
        columns |= {name: array("q", [-1]) * len(columns["age"]) for name in SPEECH_PLACES}
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("records.csv lacks a column")
    return columns


def full_boxes(faces: np.ndarray) -> np.ndarray:
    """`Store.visible_box` of faces (N, side, side, 3) that lie within their images."""
    return np.tile(np.array([0, 0, 1, 1], dtype=np.int16) * faces.shape[1], (len(faces), 1))


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Speech as a store keeps it: float in [-1, 1] -> int16, of which 32,768 are 1."""
    return np.clip(np.rint(waveform * np.float32(32768)), -32768, 32767).astype(np.int16)


def _map(path: Path) -> np.ndarray:
    """A memory map, copy-on-write so that torch may share it; an empty array cannot be mapped and is read."""
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except ValueError:
        return np.load(path, allow_pickle=False)
