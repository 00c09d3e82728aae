"""Distortions of recorded speech: noise, other speakers, rooms, bands, codecs, clipping, levels.

Each function takes and gives waveforms x, float32 (B, samples), one a row, of any length; numbers that
differ from row to row are float (B,). All is computed by Fourier transforms and matrix products of the whole
batch, on the device x is on. Noise comes from a CPU generator, so that it is the same on every device.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

_FFT_BLOCK = 4096  # samples; Fourier transforms of multiples of it have small factors


def power(x: Tensor) -> Tensor:
    """Mean square, (B,)."""
    return x.square().mean(dim=1)


def as_loud(x: Tensor, other: Tensor) -> Tensor:
    """x, scaled so that each row has the power of the other's."""
    return x * (power(other) / power(x).clamp(min=1e-20)).sqrt()[:, None]


def add_at_snr(x: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """x and noise, the noise scaled so that 10 log10(power of x / power of noise) is `snr_db` in each row."""
    ratio = power(x) / power(noise).clamp(min=1e-20) * 10 ** (-snr_db / 10)
    return x + noise * ratio.sqrt()[:, None]


def coloured_noise(slope: Tensor, samples: int, draws: torch.Generator) -> Tensor:
    """Gaussian noise whose power falls as 1 / frequency^slope: 0 is white, 1 pink, 2 brown.

    Args:
        slope: (B,); the result is on its device.
    Returns:
        float32 (B, samples) of mean power 1.
    """
    white = torch.randn(len(slope), samples, generator=draws).to(slope.device)
    spectrum = torch.fft.rfft(white)
    place = torch.arange(spectrum.shape[1], device=slope.device).clamp(min=1)
    noise = torch.fft.irfft(spectrum * place ** (-slope[:, None] / 2), samples)
    return noise / power(noise).sqrt()[:, None]


def babble(x: Tensor, speaker: Tensor, talkers: Tensor, draws: torch.Generator) -> Tensor:
    """Babble of other speakers of the batch.

    Args:
        speaker: int (B,): no speaker is in his own babble.
        talkers: int (B,): how many voices are added up at most; as many as there are, if fewer.
    Returns:
        (B, samples); silent where the batch has nobody else. Each voice has the same power.
    """
    batch, samples = x.shape
    shift = torch.randint(samples, (batch, 1), generator=draws).to(x.device)
    turned = x.gather(1, (torch.arange(samples, device=x.device) + shift) % samples)
    turned = turned / power(turned).sqrt().clamp(min=1e-10)[:, None]
    liking = torch.rand(batch, batch, generator=draws).to(x.device)
    liking = liking.masked_fill(speaker[:, None] == speaker[None], -1.0)
    place = liking.argsort(dim=1, descending=True).argsort(dim=1)  # of each voice in the row's order
    return ((place < talkers[:, None]) & (liking >= 0)).float() @ turned


def room_response(rt60: Tensor, direct_db: Tensor, rate: int, draws: torch.Generator) -> Tensor:
    """Impulse responses of rooms: the direct sound, then noise that decays (Polack's model).

    Args:
        rt60: (B,) seconds until the reverberation has fallen by 60 dB.
        direct_db: (B,) energy of the direct sound over that of the reverberation, in dB.
        rate: samples a second.
    Returns:
        float32 (B, taps), the longest rt60 long: h[0] = 1, h[t > 0] ~ N(0, 1) exp(-6.91 t / rt60), scaled.
    """
    taps = max(2, round(float(rt60.max()) * rate))
    seconds = torch.arange(1, taps, device=rt60.device) / rate
    tail = torch.randn(len(rt60), taps - 1, generator=draws).to(rt60.device)
    tail = tail * torch.exp(-3 * math.log(10) * seconds / rt60[:, None])
    tail = tail * (10 ** (-direct_db / 10) / tail.square().sum(dim=1)).sqrt()[:, None]
    return torch.cat([torch.ones_like(tail[:, :1]), tail], dim=1)


def convolve(x: Tensor, response: Tensor) -> Tensor:
    """Each row through its impulse response (B, taps): as long as before, and of the same power."""
    samples = x.shape[1]
    size = -(-(samples + response.shape[1]) // _FFT_BLOCK) * _FFT_BLOCK
    reverberant = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(response, size), size)[:, :samples]
    return as_loud(reverberant, x)


def band_limit(x: Tensor, low: Tensor, high: Tensor, rate: int, order: int = 8) -> Tensor:
    """Band between two frequencies (B,) in Hz, with the magnitude of Butterworth filters and no delay:
    3 dB less at each of them, 6 x order dB less an octave beyond."""
    samples = x.shape[1]
    size = (
        -(-(samples + rate // 10) // _FFT_BLOCK) * _FFT_BLOCK
    )  # room to ring, so that the end does not wrap to the start
    hertz = torch.arange(size // 2 + 1, device=x.device) * (rate / size)
    below = (hertz / high[:, None]) ** (2 * order)
    above = (low[:, None] / hertz.clamp(min=1e-3)) ** (2 * order)
    return torch.fft.irfft(torch.fft.rfft(x, size) * ((1 + below) * (1 + above)).rsqrt(), size)[:, :samples]


def mu_law(x: Tensor, levels: int = 256) -> Tensor:
    """Rounded to so many levels on the logarithmic scale of G.711's mu-law; x in [-1, 1]."""
    mu = levels - 1
    squeezed = x.sign() * torch.log1p(mu * x.abs().clamp(max=1)) / math.log1p(mu)
    rounded = ((squeezed + 1) / 2 * mu).round() / mu * 2 - 1
    return rounded.sign() * torch.expm1(rounded.abs() * math.log1p(mu)) / mu


def telephone(x: Tensor, rate: int) -> Tensor:
    """A landline: 300 to 3,400 Hz, 8,000 samples a second (half of `rate`), 8-bit mu-law."""
    samples = x.shape[1]
    edges = torch.tensor([300.0, 3400.0], device=x.device).expand(len(x), 2)
    narrow = band_limit(x, edges[:, 0], edges[:, 1], rate)
    half = mu_law(narrow[:, ::2].clamp(-1, 1))
    # Back to the full rate: the same spectrum below a quarter of it, nothing above.
    spectrum = torch.fft.rfft(half)
    wide = torch.zeros(len(x), samples // 2 + 1, dtype=spectrum.dtype, device=x.device)
    count = min(spectrum.shape[1], wide.shape[1])
    wide[:, :count] = spectrum[:, :count]
    return torch.fft.irfft(wide, samples) * (samples / half.shape[1])


def transform_codec(x: Tensor, snr_db: Tensor, hop: int = 320, range_db: float = 50.0) -> Tensor:
    """Lossy codec of few bits: cosine transform (MDCT), bands, coarse quantisation, and back.

    Args:
        snr_db: (B,) of each band of each frame, as uniform quantisation gives it when steps are small; at 10
            and below most numbers of a band become zero and it gets holes.
        hop: samples from frame to frame (20 ms).
        range_db: a band so far below the loudest of its frame is dropped.
    """
    samples = x.shape[1]
    basis = _cosines(hop).to(x.device)
    frames = -(-samples // hop) + 1
    padded = torch.nn.functional.pad(x, (hop, frames * hop - samples))
    numbers = padded.unfold(1, 2 * hop, hop) @ basis  # (B, frames, hop)
    bands = _bands(hop).to(x.device)  # (hop, bands), each number's band as one hot
    energy = numbers.square() @ bands / bands.sum(dim=0)  # (B, frames, bands)
    step = (12 * energy * 10 ** (-snr_db[:, None, None] / 10)).sqrt().clamp(min=1e-9)
    audible = energy > energy.amax(dim=2, keepdim=True) * 10 ** (-range_db / 10)
    wide = step @ bands.t()
    coarse = (numbers / wide).round() * wide * (audible.float() @ bands.t())
    pieces = coarse @ basis.t()  # (B, frames, 2 hop)
    joined = pieces[:, :-1, hop:] + pieces[:, 1:, :hop]  # aliases of neighbours cancel
    return joined.flatten(1)[:, :samples]


@functools.cache
def _cosines(hop: int) -> Tensor:
    """The MDCT with a sine window, float32 (2 hop, hop): its transpose, overlapped and added, undoes it
    (Princen and Bradley, 1986)."""
    n = torch.arange(2 * hop, dtype=torch.float64)[:, None] + 0.5
    k = torch.arange(hop, dtype=torch.float64)[None] + 0.5
    cosines = torch.cos(math.pi / hop * (n + hop / 2) * k) * math.sqrt(2 / hop)
    return (cosines * torch.sin(math.pi / (2 * hop) * n)).float()


@functools.cache
def _bands(hop: int, count: int = 20) -> Tensor:
    """Bands that widen with frequency, float32 (hop, count), one hot."""
    edges = (torch.linspace(0, 1, count + 1) ** 1.7 * hop).round().long()
    edges = torch.maximum(edges, torch.arange(count + 1))
    place = torch.bucketize(torch.arange(hop), edges[1:-1], right=True)
    return torch.nn.functional.one_hot(place, count).float()


def overdrive(x: Tensor, drive_db: Tensor) -> Tensor:
    """Soft clipping: peak tanh(g x / peak) / tanh(g), g the drive (B,) in dB; little happens at -20 dB."""
    drive = 10 ** (drive_db[:, None] / 20)
    peak = x.abs().amax(dim=1, keepdim=True).clamp(min=1e-10)
    return peak * torch.tanh(drive * x / peak) / torch.tanh(drive)


def recorded(x: Tensor, peak_db: Tensor) -> Tensor:
    """As 16-bit numbers whose largest is at `peak_db` (B,) below full scale: quiet recordings hiss."""
    peak = x.abs().amax(dim=1, keepdim=True).clamp(min=1e-10)
    return (x / peak * 10 ** (peak_db[:, None] / 20) * 32768).round().clamp(-32768, 32767) / 32768


def change_speed(x: Tensor, factor: Tensor, samples: int) -> Tensor:
    """Played faster (factor above 1, and then higher) or slower, by band-limited resampling.

    Args:
        x: (B, at least samples x factor).
        factor: (B,), kept to steps of 64 samples over the whole.
        samples: length wanted.
    """
    out = torch.empty(len(x), samples, device=x.device)
    for row, (wave, speed) in enumerate(zip(x, factor.tolist(), strict=True)):
        taken = round(samples * speed / 64) * 64 if speed != 1 else samples
        if taken == samples:
            out[row] = wave[:samples]
            continue
        spectrum = torch.fft.rfft(wave[:taken])
        fitted = torch.zeros(samples // 2 + 1, dtype=spectrum.dtype, device=x.device)
        count = min(len(spectrum), len(fitted))
        fitted[:count] = spectrum[:count]
        out[row] = torch.fft.irfft(fitted, samples) * (samples / taken)
    return out
