"""The gain that raises soft speech to the level that a speech detector expects.

The WebRTC detector has fixed thresholds of loudness. Of the speech of real clips it finds 87 % when they are
turned down by 20 dB, 70 % by 30 dB and 40 % by 40 dB; raised to -20 dB first, 97, 96 and 89 %.

The level of a stretch is that which its loudest 0.3 s reach, between 200 and 4,000 Hz: clicks are shorter,
and pauses, hum and rumble do not count. The gain follows from the stretch and what came before it:

    level    of the loudest stretch so far. So the gain never rises again after a loud voice, nor after 0.3 s
             of another loud sound; soft speech beside it is not raised.
    floor    of the quietest stretch so far: a tenth of its frames lie below it, digital silence apart.
    gain     target - level, at most 40 dB. None where that is less than 15 dB, so that ordinary recordings
             are not changed; none where level and floor lie less than 12 dB apart, since speech would not
             exceed the noise; none at levels below -80 dB, the last steps of 16 bits.
"""

from __future__ import annotations

import numpy as np

from voice2face_gan.audio.decode import SAMPLE_RATE

STRETCH_SECONDS = 10.0
"""Length of the stretches that have one gain each; the first ten seconds decide on themselves."""

TARGET_LEVEL_DB = -20.0
"""The target of new stores: the middle of ordinary recordings."""

MIN_GAIN_DB, MAX_GAIN_DB = 15.0, 40.0
MIN_DYNAMICS_DB = 12.0
MIN_LEVEL_DB = -80.0
_DIGITAL_SILENCE_DB = -100.0
_LOUD_SECONDS = 0.3
_FLOOR_PERCENTILE = 10
_BAND_HZ = (200, 4000)
_MIN_POWER = 1e-14


class SpeechGain:
    """The level of one recording so far, and the gain of each stretch of it.

    Args:
        target_db: level wanted, in dB relative to full scale (mean square 1), of the loudest 0.3 s.
        frame_samples: of the pieces whose levels are taken, 10 to 30 ms.
    """

    def __init__(self, target_db: float, frame_samples: int):
        self._target, self._size = float(target_db), frame_samples
        self._level, self._floor = -np.inf, np.inf

    def next(self, stretch: np.ndarray) -> float:
        """The factor for the next stretch.

        Args:
            stretch: float32 (samples,), 16 kHz, in [-1, 1]; a last piece shorter than a frame does not
                count.
        Returns:
            1 or more.
        """
        levels = frame_levels(stretch, self._size)
        if len(levels):
            loud = max(1, round(_LOUD_SECONDS * SAMPLE_RATE / self._size))
            self._level = max(self._level, float(np.sort(levels)[::-1][:loud][-1]))
            sounding = levels[levels > _DIGITAL_SILENCE_DB]
            if len(sounding):
                self._floor = min(self._floor, float(np.percentile(sounding, _FLOOR_PERCENTILE)))
        gain = min(self._target - self._level, MAX_GAIN_DB)
        if gain < MIN_GAIN_DB or self._level < MIN_LEVEL_DB or self._level - self._floor < MIN_DYNAMICS_DB:
            return 1.0
        return 10 ** (gain / 20)


def frame_levels(waveform: np.ndarray, frame_samples: int) -> np.ndarray:
    """Levels between 200 and 4,000 Hz of frames side by side.

    Args:
        waveform: float (samples,), 16 kHz.
        frame_samples: length of a frame.
    Returns:
        float (whole frames,), dB relative to a mean square of 1; -140 for silence.
    """
    whole = len(waveform) // frame_samples
    window = np.hanning(frame_samples).astype(np.float32)
    frames = np.asarray(waveform[: whole * frame_samples], dtype=np.float32).reshape(whole, frame_samples)
    low, high = (round(f * frame_samples / SAMPLE_RATE) for f in _BAND_HZ)
    spectrum = np.fft.rfft(frames * window, axis=1)[:, low : high + 1]
    power = (spectrum.real**2 + spectrum.imag**2).sum(axis=1)
    return 10 * np.log10(2 * power / (frame_samples * float((window**2).sum())) + _MIN_POWER)
