"""The complex power-law spectrogram against closed forms: what a sine, an impulse and a constant give."""

import math

import numpy as np
import pytest
import torch

from voice2face_gan.audio.spectrogram import (
    SpectrogramSettings,
    compress,
    repeat_to,
    spectrogram,
    spectrograms,
)
from voice2face_gan.errors import DataError

SETTINGS = SpectrogramSettings()


def expand(x: torch.Tensor) -> torch.Tensor:
    """The inverse of the power law, as complex numbers (bins, frames)."""
    parts = x.double().sign() * x.double().abs() ** (1 / 0.3)
    return torch.complex(parts[0], parts[1])


def test_six_seconds_are_598_frames_of_257_bins():
    """(96000 - 400) / 160 + 1: neither centred (601) nor windows of 512 samples (597)."""
    assert spectrogram(torch.zeros(96_000)).shape == (2, 257, 598)
    assert SETTINGS.frames(96_000) == 598 and SETTINGS.frames(1) == 598
    assert spectrogram(torch.zeros(96_079)).shape[2] == SETTINGS.frames(96_079) == 598
    assert spectrogram(torch.zeros(96_080)).shape[2] == SETTINGS.frames(96_080) == 599


def test_a_sine_on_a_bin_has_the_closed_form():
    """Bin k of a sine there: the window's sum of 200, halved, turned by the frame's phase less 90 degrees."""
    bin_, amplitude = 64, 0.5
    t = torch.arange(96_000, dtype=torch.float64)
    speech = (amplitude * torch.sin(2 * math.pi * bin_ / 512 * t)).float()
    found = expand(spectrogram(speech))[bin_]
    starts = torch.arange(598, dtype=torch.float64) * 160
    wanted = amplitude * 200 / 2 * torch.exp(1j * (2 * math.pi * bin_ / 512 * starts - math.pi / 2))
    # What the window leaks from the negative frequency, 128 bins away, is below 1e-4 of it.
    assert (found - wanted).abs().max() < 1e-3 * 50


def test_nothing_is_centred_and_the_window_begins_with_the_frame():
    """An impulse at sample n of the first frame gives w[n] exp(-2 pi i k n / 512), and frames after n are
    0."""
    speech = torch.zeros(96_000)
    speech[100] = 1.0
    found = spectrogram(speech)
    height = 0.5 - 0.5 * math.cos(2 * math.pi * 100 / 400)
    k = torch.arange(257, dtype=torch.float64)
    wanted = height * torch.exp(-2j * math.pi * k * 100 / 512)
    assert torch.allclose(expand(found)[:, 0], wanted, atol=1e-5)
    assert found[:, :, 1:].abs().max() == 0


def test_signs_are_kept_and_each_part_is_compressed_by_itself():
    x = torch.tensor([-8.0, -1.0, 0.0, 1.0, 8.0])
    wanted = torch.tensor([-(8**0.3), -1.0, 0.0, 1.0, 8**0.3])
    assert torch.allclose(compress(x), wanted)
    speech = torch.randn(96_000, generator=torch.Generator().manual_seed(0)) * 0.1
    once, ten = spectrogram(speech), spectrogram(10 * speech)
    assert torch.allclose(expand(ten), 10 * expand(once), atol=1e-4)
    assert torch.allclose(spectrogram(-speech), -once)
    # Real and imaginary part by themselves, not the magnitude with an angle beside it.
    frame = speech[:400].double().numpy() * np.hanning(401)[:400]
    spectrum = np.fft.rfft(frame, 512)
    for part, values in zip(once[:, :, 0], (spectrum.real, spectrum.imag), strict=True):
        assert np.allclose(part, np.sign(values) * np.abs(values) ** 0.3, atol=2e-2)
        large = np.abs(values) > 0.1
        assert np.allclose(part[large], (np.sign(values) * np.abs(values) ** 0.3)[large], rtol=1e-4)


def test_short_speech_is_repeated_and_long_speech_kept_whole():
    speech = torch.randn(40_000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(spectrogram(speech), spectrogram(torch.cat([speech, speech, speech])[:96_000]))
    assert torch.equal(repeat_to(torch.tensor([1.0, 2.0]), 5), torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0]))
    assert spectrogram(torch.zeros(160_000)).shape == (2, 257, 998)


def test_a_batch_is_its_clips():
    speech = torch.randn(3, 96_000, generator=torch.Generator().manual_seed(2)) * 0.1
    both = spectrograms(speech)
    assert both.shape == (3, 2, 257, 598) and both.dtype == torch.float32
    assert all(torch.allclose(expand(both[i]), expand(spectrogram(speech[i])), atol=1e-5) for i in range(3))


def test_settings_are_checked_and_go_through_json():
    assert SpectrogramSettings.from_dict(SETTINGS.to_dict()) == SETTINGS
    for wrong in (
        {"n_fft": 256},
        {"power": 0},
        {"seconds": math.nan},
        {"hop_ms": 0},
        {"sample_rate": 16_000.5},
    ):
        with pytest.raises(DataError, match="spectrogram setting"):
            SpectrogramSettings(**wrong)
    with pytest.raises(DataError, match="unknown spectrogram setting bands"):
        SpectrogramSettings.from_dict({"bands": 3})
    with pytest.raises(DataError, match="without samples"):
        spectrogram(torch.zeros(0))
