"""What a voice encoder takes of the speech in a recording. Its attribute `takes` says which of three:

    LOG_MEL      log-mel (n_mels, frames), each bin of mean 0 and variance 1 over the clip
    RAW_LOG_MEL  log-mel (n_mels, frames) as it is
    SPEECH       the speech itself, float32 (samples,) at 16 kHz in [-1, 1]; the encoder makes a spectrogram
                 or filterbank of it

Log-mels are repeated up to `FeatureSettings.min_frames`. Of speech the first SPEECH_SECONDS are taken, so
that an hour of it needs no more memory than half a minute; an encoder repeats it as its own settings say.
"""

from __future__ import annotations

import numpy as np
import torch

from voice2face_gan.audio.log_mel import FeatureSettings, log_mel, normalise, tile_to
from voice2face_gan.errors import DataError

LOG_MEL, RAW_LOG_MEL, SPEECH = TAKES = ("log_mel", "raw_log_mel", "speech")
SPEECH_RATE = 16_000  # Hz
SPEECH_SECONDS = 30.0
SPEECH_SAMPLES = round(SPEECH_SECONDS * SPEECH_RATE)


def encoder_input(
    speech: np.ndarray | torch.Tensor, settings: FeatureSettings, takes: str = LOG_MEL
) -> torch.Tensor:
    """Input of a voice encoder for a clip.

    Args:
        speech: float32 (samples,) at the settings' sampling rate, in [-1, 1].
        settings: of the log-mel.
        takes: what the encoder takes.
    Returns:
        (n_mels, frames), or (samples,) for SPEECH.
    Raises:
        DataError: no samples, or SPEECH of another rate than 16 kHz.
    """
    if takes != SPEECH:
        return of_log_mel(log_mel(speech, settings), settings, takes)
    check_rate(settings.sample_rate, takes)
    speech = torch.as_tensor(speech)
    if not speech.shape[-1]:
        raise DataError("there is no speech in the clip.")
    return speech[..., :SPEECH_SAMPLES]


def of_log_mel(mel: torch.Tensor, settings: FeatureSettings, takes: str = LOG_MEL) -> torch.Tensor:
    """Input of an encoder of log-mels for a clip: the log-mel (n_mels, frames), which may be overwritten, is
    normalised unless the encoder takes it raw, then repeated to `min_frames`."""
    return tile_to(mel if takes == RAW_LOG_MEL else normalise(mel, out=mel), settings.min_frames)


def check_rate(rate: int, takes: str) -> None:
    """
    Raises:
        DataError: the encoder takes speech, and this is of another sampling rate than 16 kHz.
    """
    if takes == SPEECH and rate != SPEECH_RATE:
        raise DataError(f"this voice encoder takes speech at {SPEECH_RATE} Hz, not at {rate} Hz.")
