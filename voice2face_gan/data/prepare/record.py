"""One record of a layout -> the arrays that a store keeps of it, and what had to be dropped and why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from voice2face_gan.audio.decode import source_name, stream_audio
from voice2face_gan.audio.log_mel import LogMelStream, normalise_with_stats
from voice2face_gan.audio.vad import SpeechCollector
from voice2face_gan.data.layouts.base import ALIGNED, RawRecord
from voice2face_gan.data.parquet_cells import CellError, media_name, open_media
from voice2face_gan.data.prepare.settings import PrepareSettings
from voice2face_gan.data.store import to_int16
from voice2face_gan.data.video import is_video, video_frames
from voice2face_gan.errors import AudioError, ImageError, NoSpeechError, VoiceToFaceError
from voice2face_gan.faces.align import align, plain
from voice2face_gan.faces.detect import NoFaceError, choose, detector
from voice2face_gan.faces.image_io import open_image

_MAX_FLOAT16 = 60_000.0  # float16 ends at 65,504, and others' log-mels may be in any unit
_BLOCK_SECONDS = 10.0  # decoded at a time: bounds memory, and what is decoded beyond the limit


@dataclass
class Item:
    """A prepared record.

    Attributes:
        log_mel: float16 (2 + frames, mel bins), or None: each bin's mean and standard deviation
            (`normalise_with_stats`; NaN where they are not known), then the normalised frames.
        faces: uint8 (side, side, 3) each: at most one of an image, several of a video.
        visible_box: left, top, right and bottom, in pixels, of the part of each face that shows the image
            (`align.visible_box`).
        dropped: (part, file, reason, sentence) of what failed; part is "voice" or "face".
        noted: (part, file, sentence) of what was taken in part, such as the first image of an animation.
        speech_seconds: length of what `log_mel` shows.
        speech: int16 (samples,), what `log_mel` shows, where the settings ask for it and it is a recording.
    """

    log_mel: np.ndarray | None = None
    faces: list[np.ndarray] = field(default_factory=list)
    visible_box: list[tuple[int, int, int, int]] = field(default_factory=list)
    dropped: list[tuple[str, str, str, str]] = field(default_factory=list)
    noted: list[tuple[str, str, str]] = field(default_factory=list)
    speech_seconds: float = 0.0
    speech: np.ndarray | None = None


class Clock:
    """Adds up where the time goes.

    Attributes:
        seconds: step -> seconds; the steps are decode, vad, log-mel and faces.
        audio_seconds: length of the recordings decoded.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.audio_seconds = 0.0

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] += time.perf_counter() - start


def prepare_item(record: RawRecord, settings: PrepareSettings, face_state: str, clock: Clock) -> Item:
    """Prepare one record. A file that fails is noted in the item; whatever else goes wrong is raised.

    Args:
        record: with absolute paths.
        settings: what to do.
        face_state: "raw", "crop" or "aligned", of the layout.
        clock: measures.
    """
    item = Item()
    if record.voice:
        try:
            if Path(record.voice).suffix.lower() == ".npy":
                item.log_mel = _stored_mel(record.voice, settings, clock)
            else:
                item.log_mel, item.speech = _voice(record.voice, settings, clock)
            item.speech_seconds = (len(item.log_mel) - 2) * settings.features.hop_ms / 1000
        except VoiceToFaceError as error:
            reason = "too little speech" if isinstance(error, NoSpeechError) else "unreadable recording"
            item.dropped.append(("voice", record.voice, reason, str(error)))
    if record.face:
        with clock("faces"):
            _faces(record, settings, face_state, item)
    return item


def _voice(path: str, settings: PrepareSettings, clock: Clock) -> tuple[np.ndarray, np.ndarray | None]:
    """`Item.log_mel` of a recording: decoded, speech kept, not repeated. And that speech, int16 (samples,),
    if the settings ask for it.

    Raises:
        AudioError, NoSpeechError: as `audio.voice.voice_features`.
        CellError: as `cells.open_media`.
    """
    features, limits = settings.features, settings.voice
    rate = features.sample_rate
    most = int(limits.max_seconds * rate)
    collector = SpeechCollector(settings.vad) if limits.vad else None
    stream = LogMelStream(features)
    pieces: list[np.ndarray] = []
    kept = 0
    ended = False
    source = open_media(path)
    with closing(stream_audio(source, rate, _BLOCK_SECONDS)) as blocks:
        while kept < most and not ended:
            with clock("decode"):
                block = next(blocks, None)
            ended = block is None
            block = np.zeros(0, dtype=np.float32) if ended else block
            clock.audio_seconds += len(block) / rate
            with clock("vad"):
                speech = block if collector is None else collector.feed(block)
                if ended and collector is not None:
                    speech = np.concatenate([speech, collector.flush()])
            speech = speech[: most - kept]
            kept += len(speech)
            if limits.keep_speech:
                pieces.append(to_int16(speech))
            with clock("log-mel"):
                stream.feed(speech)
    if kept < limits.min_seconds * rate:
        raise NoSpeechError(kept / rate, limits.min_seconds, source_name(source))
    with clock("log-mel"):
        log_mel = _rows(stream.finish())
    return log_mel, np.concatenate(pieces) if limits.keep_speech else None


def _stored_mel(path: str, settings: PrepareSettings, clock: Clock) -> np.ndarray:
    """`Item.log_mel` of a log-mel that somebody else made.

    Wen's release stores (frames, 64); (64, frames) is taken too. Which way round a square one lies is not to
    be seen: it is read as Wen's.
    """
    name, bins = Path(path).name, settings.features.n_mels
    with clock("decode"):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise AudioError(f"{name}: there is no such file; check the path.") from error
        except Exception as error:  # a damaged header raises almost anything
            raise AudioError(f"{name}: is no NumPy array of numbers, or is damaged.") from error
        if not isinstance(array, np.ndarray) or array.ndim != 2 or bins not in array.shape:
            shape = getattr(array, "shape", "that of an archive")
            raise AudioError(f"{name}: has the shape {shape}; a log-mel of {bins} bins is needed.")
        if array.dtype.kind not in "fiu":
            raise AudioError(f"{name}: holds {array.dtype}, not numbers.")
        array = array if array.shape[1] == bins else array.T
        most = int(settings.voice.max_seconds * 1000 / settings.features.hop_ms)
        mel = np.ascontiguousarray(array[:most].T, dtype=np.float32)
    hop_seconds = settings.features.hop_ms / 1000
    if mel.shape[1] * hop_seconds < settings.voice.min_seconds:
        raise NoSpeechError(mel.shape[1] * hop_seconds, settings.voice.min_seconds, name)
    if not np.isfinite(mel).all():
        raise AudioError(f"{name}: holds values that are not numbers (NaN or infinite).")
    with clock("log-mel"):
        rows = _rows(torch.from_numpy(mel))
        rows[:2] = np.nan
        return rows


def _rows(mel: torch.Tensor) -> np.ndarray:
    """`Item.log_mel` of a log-mel (mel bins, frames), which is overwritten."""
    rows = torch.empty(2 + mel.shape[1], mel.shape[0], dtype=torch.float16)
    normalised, taken = normalise_with_stats(mel, out=mel)
    rows[:2], rows[2:] = taken.clamp(-_MAX_FLOAT16, _MAX_FLOAT16), normalised.t()
    return rows.numpy()


def _faces(record: RawRecord, settings: PrepareSettings, face_state: str, item: Item) -> None:
    """Fill `item` with the faces of a record's image or video."""
    wanted = settings.faces.detector
    kind = ("none" if face_state == ALIGNED else "hog") if wanted == "auto" else wanted
    notes: list[str] = []
    least_side = settings.faces.side * 2 if kind == "none" else detector(kind).least_side
    try:
        if is_video(record.face):
            images = video_frames(open_media(record.face), settings.faces.frames)
        else:
            images = iter((open_image(record.face, least_side, notes),))
        failures: list[NoFaceError] = []
        for image in images:
            try:
                face, box = _face(image, record, settings, kind)
                item.faces.append(face)
                item.visible_box.append(box)
            except NoFaceError as error:
                failures.append(error)
        if failures and not item.faces:
            raise failures[0]
        item.noted += [("face", record.face, note) for note in notes]
    except NoFaceError as error:
        item.dropped.append(("face", record.face, error.reason, str(error)))
    except (ImageError, CellError) as error:
        kind = "unreadable video" if is_video(record.face) else "unreadable image"
        item.dropped.append(("face", record.face, kind, str(error)))


def _face(
    image: Image.Image, record: RawRecord, settings: PrepareSettings, kind: str
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """An image's face, and what of it shows the image."""
    faces = settings.faces
    if kind == "none":
        whole = (0, 0, faces.side, faces.side)
        return plain(image, faces.side, faces.crop or None, faces.zoom), whole
    near = None
    if record.face_at is not None:
        near = (record.face_at[0] * image.width, record.face_at[1] * image.height)
    found = choose(
        detector(kind).find(image), faces.several, near, faces.min_eye_distance, media_name(record.face)
    )
    return align(image, found.points, faces.side, faces.zoom)
