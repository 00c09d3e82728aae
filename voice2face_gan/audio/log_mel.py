"""Speech to log-mel, the input of the networks.

    x   float32 (samples,), in [-1, 1]
    y   y[t] = x[t] - 0.97 x[t - 1], with x[-1] = 0
    P   |FFT_1024 of (25 ms of y, Hamming window, zeros)|^2, every 10 ms, none centred or padded
    M   P through 64 triangles from 20 to 7,200 Hz, evenly spaced on the HTK mel scale
    out log(max(M, 1e-10)), float32 (64, frames), 100 frames a second

The front end of Wen, Singh and Raj, "Face Reconstruction from Voice using GANs" (NeurIPS 2019), except that
corners are not rounded to FFT bins and that samples run to 1: the normalisation takes such a factor out.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from voice2face_gan.audio.settings import FrameSettings
from voice2face_gan.errors import DataError

FLOOR = 1e-10
"""Least mel power before the logarithm: below what 16-bit rounding leaves in any band (about 1e-7)."""

MIN_STD = 1e-5
"""A bin whose log power varies by less (in nats, over the clip) holds no signal: it is float32 rounding."""

# Frames worked on at once: few enough for the processor's cache, enough to hide Python.
_CHUNK = 256
# Chunks joined at a time, so that an hour is some large pieces, returned to the system when freed.
_PAGE = 128
NUMBERS_AT_ONCE = 2**20  # that are worked on in float64, for hours of it are large


@dataclass(frozen=True)
class FeatureSettings(FrameSettings):
    """Settings of a log-mel, stored with every prepared store and checkpoint.

    Attributes:
        sample_rate: of the waveform, in Hz.
        window_ms, hop_ms: length of a frame and distance between frames, in milliseconds.
        n_fft: points of the Fourier transform; the window is padded with zeros to it.
        n_mels: number of mel bins.
        f_min, f_max: where the first triangle begins and the last ends, in Hz.
        pre_emphasis: weight of the previous sample that is taken off each one, in [0, 1).
        min_frames: clips with fewer frames are repeated up to this many.

    Raises:
        DataError: a value that makes no log-mel.
    """

    kind: ClassVar[str] = "feature"

    sample_rate: int = 16_000
    window_ms: float = 25
    hop_ms: float = 10
    n_fft: int = 1024
    n_mels: int = 64
    f_min: float = 20.0
    f_max: float = 7200.0
    pre_emphasis: float = 0.97
    min_frames: int = 1000

    def __post_init__(self) -> None:
        self.check_numbers()
        if min(self.sample_rate, self.n_mels, self.min_frames, self.hop) < 1 or self.window < 2:
            raise DataError("feature settings: rate, window, hop, bins and frames must be positive.")
        if self.n_fft < self.window:
            raise DataError(f"feature settings: n_fft {self.n_fft} is less than a window of {self.window}.")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise DataError(f"feature settings: f_min and f_max must rise, up to {self.sample_rate / 2} Hz.")
        if not 0 <= self.pre_emphasis < 1:
            raise DataError(f"feature settings: pre_emphasis is {self.pre_emphasis}; give 0 to 1.")

    def frames(self, samples: int) -> int:
        """Frames that `log_mel` makes of so many samples: at least one."""
        return 1 + max(0, samples - self.window) // self.hop


@functools.lru_cache(maxsize=16)
def mel_filterbank(settings: FeatureSettings = FeatureSettings()) -> torch.Tensor:
    """Triangles evenly spaced on the HTK mel scale, 2595 log10(1 + f / 700), of height 1.

    Returns:
        float32 (n_fft // 2 + 1, n_mels), in [0, 1]; n_mels + 2 corners go from f_min to f_max and each
        triangle spans three of them. Cached: do not write into it.
    """
    corners = _corners(settings)
    bins = np.arange(settings.n_fft // 2 + 1)[:, None] * settings.sample_rate / settings.n_fft
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


def mel_centres(settings: FeatureSettings = FeatureSettings()) -> torch.Tensor:
    """Frequencies at which each triangle of the filterbank is 1: float32 (n_mels,), Hz, rising."""
    return torch.from_numpy(_corners(settings)[1:-1].astype(np.float32))


def _corners(settings: FeatureSettings) -> np.ndarray:
    """The corners of the triangles: float64 (n_mels + 2,), Hz."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (settings.f_min, settings.f_max))
    mels = np.linspace(low, high, settings.n_mels + 2)
    return 700 * (10 ** (mels / 2595) - 1)


@functools.lru_cache(maxsize=16)
def _constants(settings: FeatureSettings, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The Hamming window (window,), symmetric, and the filterbank (2 * bins, n_mels), each row there twice.

    So the matrix product adds the squares of real and imaginary part, which lie side by side in memory.
    """
    window = torch.hamming_window(settings.window, periodic=False, dtype=torch.float64).float()
    filters = mel_filterbank(settings).repeat_interleave(2, dim=0)
    return window.to(device), filters.to(device)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the work to the calling thread: a second one saves a third on an idle machine, but where other
    processes keep the cores busy every operation waits for it to be scheduled (3 ms became 380)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread's work; restored below
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class LogMelStream:
    """The log-mel of a waveform that comes in blocks, the same to the last bit as that of the whole.

    Memory beyond the result is bounded, whatever the length.
    """

    def __init__(self, settings: FeatureSettings = FeatureSettings()):
        self.settings = settings
        self._pieces: list[torch.Tensor] = []  # samples that do not fill a chunk yet
        self._held = 0
        self._previous = 0.0  # the sample before them
        self._chunks: list[torch.Tensor] = []  # (n_mels, chunk) each
        self._pages: list[torch.Tensor] = []  # _PAGE of these, joined

    @torch.no_grad()
    @_one_thread()
    def feed(self, block: np.ndarray | torch.Tensor) -> None:
        """Take the next samples: float (samples,), any length, in [-1, 1]."""
        if isinstance(block, np.ndarray):  # torch takes no negative strides, and warns of read-only memory
            block = np.require(block, np.float32, ["C", "W"])
        piece = torch.as_tensor(block, dtype=torch.float32)
        if piece.ndim != 1:
            raise DataError(f"log-mel needs (samples,), not the shape {tuple(piece.shape)}.")
        self._pieces.append(piece)
        self._held += len(piece)
        step = _CHUNK * self.settings.hop
        span = step - self.settings.hop + self.settings.window
        if self._held < max(span, step):
            self._pieces[-1] = piece.clone()  # it waits, and the caller may reuse his memory
            return
        samples = torch.cat(self._pieces) if len(self._pieces) > 1 else piece
        start = 0
        while start + max(span, step) <= len(samples):
            self._add(samples[start : start + span])
            start += step
            self._previous = float(samples[start - 1])
        self._pieces = [samples[start:].clone()]
        self._held = len(samples) - start

    @torch.no_grad()
    @_one_thread()
    def finish(self) -> torch.Tensor:
        """End the waveform.

        Returns:
            float32 (n_mels, frames), natural logarithm of power, at least log(1e-10);
            frames = 1 + (samples - window) // hop, and one, of zeros after the end, for less than a window.
            The stream is then as new.
        """
        samples = torch.cat(self._pieces) if self._pieces else torch.zeros(0)
        if len(samples) >= self.settings.window:
            self._add(samples)
        elif not self._chunks and not self._pages:
            self._add(torch.nn.functional.pad(samples, (0, self.settings.window - len(samples))))
        parts = self._pages + self._chunks
        self.__init__(self.settings)
        first, total = parts[0], sum(part.shape[1] for part in parts)
        mel = torch.empty(first.shape[0], total, device=first.device)
        parts.reverse()
        end = 0
        while parts:  # freed as they are copied, so that hours of speech are not held twice
            part = parts.pop()
            end += part.shape[1]
            mel[:, end - part.shape[1] : end] = part
        return mel

    def _add(self, samples: torch.Tensor) -> None:
        """(samples,), at least a window -> its frames, appended."""
        settings = self.settings
        window, filters = _constants(settings, samples.device)
        emphasised = samples.clone()
        emphasised[1:].sub_(samples[:-1], alpha=settings.pre_emphasis)
        emphasised[0] -= settings.pre_emphasis * self._previous
        frames = emphasised.unfold(0, settings.window, settings.hop)  # (frames, window), a view
        padded = torch.zeros(len(frames), settings.n_fft, device=samples.device)
        torch.mul(frames, window, out=padded[:, : settings.window])
        spectrum = torch.view_as_real(torch.fft.rfft(padded))  # (frames, bins, 2)
        power = spectrum.flatten(1).square_() @ filters  # (frames, n_mels)
        self._chunks.append(power.clamp_(min=FLOOR).log_().T)
        if len(self._chunks) == _PAGE:
            self._pages.append(torch.cat(self._chunks, dim=1))
            self._chunks = []


def log_mel(
    waveform: np.ndarray | torch.Tensor, settings: FeatureSettings = FeatureSettings()
) -> torch.Tensor:
    """The log-mel of a whole waveform, not normalised.

    Args:
        waveform: float (samples,) in [-1, 1], mono at `settings.sample_rate`, of any length.
        settings: of the log-mel.

    Returns:
        float32 (n_mels, frames) as `LogMelStream.finish` describes it, on the waveform's device.

    Raises:
        DataError: the waveform has more than one axis.
    """
    stream = LogMelStream(settings)
    stream.feed(waveform)
    return stream.finish()


@torch.no_grad()
def log_mels(
    waveforms: torch.Tensor, settings: FeatureSettings = FeatureSettings(), normalised: bool = True
) -> torch.Tensor:
    """The log-mels of a batch of waveforms of one length, each as `normalise(log_mel(...))` gives it but for
    rounding, on the device they are on.

    Args:
        waveforms: float32 (B, samples), at least a window long.
        settings: of the log-mel.
        normalised: per bin; else as `log_mel` gives them.

    Returns:
        float32 (B, n_mels, frames).
    """
    window, filters = _constants(settings, waveforms.device)
    before = torch.nn.functional.pad(waveforms[:, :-1], (1, 0))
    frames = (waveforms - settings.pre_emphasis * before).unfold(1, settings.window, settings.hop)
    mels = []
    for some in frames.split(1 if waveforms.device.type == "cpu" else 64):  # a processor's cache is small
        padded = torch.nn.functional.pad(some * window, (0, settings.n_fft - settings.window))
        spectrum = torch.view_as_real(torch.fft.rfft(padded))  # (some, frames, bins, 2)
        mels.append((spectrum.flatten(2).square_() @ filters).clamp_(min=FLOOR).log_())
    mel = torch.cat(mels).transpose(1, 2)  # (B, n_mels, frames)
    if not normalised:
        return mel.contiguous()
    return normalise(mel.flatten(0, 1)).view(mel.shape)


def normalise(mel: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Per-bin zero mean and unit variance over the clip.

    Args:
        mel: float (n_mels, frames).
        out: where to write, maybe `mel` itself; default: a new tensor.

    Returns:
        Same shape, finite: (mel - mean) / std of each row, the population's; zero if std is below 1e-5.
    """
    return normalise_with_stats(mel, out)[0]


@torch.no_grad()
@_one_thread()
def normalise_with_stats(
    mel: torch.Tensor, out: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised log-mel, and float32 (2, n_mels): each bin's mean and standard deviation.

    Arguments as for `normalise`. The deviation is 0 where it would be below 1e-5, so the log-mel is the
    normalised one * deviation + mean but for rounding.
    """
    out = torch.empty_like(mel) if out is None else out
    taken = torch.zeros(2, mel.shape[0], device=mel.device)
    frames = mel.shape[1]
    rows = max(1, NUMBERS_AT_ONCE // max(frames, 1))
    for start in range(0, mel.shape[0] if frames else 0, rows):
        block = mel[start : start + rows].double()
        variance, mean = torch.var_mean(block, dim=1, correction=0, keepdim=True)
        std = variance.sqrt()
        std = torch.where(std < MIN_STD, 0.0, std)
        taken[:, start : start + rows] = torch.cat([mean, std], dim=1).t()
        scale = torch.where(std > 0, 1 / std.clamp(min=MIN_STD), 0.0)
        out[start : start + rows] = block.sub_(mean).mul_(scale)
    return out, taken


@_one_thread()
def tile_to(mel: torch.Tensor, frames: int) -> torch.Tensor:
    """Repeat along time, from the start again, to exactly `frames`; longer ones are returned as they are.

    Args:
        mel: (n_mels, at least one frame), else a DataError is raised.
        frames: number wanted.

    Returns:
        (n_mels, max(frames, frames of mel)).
    """
    have = mel.shape[-1]
    if have >= frames:
        return mel
    if have == 0:
        raise DataError("a log-mel without frames cannot be repeated.")
    return mel.repeat(1, -(-frames // have))[:, :frames].contiguous()
