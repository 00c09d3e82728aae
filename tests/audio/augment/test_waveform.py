"""Each distortion does what its name says, by a number that can be measured."""

import math

import pytest
import torch

from voice2face_gan.audio.augment import waveform

RATE, SAMPLES = 16_000, 24_000


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def speech(voices):
    return torch.from_numpy(voices[:4, :SAMPLES]).float()


def decibels(ratio) -> torch.Tensor:
    return 10 * torch.log10(torch.as_tensor(ratio))


def tone(hertz: float, samples: int = SAMPLES, amplitude: float = 0.5) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz / RATE * torch.arange(samples))[None]


def in_band(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Energy between two frequencies, (B,)."""
    spectrum = torch.fft.rfft(x).abs().square()
    hertz = torch.arange(spectrum.shape[1]) * RATE / x.shape[1]
    return spectrum[:, (hertz >= low) & (hertz < high)].sum(dim=1)


def test_noise_is_at_the_ratio_asked_for(speech, draws):
    noise = waveform.coloured_noise(torch.zeros(4), SAMPLES, draws)
    wanted = torch.tensor([0.0, 5.0, 10.0, 30.0])
    added = waveform.add_at_snr(speech, noise, wanted) - speech
    torch.testing.assert_close(
        decibels(waveform.power(speech) / waveform.power(added)), wanted, atol=0.05, rtol=0
    )


def test_noise_falls_as_its_slope_says(draws):
    slope = torch.tensor([0.0, 1.0, 2.0])
    noise = waveform.coloured_noise(slope, 2**17, draws)
    torch.testing.assert_close(waveform.power(noise), torch.ones(3))
    # Power per hertz an octave higher falls by 3 dB x slope; an octave is twice as wide.
    octave = decibels(in_band(noise, 1000, 2000) / in_band(noise, 2000, 4000))
    torch.testing.assert_close(octave, 10 * math.log10(2) * (slope - 1), atol=0.4, rtol=0)


def test_babble_is_made_of_others(draws):
    """Four speakers hum a tone of their own: whose tone is heard behind whom?"""
    x = torch.cat([tone(h) for h in (500, 1000, 2000, 4000)])
    speaker = torch.tensor([0, 0, 1, 2])  # the first two are one person
    behind = waveform.babble(x, speaker, torch.tensor([1, 7, 2, 3]), draws)
    heard = torch.stack([in_band(behind, h - 20, h + 20) for h in (500, 1000, 2000, 4000)], dim=1)
    heard = heard > 0.01 * heard.max()
    assert heard.sum(1).tolist() == [1, 2, 2, 3], "as many as asked for, if there are so many others"
    assert not heard[0, :2].any() and not heard[1, :2].any() and not heard[2, 2] and not heard[3, 3]
    alone = waveform.babble(x, torch.zeros(4), torch.full((4,), 3), draws)
    assert (alone == 0).all()


def test_a_room_decays_by_60_decibels(draws):
    rt60, direct = torch.tensor([0.2, 0.6]), torch.tensor([0.0, 10.0])
    response = waveform.room_response(rt60, direct, RATE, draws)
    assert response.shape == (2, round(0.6 * RATE)) and (response[:, 0] == 1).all()
    tail = response[:, 1:].square()
    torch.testing.assert_close(decibels(1 / tail.sum(1)), direct, atol=0.01, rtol=0)
    for row, seconds in enumerate(rt60.tolist()):
        early = tail[row, : round(seconds * RATE * 0.1)].mean()
        late = tail[row, round(seconds * RATE * 0.9) : round(seconds * RATE)].mean()
        assert decibels(early / late) == pytest.approx(54, abs=2)  # nine tenths of 60
    assert tail[0, round(0.4 * RATE) :].max() < 1e-9


def test_convolution_is_that_of_the_definition(speech):
    response = torch.zeros(4, 300)
    response[:, 0], response[:, 200] = 1.0, 0.5
    heard = waveform.convolve(speech, response)
    wanted = speech.clone()
    wanted[:, 200:] += 0.5 * speech[:, :-200]
    wanted *= (waveform.power(speech) / waveform.power(wanted)).sqrt()[:, None]
    assert heard.shape == speech.shape
    torch.testing.assert_close(heard, wanted, atol=1e-5, rtol=1e-4)


def test_a_band_has_its_edges(draws):
    noise = waveform.coloured_noise(torch.zeros(2), 2**16, draws)
    low, high = torch.tensor([300.0, 0.0]), torch.tensor([3000.0, 6000.0])
    cut = waveform.band_limit(noise, low, high, RATE)
    assert cut.shape == noise.shape
    kept = decibels(in_band(cut, 600, 2000) / in_band(noise, 600, 2000))
    assert kept.abs().max() < 0.1
    for row, (edge, wanted) in enumerate(((6000, -48), (7900, -19))):  # an octave above, and a little
        beyond = decibels(in_band(cut, edge, 8000) / in_band(noise, edge, 8000))[row]
        assert wanted - 8 < beyond < wanted
    assert decibels(in_band(cut, 0, 150) / in_band(noise, 0, 150))[0] < -44  # an octave below, and less
    for hertz in (300.0, 3000.0):  # 3 dB down at the edge
        passed = waveform.band_limit(tone(hertz), low[:1], high[:1], RATE)[:, 6000:18000]
        assert decibels(waveform.power(passed) / waveform.power(tone(hertz))) == pytest.approx(-3.01, abs=0.1)


def test_mu_law_is_rounded_evenly_on_its_scale():
    x = torch.linspace(-1, 1, 20_001)[None]
    y = waveform.mu_law(x)
    assert len(y.unique()) == 256 and y.abs().max() <= 1
    loud, quiet = x.abs() > 0.5, (x.abs() > 0.005) & (x.abs() < 0.01)
    assert ((y - x)[loud].abs() / x[loud].abs()).max() < 0.03
    assert (y - x)[quiet].abs().max() < 0.0005 < (y - x)[loud].abs().max() / 10


def test_a_telephone_passes_its_band_alone(draws):
    heard = waveform.telephone(0.1 * waveform.coloured_noise(torch.zeros(1), 2**16, draws), RATE)
    total = in_band(heard, 0, 8000)
    assert in_band(heard, 250, 3600) / total > 0.96
    assert in_band(heard, 4010, 8000) / total < 1e-6
    passed = waveform.telephone(tone(1000), RATE)
    difference = (passed - tone(1000))[:, 4000:-4000]
    assert 25 < decibels(waveform.power(tone(1000)) / waveform.power(difference)) < 60, (
        "8 bits' noise, in step"
    )


def test_the_transform_codec_is_transparent_with_fine_steps_and_holed_with_coarse_ones(speech):
    fine = waveform.transform_codec(speech, torch.full((4,), 90.0), range_db=300.0)
    torch.testing.assert_close(fine, speech, atol=1e-4, rtol=0)
    before = None
    for wanted in (15.0, 10.0, 5.0):
        coarse = waveform.transform_codec(speech, torch.full((4,), wanted))
        ratio = decibels(waveform.power(speech) / waveform.power(coarse - speech))
        assert ((ratio - wanted).abs() < 2.5).all(), wanted
        assert before is None or (ratio < before).all()
        before = ratio
    quiet = tone(1000) + tone(6000, amplitude=0.0005)
    dropped = waveform.transform_codec(quiet, torch.full((1,), 20.0))[:, 4000:-4000] * torch.hann_window(
        16_000
    )
    kept = quiet[:, 4000:-4000] * torch.hann_window(16_000)
    assert in_band(dropped, 5500, 6500) < 0.01 * in_band(kept, 5500, 6500), "60 dB below the loudest"
    assert in_band(dropped, 900, 1100) > 0.9 * in_band(kept, 900, 1100)


def test_overdrive_keeps_peak_and_sign_and_adds_harmonics():
    x = tone(500)
    soft, hard = (waveform.overdrive(x, torch.tensor([db])) for db in (-40.0, 30.0))
    torch.testing.assert_close(soft, x, atol=1e-3, rtol=0)
    assert hard.abs().max() == pytest.approx(0.5, abs=1e-4) and (hard * x >= 0).all()
    assert in_band(hard, 1490, 1510) / in_band(hard, 490, 510) > 0.05  # a square wave has 1 / 9
    assert in_band(soft, 1490, 1510) / in_band(soft, 490, 510) < 1e-6


def test_a_recording_has_16_bits_and_its_level(speech):
    level = torch.tensor([0.0, -6.0, -20.0, -40.0])
    y = waveform.recorded(speech, level)
    torch.testing.assert_close(20 * torch.log10(y.abs().amax(1)), level, atol=0.05, rtol=0)
    assert torch.equal((y * 32768).round(), y * 32768)
    silent = waveform.recorded(torch.zeros(1, 100), torch.zeros(1))
    assert (silent == 0).all()


def test_speed_moves_a_tone_and_keeps_the_length():
    factor = torch.tensor([1.0, 1.05, 0.95])
    x = tone(1000, 30_000).expand(3, -1)
    y = waveform.change_speed(x, factor, SAMPLES)
    assert y.shape == (3, SAMPLES) and torch.equal(y[0], x[0, :SAMPLES])
    spectrum = torch.fft.rfft(y * torch.hann_window(SAMPLES))
    peak = spectrum.abs().argmax(dim=1) * RATE / SAMPLES
    torch.testing.assert_close(peak, 1000 * factor, atol=3.0, rtol=0)
    torch.testing.assert_close(waveform.power(y), waveform.power(x), atol=2e-3, rtol=0)
