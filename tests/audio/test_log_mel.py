"""The log-mel against its formula, written out in float64."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.signal import chirp, lfilter, resample_poly

from voice2face_gan.audio.decode import load_audio
from voice2face_gan.audio.encoder_input import of_log_mel
from voice2face_gan.audio.log_mel import (
    FLOOR,
    FeatureSettings,
    LogMelStream,
    log_mel,
    mel_filterbank,
    normalise,
    normalise_with_stats,
    tile_to,
)
from voice2face_gan.errors import DataError

RATE = 16_000


def reference_filterbank(n_fft=1024, n_mels=64, low=20.0, high=7200.0) -> np.ndarray:
    """(bins, n_mels) from the definition, one bin and one triangle at a time."""
    mel_low, mel_high = (2595 * np.log10(1 + f / 700) for f in (low, high))
    step = (mel_high - mel_low) / (n_mels + 1)
    corners = [700 * (10 ** ((mel_low + i * step) / 2595) - 1) for i in range(n_mels + 2)]
    bank = np.zeros((n_fft // 2 + 1, n_mels))
    for k in range(n_fft // 2 + 1):
        f = k * RATE / n_fft
        for m in range(n_mels):
            left, centre, right = corners[m : m + 3]
            if left < f <= centre:
                bank[k, m] = (f - left) / (centre - left)
            elif centre < f < right:
                bank[k, m] = (right - f) / (right - centre)
    return bank


def reference_log_mel(waveform: np.ndarray) -> np.ndarray:
    """(64, frames) in float64, frame by frame."""
    x = waveform.astype(np.float64)
    y = x - 0.97 * np.concatenate([[0.0], x[:-1]])
    if len(y) < 400:
        y = np.concatenate([y, np.zeros(400 - len(y))])
        y[len(x)] = 0.0
    bank = reference_filterbank()
    columns = []
    for frame in range(1 + (len(y) - 400) // 160):
        piece = y[160 * frame : 160 * frame + 400] * np.hamming(400)
        power = np.abs(np.fft.rfft(piece, 1024)) ** 2
        columns.append(np.log(np.maximum(power @ bank, 1e-10)))
    return np.stack(columns, axis=1)


def reference_normalise(mel: np.ndarray) -> np.ndarray:
    std = mel.std(axis=1, keepdims=True)
    return np.where(std < 1e-5, 0, (mel - mel.mean(axis=1, keepdims=True)) / np.maximum(std, 1e-5))


def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    t = np.arange(4 * RATE) / RATE
    phone = lfilter([1], [1, -0.9], rng.standard_normal(4 * 8000)) * 0.05
    pulses = np.where(np.arange(len(t)) % 130 == 0, 1.0, 0.0)
    vowel = lfilter([1], [1, -1.8 * np.cos(2 * np.pi * 700 / RATE), 0.9], pulses)
    burst = rng.standard_normal(len(t)) * 0.3
    burst[RATE : 3 * RATE] = 0
    found = {
        "white noise": rng.standard_normal(len(t)) * 0.1,
        "faint noise": rng.standard_normal(len(t)) * 1e-4,
        "chirp like speech": chirp(t, 80, 4, 3500) * 0.4 * (1.05 + np.sin(2 * np.pi * 4 * t)),
        "tone": 0.9 * np.sin(2 * np.pi * 440 * t),
        "loud square": np.sign(np.sin(2 * np.pi * 200 * t)),
        "8 kHz source, polyphase": resample_poly(phone, 2, 1),
        "8 kHz source, decoded": load_audio((phone, 8000)),
        "vowel": vowel * 0.3 * (np.sin(2 * np.pi * 2 * t) > 0),
        "noise round silence": burst,
        "offset": 0.5 + 1e-3 * rng.standard_normal(len(t)),
    }
    return {name: sound.astype(np.float32) for name, sound in found.items()}


@pytest.mark.parametrize("name", list(sounds()))
def test_log_mel_is_the_formula(name):
    waveform = sounds()[name]
    wanted, found = reference_log_mel(waveform), log_mel(waveform)
    assert found.dtype == torch.float32 and found.shape == wanted.shape == (64, 398)
    assert found.is_contiguous()
    assert np.linalg.norm(found.numpy() - wanted) < 1e-4 * np.linalg.norm(wanted)
    wanted = reference_normalise(wanted)
    assert np.linalg.norm(normalise(found).numpy() - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_digital_silence_is_finite_and_normalises_to_zero():
    mel = log_mel(np.zeros(RATE, dtype=np.float32))
    assert torch.allclose(mel, torch.tensor(FLOOR).log().expand_as(mel))
    assert torch.equal(normalise(mel), torch.zeros(64, 98))


@pytest.mark.parametrize("samples, frames", [
    (0, 1), (1, 1), (399, 1), (400, 1), (559, 1), (560, 2), (16000, 98), (160000, 998),
    (399 + 160 * 256, 256), (400 + 160 * 256, 257), (400 + 160 * 255, 256),
])  # fmt: skip
def test_number_of_frames(samples, frames):
    waveform = np.random.default_rng(0).standard_normal(samples).astype(np.float32) * 0.1
    assert log_mel(waveform).shape == (64, frames)
    assert FeatureSettings().frames(samples) == frames


def test_shorter_than_a_window_is_padded():
    waveform = np.random.default_rng(0).standard_normal(123).astype(np.float32) * 0.1
    longer = np.concatenate([waveform, np.zeros(277, dtype=np.float32)])
    assert torch.equal(log_mel(waveform), log_mel(longer))


def test_memory_of_the_caller_is_left_alone():
    waveform = torch.randn(50000)
    before = waveform.clone()
    log_mel(waveform)
    assert torch.equal(waveform, before)
    assert torch.equal(log_mel(waveform), log_mel(waveform.double()))
    backwards = waveform.numpy()[::-1]
    backwards.flags.writeable = False
    assert torch.equal(log_mel(backwards), log_mel(backwards.copy()))


def test_blocks_give_what_the_whole_gives():
    rng = np.random.default_rng(3)
    waveform = (0.1 * rng.standard_normal(100_000)).astype(np.float32)
    whole = log_mel(waveform)
    stream = LogMelStream()
    for count in (1, 7, 90, 900):
        block = np.empty(len(waveform), dtype=np.float32)
        for piece in np.split(waveform, np.sort(rng.integers(0, len(waveform), size=count))):
            block[: len(piece)] = piece
            stream.feed(block[: len(piece)])
            block[:] = 9  # the caller reuses his memory
        assert torch.equal(stream.finish(), whole)  # and the stream is as new


def test_threads_do_not_show():
    threads = torch.get_num_threads()
    waveform = (0.1 * np.random.default_rng(3).standard_normal(100_000)).astype(np.float32)
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(normalise(log_mel(waveform)))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_long_input_is_paged(monkeypatch):
    waveform = (0.1 * np.random.default_rng(3).standard_normal(100_000)).astype(np.float32)
    whole = log_mel(waveform)
    monkeypatch.setattr("voice2face_gan.audio.log_mel._PAGE", 2)
    assert torch.equal(log_mel(waveform), whole)


def test_other_settings():
    settings = FeatureSettings(window_ms=10, hop_ms=15, n_fft=256, n_mels=20, f_max=4000.0)
    waveform = (0.1 * np.random.default_rng(3).standard_normal(60_123)).astype(np.float32)
    whole = log_mel(waveform, settings)
    assert whole.shape == (20, settings.frames(60_123))
    # A hop longer than the window leaves samples out; frame i begins at 240 i all the same.
    alone = log_mel(np.concatenate([[0], waveform[240 * 200 :]]).astype(np.float32)[1:], settings)
    assert torch.allclose(whole[:, 201:], alone[:, 1:], atol=1e-4)


def test_filterbank_is_the_definition_and_torchaudios():
    bank = mel_filterbank(FeatureSettings())
    assert bank.shape == (513, 64) and bank.dtype == torch.float32
    assert np.abs(bank.numpy() - reference_filterbank()).max() < 1e-6
    assert mel_filterbank(FeatureSettings()) is bank
    fine = mel_filterbank(FeatureSettings(n_fft=2**17))
    assert (fine.max(dim=0).values > 0.99).all() and fine.max() <= 1
    audio = pytest.importorskip("torchaudio")
    theirs = audio.functional.melscale_fbanks(513, 20.0, 7200.0, 64, RATE, norm=None, mel_scale="htk")
    assert torch.allclose(bank, theirs, atol=2e-4)  # theirs is rounded to float32 on the way


def test_normalise():
    mel = torch.randn(64, 500) * torch.linspace(0.01, 9, 64)[:, None] - 12
    mel[5] = -23.025851
    mel[6] = -23.025851 + 1e-6 * torch.randn(500)
    before = mel.clone()
    found = normalise(mel).double()
    assert torch.equal(mel, before)
    assert torch.equal(found[5:7], torch.zeros(2, 500).double())
    rest = [i for i in range(64) if i not in (5, 6)]
    assert found[rest].mean(dim=1).abs().max() < 1e-6
    assert (found[rest].std(dim=1, correction=0) - 1).abs().max() < 1e-5
    assert torch.equal(normalise(mel, out=mel), found.float()) and torch.equal(mel, found.float())
    assert torch.equal(normalise(torch.randn(64, 1)), torch.zeros(64, 1))
    assert normalise(torch.empty(64, 0)).shape == (64, 0)


def test_normalise_in_groups_of_rows():
    mel = torch.randn(3, 2**19 + 5)
    whole = (mel - mel.mean(1, keepdim=True)) / mel.std(1, correction=0, keepdim=True)
    assert torch.allclose(normalise(mel), whole, atol=1e-5)


@pytest.mark.parametrize("rows", [None, 3])
def test_what_normalisation_takes_away_brings_the_log_mel_back(rows, monkeypatch):
    """Whole and in groups of rows; of a bin that does not vary only the mean is left."""
    mel = 2 * torch.randn(7, 90) + torch.arange(7.0)[:, None] - 9
    mel[4] = -3.0
    if rows:
        monkeypatch.setattr("voice2face_gan.audio.log_mel.NUMBERS_AT_ONCE", 90 * rows)
    mean, std = normalise_with_stats(mel)[1]
    assert mean.shape == std.shape == (7,) and mean.dtype == torch.float32
    torch.testing.assert_close(mean, mel.mean(1))
    assert float(std[4]) == 0 and std[:4].min() > 1
    torch.testing.assert_close(normalise(mel) * std[:, None] + mean[:, None], mel, atol=1e-4, rtol=1e-5)


def test_what_an_encoder_takes():
    """Normalised, or raw for an encoder that takes raw log-mels; tiled either way."""
    mel = torch.randn(64, 30) - 8
    heard, raw = of_log_mel(mel.clone(), FeatureSettings(min_frames=70)), mel.repeat(1, 3)[:, :70]
    assert torch.equal(heard[:, :30], normalise(mel)) and heard.shape == (64, 70)
    assert torch.equal(of_log_mel(mel.clone(), FeatureSettings(min_frames=70), "raw_log_mel"), raw)


def test_loudness_does_not_matter_after_normalisation():
    waveform = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    assert torch.allclose(normalise(log_mel(waveform)), normalise(log_mel(waveform * 0.1)), atol=1e-3)


def test_repeat_to():
    mel = torch.arange(6.0).reshape(2, 3)
    assert tile_to(mel, 7).tolist() == [[0, 1, 2, 0, 1, 2, 0], [3, 4, 5, 3, 4, 5, 3]]
    assert tile_to(mel, 7).is_contiguous()
    assert tile_to(mel, 3) is mel and tile_to(mel, 2) is mel
    assert tile_to(mel, 6).shape == (2, 6)
    with pytest.raises(DataError):
        tile_to(torch.empty(64, 0), 5)


def test_settings_go_through_json():
    settings = FeatureSettings(n_mels=80, f_max=7600.0)
    assert FeatureSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert FeatureSettings.from_dict({}) == FeatureSettings()
    with pytest.raises(DataError, match="n_mel;.*n_mels"):
        FeatureSettings.from_dict({"n_mel": 64})


@pytest.mark.parametrize("values", [
    {"n_fft": 256}, {"f_max": 9000.0}, {"f_min": 8000.0}, {"n_mels": 0}, {"n_mels": 64.0}, {"hop_ms": 0},
    {"sample_rate": "16000"}, {"pre_emphasis": 1.5}, {"f_min": float("nan")}, {"min_frames": True},
])  # fmt: skip
def test_settings_that_make_no_log_mel(values):
    with pytest.raises(DataError):
        FeatureSettings(**values)


def test_only_waveforms():
    with pytest.raises(DataError, match=r"\(2, 100\)"):
        log_mel(np.zeros((2, 100), dtype=np.float32))


def test_training_machines_need_neither_pyav_nor_webrtcvad():
    code = (
        "import sys; sys.modules.update(av=None, webrtcvad=None); import voice2face_gan.audio; "
        "assert 'torch' not in sys.modules; import voice2face_gan.audio.log_mel"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=__file__.rsplit("/tests/", 1)[0])
