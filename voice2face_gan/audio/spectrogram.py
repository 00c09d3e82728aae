"""Speech -> complex power-law spectrogram, the input of Speech2Face's voice encoder.

    x   float32 (samples,), in [-1, 1], repeated from its start to 6 s if shorter
    S   FFT_512 of (25 ms of x, periodic Hann window, zeros after it), every 10 ms, none centred or padded
    out sgn(Re S) |Re S|^0.3 and sgn(Im S) |Im S|^0.3, float32 (2, 257, frames); 598 frames for 6 s

Oh et al., "Speech2Face: Learning the Face Behind a Voice", CVPR 2019: 6 s, 16 kHz, Hann 25 ms, hop
10 ms, 512 frequency bands, and the power law of Ephrat et al., "Looking to Listen at the Cocktail Party",
2018, applied to real and imaginary parts independently. Neither part is an angle or a magnitude.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from voice2face_gan.audio.settings import FrameSettings
from voice2face_gan.errors import DataError


@dataclass(frozen=True)
class SpectrogramSettings(FrameSettings):
    """A spectrogram's constants.

    Attributes:
        sample_rate: of the waveform, in Hz.
        window_ms, hop_ms: length of a frame and distance between frames, in milliseconds.
        n_fft: points of the Fourier transform; windowed frames get zeros after them up to it.
        power: exponent of the magnitude of each part, in (0, 1].
        seconds: shorter speech is repeated up to this length.

    Raises:
        DataError: a value that makes no spectrogram.
    """

    kind: ClassVar[str] = "spectrogram"

    sample_rate: int = 16_000
    window_ms: float = 25
    hop_ms: float = 10
    n_fft: int = 512
    power: float = 0.3
    seconds: float = 6.0

    def __post_init__(self) -> None:
        self.check_numbers()
        if min(self.sample_rate, self.hop) < 1 or self.window < 2 or self.n_fft < self.window:
            raise DataError(
                "spectrogram settings: 2 <= window <= n_fft and a positive rate and hop are needed."
            )
        if not 0 < self.power <= 1 or self.least_samples < self.window:
            raise DataError("spectrogram settings: power is in (0, 1], and seconds hold one window at least.")

    @property
    def bins(self) -> int:
        """Frequencies, from 0 Hz to half the sample rate."""
        return self.n_fft // 2 + 1

    @property
    def least_samples(self) -> int:
        """Samples up to which shorter speech is repeated."""
        return round(self.sample_rate * self.seconds)

    def frames(self, samples: int) -> int:
        """Frames of so many samples, after they were repeated."""
        return 1 + (max(samples, self.least_samples) - self.window) // self.hop


def spectrogram(speech: Tensor, settings: SpectrogramSettings = SpectrogramSettings()) -> Tensor:
    """The spectrogram of one clip.

    Args:
        speech: float (samples,) in [-1, 1], at least one sample.
        settings: its constants.
    Returns:
        float32 (2, bins, frames): real and imaginary part; finite for finite speech.
    Raises:
        DataError: no samples.
    """
    return spectrograms(speech[None], settings)[0]


@torch.no_grad()
def spectrograms(speech: Tensor, settings: SpectrogramSettings = SpectrogramSettings()) -> Tensor:
    """The spectrograms of clips of one length, where the batch lies.

    Args:
        speech: float (B, samples) in [-1, 1], at least one sample each.
        settings: their constants.
    Returns:
        float32 (B, 2, bins, frames), as of `spectrogram`.
    Raises:
        DataError: no samples.
    """
    speech = repeat_to(speech.to(torch.float32), settings.least_samples)
    # Frames are cut from the signal and zeros come after the window. torch.stft would lay the window in the
    # middle of n_fft samples, which takes a frame of 6 s away and turns every phase.
    frames = speech.unfold(1, settings.window, settings.hop) * _window(settings, speech.device)
    spectrum = torch.view_as_real(torch.fft.rfft(frames, n=settings.n_fft))  # (B, frames, bins, 2)
    return compress(spectrum, settings.power).permute(0, 3, 2, 1).contiguous()


def compress(x: Tensor, power: float = 0.3) -> Tensor:
    """sgn(x) |x|^power of every element."""
    return x.sign() * x.abs().pow(power)


def repeat_to(speech: Tensor, samples: int) -> Tensor:
    """Repeat speech along its last dimension, from the start again, to `samples`; longer speech stays.

    Args:
        speech: (..., samples), at least one.
    Raises:
        DataError: no samples.
    """
    have = speech.shape[-1]
    if have == 0:
        raise DataError("speech without samples cannot be repeated.")
    if have >= samples:
        return speech
    times = -(-samples // have)
    return speech.repeat(*[1] * (speech.dim() - 1), times)[..., :samples]


@functools.lru_cache(maxsize=16)
def _window(settings: SpectrogramSettings, device: torch.device) -> Tensor:
    return torch.hann_window(settings.window, periodic=True, dtype=torch.float64).float().to(device)
