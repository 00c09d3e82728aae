"""Voices with other resonances, told by spectra of vowels made for it."""

import numpy as np
import pytest
import torch

from voice2face_gan.audio.augment.formants import revoice

RATE = 16_000


def vowel(pitch: float, resonance: float) -> torch.Tensor:
    """Harmonics of a pitch, loud about one resonance."""
    time = np.arange(RATE) / RATE
    number = np.arange(1, int(7000 / pitch))
    gain = 1 / (1 + ((number * pitch - resonance) / 250) ** 2) + 0.01
    wave = (gain[:, None] * np.sin(2 * np.pi * pitch * number[:, None] * time)).sum(axis=0)
    return torch.from_numpy(0.2 * wave / np.abs(wave).max()).float()[None]


def spectrum(x: torch.Tensor) -> np.ndarray:
    """Magnitude at each whole hertz."""
    return np.abs(np.fft.rfft(x[0].numpy()))


@pytest.mark.parametrize("factor", [0.85, 1.18])
def test_resonances_move_and_pitch_stays(factor):
    pitch, resonance = 150, 1800
    x = vowel(pitch, resonance)
    heard = spectrum(revoice(x, torch.tensor([factor]), torch.zeros(1, 3)))
    harmonics = heard[pitch:7000:pitch]
    place = (np.arange(len(harmonics)) + 1) * pitch
    loud = harmonics > 0.3 * harmonics.max()
    middle = (place[loud] * harmonics[loud]).sum() / harmonics[loud].sum()
    assert middle == pytest.approx(resonance * factor, rel=0.04)
    between = heard[pitch + pitch // 2 : 7000 : pitch]
    assert between.max() < 0.1 * harmonics.max(), "harmonics of the same pitch, and nothing between them"


def test_nothing_asked_for_changes_nothing():
    x = torch.cat([vowel(120, 900), vowel(220, 2500)])
    torch.testing.assert_close(revoice(x, torch.ones(2), torch.zeros(2, 3)), x, atol=1e-5, rtol=1e-4)


def test_the_balance_is_tilted_as_asked():
    """Half a period of a cosine: e^0.5 at the lowest, e^-0.5 at the highest frequency."""
    noise = torch.randn(1, 4 * RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    before = spectrum(noise)
    after = spectrum(revoice(noise, torch.ones(1), torch.tensor([[0.5, 0.0, 0.0]])))
    for share in (0.1, 0.5, 0.9):
        bins = slice(int((share - 0.05) * len(before)), int((share + 0.05) * len(before)))
        gain = np.log(np.sqrt((after[bins] ** 2).sum() / (before[bins] ** 2).sum()))
        assert gain == pytest.approx(0.5 * np.cos(np.pi * share), abs=0.04)
