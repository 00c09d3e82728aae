"""Views of a recording for a person: its envelope, the speech that was kept, its log-mel."""

from dataclasses import dataclass

import numpy as np

from voice2face_gan.audio.decode import SAMPLE_RATE
from voice2face_gan.audio.log_mel import FeatureSettings, LogMelStream
from voice2face_gan.audio.vad import SpeechCollector, VadSettings

_BLOCK = 30 * SAMPLE_RATE
_RANGE = 12.0  # nats below the loudest point, about 52 dB, that the image of the log-mel spans


@dataclass
class Inspection:
    """Views of one recording.

    Attributes:
        seconds: its length.
        speech: intervals that the voice activity detector kept, (start, end) in seconds, in their order.
        envelope: float32 (columns, 2), least and greatest sample of each column, in [-1, 1].
        log_mel: uint8 (n_mels, columns), 255 the loudest point of the whole recording (speech or not), 0
            that of 12 nats below it and less; the lowest frequency comes first.
    """

    seconds: float
    speech: list[tuple[float, float]]
    envelope: np.ndarray
    log_mel: np.ndarray


def inspect(
    waveform: np.ndarray,
    vad: VadSettings | None = None,
    features: FeatureSettings | None = None,
    columns: int = 600,
) -> Inspection:
    """Views of a waveform.

    Args:
        waveform: float32 (samples,), at least one, 16 kHz mono in [-1, 1].
        vad, features: settings; default those of the classes.
        columns: greatest number of columns; a short recording has one for each frame of its log-mel.
    Raises:
        AudioError: webrtcvad is not installed.
    """
    collector = SpeechCollector(vad)
    stream = LogMelStream(features or FeatureSettings())
    for start in range(0, len(waveform), _BLOCK):
        block = waveform[start : start + _BLOCK]
        collector.feed(block)
        stream.feed(block)
    collector.flush()
    mel = stream.finish().numpy()
    count = min(columns, mel.shape[1])
    frames = np.linspace(0, mel.shape[1], count, endpoint=False).astype(int)
    loudest = np.maximum.reduceat(mel, frames, axis=1)
    scaled = (loudest - loudest.max()) / _RANGE + 1
    samples = np.linspace(0, len(waveform), min(count, len(waveform)), endpoint=False).astype(int)
    ends = [np.minimum.reduceat(waveform, samples), np.maximum.reduceat(waveform, samples)]
    return Inspection(
        len(waveform) / SAMPLE_RATE,
        collector.intervals(),
        np.stack(ends, axis=1),
        (255 * scaled.clip(0, 1)).round().astype(np.uint8),
    )
