"""Random distortions as wholes: seeded, of the length wanted, within range; and of log-mels."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from voice2face_gan.audio.augment import log_mel as augment_mel
from voice2face_gan.audio.augment.log_mel import MelAugmentation
from voice2face_gan.audio.augment.policy import SignalAugmentation
from voice2face_gan.audio.log_mel import FeatureSettings, log_mel, log_mels, mel_centres, normalise

RATE, SAMPLES = 16_000, 24_000
SHARES = ("room", "noise", "band", "telephone", "codec", "overdrive")
NOTHING = replace(SignalAugmentation(speed=0.0, peak_db=(0.0, 0.0)), **dict.fromkeys(SHARES, 0.0))
QUIET = MelAugmentation(speed=0.0, noise=0.0, band=0.0, masks=0.0)
FEATURES = FeatureSettings()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def speech(voices):
    return torch.from_numpy(voices).float()  # (6, 3 s)


@pytest.fixture(scope="module")
def mels(speech):
    return log_mels(speech[:, :SAMPLES])


def test_one_seed_one_result(speech):
    augmentation, who = SignalAugmentation(), np.arange(6)
    first, again, other = (augmentation(speech, SAMPLES, who, RATE, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("share", [*SHARES, "speed", "nothing", "all"])
def test_length_and_range(speech, share):
    shares = SHARES if share == "all" else {share} & set(SHARES)
    augmentation = replace(
        NOTHING, **dict.fromkeys(shares, 1.0), speed=0.05 if share in ("speed", "all") else 0.0
    )
    wanted = 24_001  # odd too
    before = speech.clone()
    y = augmentation(speech[:, : augmentation.samples_needed(wanted)], wanted, np.arange(6), RATE, rng())
    assert y.shape == (6, wanted) and y.dtype == torch.float32
    assert torch.isfinite(y).all() and y.abs().max() <= 1
    assert torch.equal(speech, before), "what was given is left as it was"
    plain = NOTHING(speech, wanted, np.arange(6), RATE, rng())
    assert torch.equal(y, plain) == (share == "nothing")
    torch.testing.assert_close(
        plain, speech[:, :wanted] / speech[:, :wanted].abs().amax(1)[:, None], atol=1e-4, rtol=0
    )


def test_a_share_is_a_share(speech):
    """Of 600 clips 30 % are touched."""
    augmentation = replace(NOTHING, overdrive=0.3, drive_db=(20.0, 20.0))
    clips = speech[:, :4000].repeat(100, 1)
    y = augmentation(clips, 3900, np.zeros(600), RATE, rng())
    touched = ((y - NOTHING(clips, 3900, np.zeros(600), RATE, rng())).abs().amax(1) > 1e-3).float().mean()
    assert touched == pytest.approx(0.3, abs=0.06)


def test_babble_of_one_speaker_alone_is_noise(speech):
    augmentation = replace(NOTHING, noise=1.0, babble=1.0, snr_db=(0.0, 0.0))
    y = augmentation(speech, SAMPLES, np.zeros(6), RATE, rng())
    assert torch.isfinite(y).all()
    assert (y - NOTHING(speech, SAMPLES, np.zeros(6), RATE, rng())).abs().amax(1).min() > 0.01


def test_silence_stays_finite():
    y = SignalAugmentation()(torch.zeros(8, 9000), 8000, np.arange(8), RATE, rng())
    assert torch.isfinite(y).all() and torch.isfinite(log_mels(y)).all()


def test_log_mels_of_a_batch_are_those_of_each(speech):
    batch = log_mels(speech[:, :SAMPLES])
    for mel, wave in zip(batch, speech[:, :SAMPLES], strict=True):
        torch.testing.assert_close(mel, normalise(log_mel(wave)), atol=2e-3, rtol=1e-3)


def test_every_number_is_documented():
    for kind in (SignalAugmentation, MelAugmentation):
        for field in fields(kind):
            assert field.name in kind.__doc__, field.name


def test_masks(mels):
    start, long = torch.tensor([0, 5, 10, 20, 30, 140]), torch.tensor([3, 0, 40, 1, 2, 99])
    masked = augment_mel.mask_time(mels, start, long)
    for row, (a, n) in enumerate(zip(start.tolist(), long.tolist(), strict=True)):
        assert (masked[row, :, a : a + n] == 0).all()
        kept = torch.ones(mels.shape[2], dtype=torch.bool)
        kept[a : a + n] = False
        assert torch.equal(masked[row][:, kept], mels[row][:, kept])
    bins = augment_mel.mask_bins(mels, torch.full((6,), 4), torch.full((6,), 3))
    assert (
        (bins[:, 4:7] == 0).all()
        and torch.equal(bins[:, 7:], mels[:, 7:])
        and torch.equal(bins[:, :4], mels[:, :4])
    )


def test_a_cut_band_holds_nothing_of_the_voice(mels):
    noise = torch.randn(mels.shape, generator=torch.Generator().manual_seed(0))
    cut = augment_mel.cut_band(mels, torch.full((6,), 5), torch.full((6,), 50), noise)
    assert torch.equal(cut[:, 5:50], mels[:, 5:50])
    assert torch.equal(cut[:, :5], noise[:, :5]) and torch.equal(cut[:, 50:], noise[:, 50:])


def test_added_power_is_what_adding_the_signals_gives(speech, mels):
    """Noise of the same colour as the voice, 10 dB below: as log-mels nearly what it is as signals."""
    spectrum = torch.fft.rfft(speech[:, :SAMPLES]).abs()
    phase = 2 * torch.pi * torch.rand(spectrum.shape, generator=torch.Generator().manual_seed(0))
    noise = torch.fft.irfft(torch.polar(spectrum, phase), SAMPLES)  # as strong as the voice
    wave = speech[:, :SAMPLES] + 10**-0.5 * noise
    means = torch.stack([log_mel(w) for w in speech[:, :SAMPLES]])
    floor = torch.stack([log_mel(10**-0.5 * n) for n in noise]).mean(2, keepdim=True)
    gap = (means.mean(2, keepdim=True) - floor) / augment_mel.NATS
    guess = augment_mel.add_power(mels, torch.zeros_like(mels), gap)
    torch.testing.assert_close(guess.mean(2), torch.zeros(6, 64), atol=1e-3, rtol=0)
    torch.testing.assert_close(guess.std(2, correction=0), torch.ones(6, 64), atol=1e-3, rtol=0)
    likeness = torch.nn.functional.cosine_similarity(guess.flatten(1), log_mels(wave).flatten(1))
    without = torch.nn.functional.cosine_similarity(mels.flatten(1), log_mels(wave).flatten(1))
    assert (likeness > without).all() and likeness.min() > 0.8
    far = augment_mel.add_power(mels, torch.zeros_like(mels), torch.full((6, 1, 1), 9.0))
    torch.testing.assert_close(far, mels, atol=0.02, rtol=0)


def test_speed_moves_frames_and_bins():
    centres = mel_centres(FEATURES)
    assert len(centres) == 64 and (centres.diff() > 0).all() and 20 < centres[0] < centres[-1] < 7200
    mel = torch.zeros(3, 64, 200)
    mel[:, 32] = 1.0  # a steady tone
    mel[:, :, 100] += 5.0  # a click
    factor = torch.tensor([1.0, 1.1, 0.9])
    moved = augment_mel.change_speed(mel, factor, centres)
    torch.testing.assert_close(moved[0], mel[0], atol=1e-4, rtol=0)
    for row in (1, 2):
        assert abs(int(moved[row].mean(0).argmax()) - 100 / factor[row]) <= 1
        heard = moved[row, :, 30].clamp(min=0)
        centre = float((heard * centres).sum() / heard.sum())
        assert centre == pytest.approx(float(centres[32] * factor[row]), rel=0.02)


def test_of_log_mels_one_seed_one_result(mels):
    who = np.array([0, 0, 1, 1, 2, 2])
    before = mels.clone()
    first, again, other = (MelAugmentation()(mels, who, FEATURES, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == mels.shape and torch.isfinite(first).all() and torch.equal(mels, before)
    assert torch.equal(QUIET(mels, who, FEATURES, rng()), mels)


def test_babble_of_a_log_mel_is_another_speaker():
    places = augment_mel._somebody_else(np.array([0, 0, 1, 0]))
    assert places.tolist() == [2, 2, 3, 2]
    assert augment_mel._somebody_else(np.array([4, 4])).tolist() == [0, 1]
