"""Formant and tilt shift: the resonances of another vocal tract, and another balance of low and high.

Played faster, a voice is that of somebody smaller, pitch and resonances higher by one factor. Here the
resonances move alone: a short-time spectrum is its envelope (the low quefrencies of its cepstrum) times what
the vocal folds make, and the envelope is stretched along frequency.
"""

import math

import torch
from torch import Tensor

TILTS = 3
"""Number of cosines over frequency that make up the balance."""

_WINDOW, _HOP, _LIFTER = 512, 128, 30  # samples, samples, cepstral coefficients of the envelope
_MAX_CHANGE = 2.5  # of the change, in natural logarithm: 22 dB


def revoice(x: Tensor, resonances: Tensor, tilt: Tensor) -> Tensor:
    """Shift the formants and the spectral balance of speech.

    Args:
        x: float32 (B, samples) at 16 kHz, 512 or more.
        resonances: (B,) factor by which the frequencies of the envelope rise; 1 leaves them.
        tilt: (B, TILTS) of cosines of half a period and its multiples over frequency, in natural logarithm.
    Returns:
        (B, samples).
    """
    window = torch.hann_window(_WINDOW, device=x.device)
    spectrum = torch.stft(x, _WINDOW, _HOP, window=window, return_complex=True)  # (B, bins, frames)
    cepstrum = torch.fft.irfft(torch.log(spectrum.abs() + 1e-5), dim=1)
    cepstrum[:, _LIFTER : 1 - _LIFTER] = 0
    envelope = torch.fft.rfft(cepstrum, dim=1).real
    bins = envelope.shape[1]
    place = torch.arange(bins, device=x.device)
    source = (place / resonances[:, None]).clamp(max=bins - 1)  # (B, bins)
    low = source.floor().long()
    share = (source - low)[:, :, None]
    at, above = (k[:, :, None].expand_as(envelope) for k in (low, (low + 1).clamp(max=bins - 1)))
    moved = envelope.gather(1, at) * (1 - share) + envelope.gather(1, above) * share
    number = torch.arange(1, TILTS + 1, device=x.device)
    balance = tilt @ torch.cos(math.pi * number[:, None] * place / (bins - 1))  # (B, bins)
    change = (moved - envelope + balance[:, :, None]).clamp(-_MAX_CHANGE, _MAX_CHANGE)
    return torch.istft(spectrum * change.exp(), _WINDOW, _HOP, window=window, length=x.shape[1])
