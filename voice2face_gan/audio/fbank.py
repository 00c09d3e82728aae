"""Speech -> Kaldi's log-mel filterbank, the input of the Audio Spectrogram Transformer (AST).

    x   float32 (samples,), in [-1, 1]
    y   each frame of 25 ms less its mean, then y[t] = x[t] - 0.97 x[t - 1] within the frame, x[-1] = x[0]
    P   |FFT_512 of (y, symmetric Hann window, zeros)|^2, every 10 ms, none centred or padded
    M   P through 128 triangles from 20 to 8,000 Hz, even and straight on the scale 1127 ln(1 + f / 700)
    out (log(max(M, 1.1920929e-07)) - mean) / (2 std), float32 (128, frames)

Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021, as its inference and Hugging
Face's feature extractor have it: torchaudio.compliance.kaldi.fbank with window "hanning", no dither; the
waveform is not multiplied by 32768, nor is the clip's own mean taken off first, which only the original
training loader does. Clips are cut at a number of frames, 1024 (10.26 s); shorter ones get frames of zeros
before mean and deviation are taken off, so that these become -mean / (2 std), 0.467 for AudioSet, and not 0;
or they are repeated.
"""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.audio.spectrogram import repeat_to
from voice2face_gan.errors import DataError

SAMPLE_RATE = 16_000
WINDOW, HOP, N_FFT = 400, 160, 512  # samples
PRE_EMPHASIS = 0.97
F_MIN, F_MAX = 20.0, 8000.0  # Hz
FLOOR = 1.1920929e-07  # float32's epsilon


@dataclass(frozen=True)
class FbankSettings:
    """A filterbank's constants that differ between checkpoints.

    Attributes:
        mean, std: of the log-mel over the data that a checkpoint was trained on; inputs are
            (x - mean) / (2 std).
        frames: of every input.
        n_mels: bins.
        repeated: shorter clips are repeated; else they get frames of zeros.
    Raises:
        DataError: a value that makes no filterbank.
    """

    mean: float = -4.2677393
    std: float = 4.5689974
    frames: int = 1024
    n_mels: int = 128
    repeated: bool = False

    def __post_init__(self) -> None:
        if not self.std > 0 or min(self.frames, self.n_mels) < 1:
            raise DataError(
                "filterbank settings: a deviation above 0, and at least one frame and bin are needed."
            )

    @property
    def samples(self) -> int:
        """Samples of an input whose frames are all full."""
        return WINDOW + (self.frames - 1) * HOP

    def to_dict(self) -> dict[str, Any]:
        """All settings, for JSON."""
        return asdict(self)


NORMS = {
    "audioset": FbankSettings(),
    "esc-50": FbankSettings(-6.6268077, 5.358466, 512),
    "speech-commands": FbankSettings(-6.845978, 5.5654526, 128),
    # Of the AST that Kacper's voice encoders begin with; its short clips are repeated.
    "kacper": FbankSettings(-5.460994, 3.1129124, 1024, repeated=True),
}


@torch.no_grad()
def fbanks(speech: Tensor, settings: FbankSettings = NORMS["audioset"]) -> Tensor:
    """The normalised filterbanks of clips of one length, where the batch lies.

    Args:
        speech: float (B, samples) in [-1, 1], at least one sample each.
        settings: their constants.
    Returns:
        float32 (B, n_mels, settings.frames).
    Raises:
        DataError: no samples.
    """
    if settings.repeated:
        speech = repeat_to(speech, settings.samples)
    mels = log_fbanks(speech[:, : settings.samples], settings.n_mels)
    missing = settings.frames - mels.shape[2]
    if missing > 0:
        mels = torch.nn.functional.pad(mels, (0, missing))  # zeros of the log-mel, not of the signal
    return (mels - settings.mean) / (2 * settings.std)


def log_fbanks(speech: Tensor, n_mels: int = 128) -> Tensor:
    """The filterbanks of clips before normalisation and padding: (B, samples) -> (B, n_mels, frames); clips
    shorter than a window are followed by zeros.

    Raises:
        DataError: no samples.
    """
    if speech.shape[-1] == 0:
        raise DataError("speech without samples has no filterbank.")
    speech = torch.nn.functional.pad(speech.to(torch.float32), (0, max(0, WINDOW - speech.shape[-1])))
    window, filters = _constants(n_mels, speech.device)
    frames = speech.unfold(1, WINDOW, HOP)
    frames = frames - frames.mean(dim=2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
    spectrum = torch.fft.rfft((frames - PRE_EMPHASIS * before) * window, n=N_FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    return (power @ filters).clamp(min=FLOOR).log().transpose(1, 2)


@functools.lru_cache(maxsize=8)
def _constants(n_mels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The symmetric Hann window (400,), and the triangles (257, n_mels), straight on the mel scale."""

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    corners = np.linspace(mel(F_MIN), mel(F_MAX), n_mels + 2)
    bins = mel(np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    triangles = np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
    triangles[-1] = 0  # Kaldi has no bin at half the sample rate
    window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64)
    return window.float().to(device), torch.from_numpy(triangles.astype(np.float32)).to(device)
