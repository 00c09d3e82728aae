"""Keep the speech of a waveform and drop the rest.

The WebRTC detector says of every 20 ms whether it is voiced; a collector with hysteresis, the one of its
well-known example (github.com/wiseman/py-webrtcvad, example.py), turns these flags into stretches of speech:
it starts when nearly all of the last few frames are voiced (and keeps these frames, so that no onset is
lost) and stops when nearly all of the last few are not.

So what follows a word, 0.1 to 0.2 s, is kept with it. Where that is digital silence (edited films, calls with
a noise gate, lossy codecs) it is dropped frame by frame: its log-mel lies so far below all else that a few
frames of it, normalised with the rest, would change what an embedder hears.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import AudioError, DataError
from .decode import SAMPLE_RATE

_SILENT = 1.5 / 32768  # digital silence, also where it was dithered by one step of 16 bits


@dataclass(frozen=True)
class VadSettings:
    """How speech is told from the rest. A store and a checkpoint hold the settings of their own voices.

    Attributes:
        aggressiveness: 0 (keeps most) to 3 (drops most), the mode of the WebRTC detector.
        frame_ms: length of the piece judged at once: 10, 20 or 30 ms.
        padding_ms: length of the stretch looked back on, at least one frame, in whole frames. The released
            code of Wen et al. has 50 ms, which is two frames (models/convert.py); here it is three.
        ratio: share of that stretch that must be voiced to start, or unvoiced to stop; in [0, 1). More
            than this share is needed.

    Raises:
        DataError: a value out of its range.
    """

    aggressiveness: int = 2
    frame_ms: int = 20
    padding_ms: int = 60
    ratio: float = 0.9

    def __post_init__(self) -> None:
        if self.aggressiveness not in (0, 1, 2, 3):
            raise DataError(f"aggressiveness is {self.aggressiveness!r}; give 0, 1, 2 or 3.")
        if self.frame_ms not in (10, 20, 30):
            raise DataError(f"frame_ms is {self.frame_ms!r}; WebRTC judges frames of 10, 20 or 30 ms.")
        if not isinstance(self.padding_ms, (int, float)) or not self.frame_ms <= self.padding_ms <= 60_000:
            raise DataError(
                f"padding_ms is {self.padding_ms!r}; give at least one frame ({self.frame_ms} ms), "
                "at most a minute."
            )
        if not isinstance(self.ratio, (int, float)) or not 0 <= self.ratio < 1:
            raise DataError(f"ratio is {self.ratio!r}; give a share from 0 up to, but not including, 1.")

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

    Feeding a recording in blocks of any size gives exactly what feeding it whole gives. The detector learns
    the background as it goes, so use a new collector for every recording.

    Args:
        settings: the thresholds.
        is_speech: stands in for the detector: called with the bytes of one frame (int16) and the rate in
            Hz, tells whether it is voiced. Default: a new `webrtcvad.Vad`.

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

    def feed(self, block: np.ndarray) -> np.ndarray:
        """Take the next samples, give the speech decided upon so far.

        Args:
            block: float (samples,), any length, 16 kHz, in [-1, 1].

        Returns:
            float32 (samples kept,), whole frames, none of them digital silence; maybe empty.
        """
        size = self.settings.frame_samples
        block = np.asarray(block, dtype=np.float32)
        if block.ndim != 1:
            raise AudioError(f"speech is looked for in (samples,), not in the shape {block.shape}.")
        samples = np.concatenate([self._rest, block]) if len(self._rest) else block
        whole = len(samples) - len(samples) % size
        self._rest = samples[whole:].copy()
        samples = samples[:whole]
        if not whole:
            return samples
        flags = np.concatenate([self._flags, self._judge(samples)])
        samples = np.concatenate([self._waiting, samples]) if len(self._waiting) else samples
        # Frame i of `flags` lies at i - offset in `samples`: what is kept already is not held any more.
        offset = len(flags) - len(samples) // size
        spans, state_start = self._spans(flags)
        kept = [
            samples[(max(first, offset) - offset) * size : (last - offset) * size] for first, last in spans
        ]
        back = max(state_start, len(flags) - self.settings.padding_frames + 1)
        self._flags = flags[back:]
        self._waiting = samples[len(samples) if self._triggered else (back - offset) * size :].copy()
        frames = np.concatenate(kept or [np.zeros(0, dtype=np.float32)]).reshape(-1, size)
        sounding = np.maximum(frames.max(axis=1), -frames.min(axis=1)) > _SILENT
        return (frames if sounding.all() else frames[sounding]).reshape(-1)

    def flush(self) -> np.ndarray:
        """End the recording: nothing more is kept of it, and the collector must not be used again.

        Returns:
            float32 (0,): speech is given out as soon as it is decided upon; a last piece shorter than a frame
            and frames that did not trigger are dropped.
        """
        self._flags = self._flags[:0]
        self._waiting = self._waiting[:0]
        self._rest = self._rest[:0]
        return np.zeros(0, dtype=np.float32)

    def _judge(self, samples: np.ndarray) -> np.ndarray:
        """(frames * frame_samples,) -> bool (frames,). The only loop over frames in this package."""
        scaled = samples * np.float32(32768)
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
    return SpeechCollector(settings).feed(waveform)


def _windows(wanted: np.ndarray, look: int, needed: int) -> tuple[np.ndarray, np.ndarray]:
    """Where `needed` wanted frames lie within `look` frames: indices of the first and the last of them.

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
