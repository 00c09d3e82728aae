"""Kaldi's filterbank in batches: against torchaudio's, its padding and its normalisation."""

import pytest
import torch

from voice2face_gan.audio.fbank import NORMS, FbankSettings, fbanks, log_fbanks
from voice2face_gan.errors import DataError


@pytest.fixture(scope="module")
def speech():
    return torch.randn(2, 24_000, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.05


def test_it_is_torchaudios(speech):
    """With a mean that the frames lose; every constant of the published front end named here."""
    kaldi = pytest.importorskip("torchaudio").compliance.kaldi
    for clip, mels in zip(speech, log_fbanks(speech), strict=True):
        wanted = kaldi.fbank(
            clip[None],
            htk_compat=True,
            sample_frequency=16_000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_shift=10,
        )
        assert mels.shape == (128, 148) and torch.allclose(mels, wanted.t(), atol=2e-3)


def test_zeros_come_before_the_normalisation(speech):
    """What is padded is 0.467, not 0; the rest is (x + 4.2677393) / (2 x 4.5689974)."""
    found = fbanks(speech)
    assert found.shape == (2, 128, 1024)
    assert torch.allclose(found[:, :, 148:], torch.tensor(0.467), atol=1e-4)
    assert torch.allclose(found[:, :, :148], (log_fbanks(speech) + 4.2677393) / (2 * 4.5689974))


def test_the_norms_of_the_published_sources(speech):
    assert (NORMS["esc-50"].mean, NORMS["esc-50"].std, NORMS["esc-50"].frames) == (-6.6268077, 5.358466, 512)
    assert NORMS["speech-commands"].frames == 128 and NORMS["audioset"].samples == 164_080
    assert fbanks(speech, NORMS["speech-commands"]).shape == (2, 128, 128), "longer clips are cut"
    kacper = NORMS["kacper"]
    repeated = torch.cat([speech] * 7, dim=1)[:, : kacper.samples]
    assert torch.allclose(fbanks(speech, kacper), (log_fbanks(repeated) + 5.460994) / (2 * 3.1129124))


def test_silence_and_little_are_finite():
    for samples in (1, 399, 400, 16_000):
        found = fbanks(torch.zeros(1, samples))
        assert found.isfinite().all() and found.shape == (1, 128, 1024)
    with pytest.raises(DataError, match="without samples"):
        fbanks(torch.zeros(1, 0))
    with pytest.raises(DataError, match="deviation above 0"):
        FbankSettings(std=0)


def test_it_is_hugging_faces_extractor(speech):
    transformers = pytest.importorskip("transformers", reason="the extra speech2face is not installed")
    extractor = transformers.ASTFeatureExtractor()
    wanted = extractor(
        [clip.numpy() for clip in speech], sampling_rate=16_000, return_tensors="pt"
    ).input_values
    assert torch.allclose(fbanks(speech).transpose(1, 2), wanted, atol=1e-3)
