"""Keep the speech of a waveform and drop the rest.

The WebRTC detector classifies every 20 ms as voiced or not; a collector with hysteresis, the one of its
well-known example (github.com/wiseman/py-webrtcvad, example.py), turns these flags into stretches of speech:
it starts when nearly all of the last few frames are voiced (and keeps these frames, so that no onset is
lost) and stops when nearly all of the last few are not.

So what follows a word, 0.1 to 0.2 s, is kept with it. Where that is digital silence (edited films, calls with
a noise gate, lossy codecs) it is dropped frame by frame: its log-mel lies so far below all else that a few
frames of it, normalised with the rest, would change the input of an encoder.

Where a target level is set, the detector gets a copy of soft recordings, raised to it (level.py).
The samples are kept as recorded. A gain is decided for each stretch of ten seconds: so much is held back, and
`flush` gives what is left at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from voice2face_gan.audio.decode import SAMPLE_RATE
from voice2face_gan.audio.level import STRETCH_SECONDS, SpeechGain
from voice2face_gan.errors import AudioError, DataError

_MAX_SILENCE = 1.5 / 32768  # digital silence, also where it was dithered by one step of 16 bits

_BACKGROUND_SECONDS = 5.0  # of a recording, from which a new detector learns its background


@dataclass(frozen=True)
class VadSettings:
    """Settings of speech detection. A store and a checkpoint hold those of their own voices.

    Attributes:
        aggressiveness: 0 (keeps most) to 3 (drops most), the mode of the WebRTC detector.
        frame_ms: length of the piece classified at once: 10, 20 or 30 ms.
        padding_ms: length of the stretch looked back on, at least one frame, in whole frames. The released
            code of Wen et al. has 50 ms, which is two frames (models/exchange/wen2019_weights.py); here it is
            three.
        ratio: share of that stretch that must be voiced to start, or unvoiced to stop; in [0, 1). More
            than this share is needed.
        target_level_db: level to which soft recordings are raised for the detector, in dB relative to full
            scale, from -60 to 0; None leaves them as they are, as the release of Wen et al. and every store
            and checkpoint that does not name this setting.

    Raises:
        DataError: a value out of its range.
    """

    aggressiveness: int = 2
    frame_ms: int = 20
    padding_ms: int = 60
    ratio: float = 0.9
    target_level_db: float | None = None

    def __post_init__(self) -> None:
        if self.aggressiveness not in (0, 1, 2, 3):
            raise DataError(f"aggressiveness is {self.aggressiveness!r}; give 0, 1, 2 or 3.")
        if self.frame_ms not in (10, 20, 30):
            raise DataError(f"frame_ms is {self.frame_ms!r}; WebRTC takes frames of 10, 20 or 30 ms.")
        if not isinstance(self.padding_ms, (int, float)) or not self.frame_ms <= self.padding_ms <= 60_000:
            raise DataError(
                f"padding_ms is {self.padding_ms!r}; give at least one frame ({self.frame_ms} ms), "
                "at most a minute."
            )
        if not isinstance(self.ratio, (int, float)) or not 0 <= self.ratio < 1:
            raise DataError(f"ratio is {self.ratio!r}; give a share from 0 up to, but not including, 1.")
        level = self.target_level_db
        numeric = isinstance(level, (int, float)) and not isinstance(level, bool)
        if level is not None and not (numeric and -60 <= level <= 0):
            raise DataError(f"target_level_db is {level!r}; give -60 to 0 (dB), or none to raise nothing.")

    @property
    def frame_samples(self) -> int:
        """Samples of one frame at 16 kHz."""
        return SAMPLE_RATE * self.frame_ms // 1000

    @property
    def padding_frames(self) -> int:
        """Frames looked back on."""
        return int(self.padding_ms / self.frame_ms)

    @property
    def frames_needed(self) -> int:
        """Frames of one kind among `padding_frames` that change the state."""
        return int(self.ratio * self.padding_frames) + 1


class SpeechCollector:
    """Collects the speech of one recording, block by block.

    Feeding a recording in blocks of any size, then flushing, gives exactly what feeding it whole and flushing
    gives. The detector learns the background as it goes, so use a new collector for every recording. With a
    target level up to ten seconds are held back, and five remembered (1 MB).

    Args:
        settings: the thresholds.
        is_speech: stands in for the detector: called with the bytes of one frame (int16) and the rate in
            Hz, returns True if it is voiced. Default: a new `webrtcvad.Vad`.

    Raises:
        AudioError: webrtcvad is not installed.
    """

    def __init__(
        self, settings: VadSettings | None = None, is_speech: Callable[[bytes, int], bool] | None = None
    ):
        self.settings = settings or VadSettings()
        self._is_speech = is_speech or _detector(self.settings.aggressiveness)
        self._triggered = False
        # Flags of the last frames since the state last changed, one fewer than are looked back on. Until
        # the collector has triggered, the samples of these frames wait, for they may yet be kept.
        self._flags = np.zeros(0, dtype=bool)
        self._waiting = np.zeros(0, dtype=np.float32)
        self._rest = np.zeros(0, dtype=np.float32)
        size, target = self.settings.frame_samples, self.settings.target_level_db
        self._stretch = int(STRETCH_SECONDS * SAMPLE_RATE) // size * size
        self._gain = None if target is None else SpeechGain(target, size)
        self._held: list[np.ndarray] = []
        self._held_samples = 0
        self._past = np.zeros(0, dtype=np.float32)  # the samples before what is held
        self._factor = 1.0
        self._own = is_speech is None
        self._frames = 0  # classified so far
        self._kept: list[np.ndarray] = []  # numbers of the frames kept, from the recording's beginning

    def feed(self, block: np.ndarray) -> np.ndarray:
        """Take the next samples, give the speech decided upon so far.

        Args:
            block: float (samples,), any length, 16 kHz, in [-1, 1].

        Returns:
            float32 (samples kept,), whole frames, none of them digital silence; maybe empty.
        """
        block = np.asarray(block, dtype=np.float32)
        if block.ndim != 1:
            raise AudioError(f"speech is looked for in (samples,), not in the shape {block.shape}.")
        if self._gain is None:
            return self._collect(block, 1.0)
        self._held_samples += len(block)
        if self._held_samples < self._stretch:
            self._held.append(block.copy())  # the caller may use his memory again
            return np.zeros(0, dtype=np.float32)
        samples = np.concatenate([*self._held, block])
        whole = len(samples) - len(samples) % self._stretch
        self._held, self._held_samples = [samples[whole:].copy()], len(samples) - whole
        stretches = np.split(samples[:whole], range(self._stretch, whole, self._stretch))
        return np.concatenate([self._raised(part) for part in stretches])

    def _raised(self, stretch: np.ndarray) -> np.ndarray:
        """`feed` of a stretch that has a gain of its own."""
        factor = self._gain.next(stretch)
        if factor != self._factor and self._own and len(self._past):
            # To a detector that knows the background as it was, the same one, louder, is speech: another one
            # learns it from what went before.
            self._is_speech = _detector(self.settings.aggressiveness)
            self._classify(self._past, factor)
        self._factor = factor
        size = self.settings.frame_samples
        learnt = int(_BACKGROUND_SECONDS * SAMPLE_RATE) // size * size
        self._past = stretch[-learnt:].copy()
        return self._collect(stretch, factor)

    def _collect(self, block: np.ndarray, gain: float) -> np.ndarray:
        """`feed`, of samples that the detector gets multiplied by `gain`."""
        size = self.settings.frame_samples
        samples = np.concatenate([self._rest, block]) if len(self._rest) else block
        whole = len(samples) - len(samples) % size
        self._rest = samples[whole:].copy()
        samples = samples[:whole]
        if not whole:
            return samples
        flags = np.concatenate([self._flags, self._classify(samples, gain)])
        samples = np.concatenate([self._waiting, samples]) if len(self._waiting) else samples
        # Frame i of `flags` lies at i - offset in `samples`: what is kept already is not held any more.
        offset = len(flags) - len(samples) // size
        spans, state_start = self._spans(flags)
        kept = [
            samples[(max(first, offset) - offset) * size : (last - offset) * size] for first, last in spans
        ]
        self._frames += whole // size
        begin = self._frames - len(flags)  # the number of the first of `flags`
        numbers = [np.arange(begin + max(first, offset), begin + last) for first, last in spans]
        back = max(state_start, len(flags) - self.settings.padding_frames + 1)
        self._flags = flags[back:]
        self._waiting = samples[len(samples) if self._triggered else (back - offset) * size :].copy()
        frames = np.concatenate(kept or [np.zeros(0, dtype=np.float32)]).reshape(-1, size)
        sounding = np.maximum(frames.max(axis=1), -frames.min(axis=1)) > _MAX_SILENCE
        if numbers:
            self._kept.append(np.concatenate(numbers)[sounding])
        return (frames if sounding.all() else frames[sounding]).reshape(-1)

    def flush(self) -> np.ndarray:
        """End the recording; the collector must not be used again.

        Returns:
            float32 (samples kept,): the speech in what was held back to learn its level; empty without a
            target level. A last piece shorter than a frame and frames that did not trigger are dropped.
        """
        left = np.concatenate(self._held) if self._held else np.zeros(0, dtype=np.float32)
        speech = self._raised(left) if len(left) else left
        self._held, self._held_samples = [], 0
        self._flags = self._flags[:0]
        self._waiting = self._waiting[:0]
        self._rest = self._rest[:0]
        return speech

    def intervals(self) -> list[tuple[float, float]]:
        """Intervals of the recording that were kept so far, (start, end) in seconds, in their order."""
        frames = np.concatenate(self._kept) if self._kept else np.zeros(0, dtype=int)
        edges = np.flatnonzero(np.diff(frames) > 1)
        starts = frames[np.concatenate([[0], edges + 1])] if len(frames) else frames
        ends = frames[np.concatenate([edges, [-1]])] + 1 if len(frames) else frames
        seconds = self.settings.frame_ms / 1000
        return [(float(a * seconds), float(b * seconds)) for a, b in zip(starts, ends, strict=True)]

    def _classify(self, samples: np.ndarray, gain: float) -> np.ndarray:
        """(frames * frame_samples,) -> bool (frames,). The only loop over frames in this package."""
        scaled = samples * np.float32(32768 * gain)
        np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled)
        pcm = scaled.astype("<i2").tobytes()
        step, is_speech = 2 * self.settings.frame_samples, self._is_speech
        return np.array(
            [is_speech(pcm[i : i + step], SAMPLE_RATE) for i in range(0, len(pcm), step)], dtype=bool
        )

    def _spans(self, flags: np.ndarray) -> tuple[list[tuple[int, int]], int]:
        """Run the hysteresis over flags, from one change of state to the next.

        Returns:
            The spans [first, last) of frames to keep, and where the present state began.
        """
        look, needed = self.settings.padding_frames, self.settings.frames_needed
        windows = {kind: _windows(flags == kind, look, needed) for kind in (True, False)}
        spans: list[tuple[int, int]] = []
        position = first = 0  # where the present state and, when triggered, the speech began
        while True:
            # Starting wants voiced frames, stopping wants unvoiced ones; both count from `position` only.
            starts, ends = windows[not self._triggered]
            index = np.searchsorted(starts, position)
            if index == len(starts):
                break
            end = int(ends[index])
            if self._triggered:
                spans.append((first, end + 1))
            else:
                first = max(position, end - look + 1)
            self._triggered = not self._triggered
            position = end + 1
        if self._triggered:
            spans.append((first, len(flags)))
        return spans, position


def keep_speech(
    waveform: np.ndarray, settings: VadSettings | None = None, name: str = "the recording"
) -> np.ndarray:
    """The speech of a whole waveform, its stretches joined.

    Args:
        waveform: float32 (samples,), 16 kHz mono in [-1, 1].
        settings: the thresholds; default `VadSettings()`.
        name: of the recording, for messages.

    Returns:
        float32 (samples kept,); empty when there is no speech.

    Raises:
        AudioError: not a waveform, or webrtcvad is not installed.
    """
    if np.ndim(waveform) != 1:
        raise AudioError(f"{name}: has the shape {np.shape(waveform)}; speech is looked for in (samples,).")
    collector = SpeechCollector(settings)
    speech, rest = collector.feed(waveform), collector.flush()
    return np.concatenate([speech, rest]) if len(rest) else speech


def _windows(wanted: np.ndarray, look: int, needed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the first and the last of `needed` wanted frames, wherever these lie within `look` frames.

    Both are ascending. The collector's count reaches `needed` at the first such window that begins no
    earlier than its state did: it can only do so at a wanted frame.
    """
    indices = np.flatnonzero(wanted)
    starts, ends = indices[: max(0, len(indices) - needed + 1)], indices[needed - 1 :]
    tight = ends - starts < look
    return starts[tight], ends[tight]


def _detector(aggressiveness: int) -> Callable[[bytes, int], bool]:
    try:
        import webrtcvad
    except ImportError as error:
        raise AudioError(
            "finding speech needs the package webrtcvad-wheels; install it, or go without (vad=None)."
        ) from error
    return webrtcvad.Vad(aggressiveness).is_speech
