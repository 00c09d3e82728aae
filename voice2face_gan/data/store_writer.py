"""Writing a prepared store (described in data/store.py), record by record, in bounded memory."""

import csv
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from voice2face_gan.data.records import RECORD_FIELDS, Record
from voice2face_gan.data.store import PLACES, SPEECH_PLACES, VERSION
from voice2face_gan.errors import StoreError
from voice2face_gan.faces.mean_shape import POINTS
from voice2face_gan.files import replace_folder, temporary_beside

_HEADER = (*[f for f in RECORD_FIELDS if f not in ("voice", "face")], *PLACES)


class StoreWriter:
    """Writes a store record by record, in bounded memory.

    Args:
        folder: where the store will be; must not exist yet, or hold a store to be replaced.
        features: log-mel settings as dict (kept, and compared with a model's later).
        side: side of the faces in pixels.
        source: what the store was made from: layout, paths, settings.
        keep_speech: whether speech is kept beside the log-mels.
        keep_landmarks: whether every face comes with its landmarks.
        zoom: how much larger the faces are than the template lays them.
        temporary: where it is written until it is whole, on the same disk; default: a name private to this
            process. What lies there is replaced.
    """

    def __init__(
        self,
        folder: str | Path,
        features: dict,
        side: int = 64,
        source: dict | None = None,
        temporary: str | Path | None = None,
        keep_speech: bool = False,
        zoom: float = 1.0,
        keep_landmarks: bool = False,
    ):
        self.folder = Path(folder)
        self.features, self.side, self.source, self.zoom = features, side, source or {}, zoom
        self._temporary = temporary_beside(self.folder) if temporary is None else Path(temporary)
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        self._voices = (self._temporary / "voices.npy").open("wb")
        self._faces = (self._temporary / "faces.npy").open("wb")
        self._visible_box = (self._temporary / "inside.npy").open("wb")
        self._records = (self._temporary / "records.csv").open("w", newline="", encoding="utf-8")
        self._speech = (self._temporary / "speech.npy").open("wb") if keep_speech else None
        self._landmarks = (self._temporary / "landmarks.npy").open("wb") if keep_landmarks else None
        self._columns = (*_HEADER, *(SPEECH_PLACES if keep_speech else ()))
        self._rows = csv.DictWriter(self._records, self._columns)
        self._rows.writeheader()
        self._frames = self._face_count = self._record_count = self._samples = 0
        self._raw_log_mel = True
        self._write_headers()

    def _write_headers(self) -> None:
        """Array headers for what is written so far. NumPy pads a header for growth along the first axis,
        so the final one overwrites the first in place."""
        for file, shape, dtype in (
            (self._voices, (self._frames, self.features["n_mels"]), np.float16),
            (self._faces, (self._face_count, self.side, self.side, 3), np.uint8),
            (self._visible_box, (self._face_count, 4), np.int16),
            (self._speech, (self._samples,), np.int16),
            (self._landmarks, (self._face_count, POINTS, 2), np.float32),
        ):
            if file is None:
                continue
            file.seek(0)
            descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
            header = {"descr": descr, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.seek(0, os.SEEK_END)

    def add(
        self,
        record: Record,
        log_mel: np.ndarray | None = None,
        face: np.ndarray | None = None,
        speech: np.ndarray | None = None,
        level: np.ndarray | None = None,
        visible_box: np.ndarray | None = None,
        landmarks: np.ndarray | None = None,
    ) -> None:
        """Append one record.

        Args:
            record: its labels.
            log_mel: (mel bins, frames) normalised, not repeated; None for a face alone.
            face: uint8 (side, side, 3); None for a voice alone.
            speech: int16 (samples,), what `log_mel` shows; written if the store keeps speech.
            level: (2, mel bins), each bin's mean and standard deviation of `log_mel`
                (log_mel.normalise_with_stats), None or NaN where not known; an encoder
                of raw log-mels refuses such a store.
            visible_box: int (4,), left, top, right and bottom, in pixels, of the part of `face` that shows
                its image; None for all.
            landmarks: float (68, 2), x and y of the face's landmarks in fractions of the side, where the
                store keeps them.
        """
        row = {k: v for k, v in asdict(record).items() if k in _HEADER and v is not None}
        if log_mel is not None:
            frames = np.ascontiguousarray(log_mel.T, dtype=np.float16)
            if level is None or not np.isfinite(level).all():
                self._raw_log_mel = False
            else:
                self._voices.write(np.ascontiguousarray(level, dtype=np.float16).tobytes())
                self._frames += len(level)
            row |= {"voice_offset": self._frames, "voice_frames": len(frames)}
            self._voices.write(frames.tobytes())
            self._frames += len(frames)
        if face is not None:
            if face.shape != (self.side, self.side, 3) or face.dtype != np.uint8:
                raise StoreError(
                    f"{record.source}: a face must be uint8 ({self.side}, {self.side}, 3), "
                    f"not {face.dtype} {face.shape}."
                )
            row["face_index"] = self._face_count
            self._faces.write(np.ascontiguousarray(face).tobytes())
            box = (0, 0, self.side, self.side) if visible_box is None else visible_box
            self._visible_box.write(np.array(box, dtype=np.int16).tobytes())
            if self._landmarks is not None:
                self._landmarks.write(np.array(landmarks, dtype=np.float32).reshape(POINTS, 2).tobytes())
            self._face_count += 1
        if speech is not None and self._speech is not None:
            if speech.ndim != 1 or speech.dtype != np.int16:
                raise StoreError(
                    f"{record.source}: speech must be int16 (samples,), not {speech.dtype} {speech.shape}."
                )
            row |= {"speech_offset": self._samples, "speech_samples": len(speech)}
            self._speech.write(np.ascontiguousarray(speech).tobytes())
            self._samples += len(speech)
        self._rows.writerow(row)
        self._record_count += 1

    def attach(self, name: str, content: str) -> None:
        """Put a further text file into the store."""
        (self._temporary / name).write_text(content, encoding="utf-8", newline="")

    def finish(self) -> Path:
        """Complete the store and give it its name."""
        self._write_headers()
        self._close()
        about = {
            "version": VERSION,
            "records": self._record_count,
            "faces": self._face_count,
            "frames": self._frames,
            "side": self.side,
            "zoom": self.zoom,
            "features": self.features,
            "levels": self._raw_log_mel,
            "source": self.source,
            **({} if self._speech is None else {"samples": self._samples}),
        }
        (self._temporary / "store.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        replace_folder(self._temporary, self.folder)
        return self.folder

    def abort(self) -> None:
        self._close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _close(self) -> None:
        files = (self._voices, self._faces, self._visible_box, self._records, self._speech, self._landmarks)
        for file in files:
            if file is not None:
                file.close()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            self.abort()
