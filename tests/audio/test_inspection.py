"""Views of a recording: envelope, intervals of speech and log-mel lie on one axis of time."""

import numpy as np
import pytest

from voice2face_gan.audio.inspection import inspect
from voice2face_gan.audio.vad import VadSettings, keep_speech

RATE = 16_000


@pytest.fixture(scope="module")
def recording(voices) -> np.ndarray:
    """A second of hush, three of speech, a second of hush."""
    hush = (1e-3 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    return np.concatenate([hush, voices[0], hush])


def test_the_speech_is_that_of_the_detector(recording):
    found = inspect(recording, VadSettings())
    assert found.seconds == 5
    pieces = [recording[round(a * RATE) : round(b * RATE)] for a, b in found.speech]
    assert np.array_equal(np.concatenate(pieces), keep_speech(recording, VadSettings()))


def test_the_envelope_holds_every_sample(recording):
    found = inspect(recording, columns=100)
    parts = np.array_split(recording, 100)
    assert found.envelope.shape == (100, 2)
    assert np.allclose(found.envelope[:, 0], [part.min() for part in parts])
    assert np.allclose(found.envelope[:, 1], [part.max() for part in parts])


def test_the_log_mel_is_louder_where_there_is_speech(recording):
    found = inspect(recording, columns=100)
    assert found.log_mel.shape == (64, 100) and found.log_mel.dtype == np.uint8 and found.log_mel.max() == 255
    loudness = found.log_mel.mean(axis=0)
    assert loudness[25:75].mean() > 2 * loudness[:18].mean()


def test_a_tone_is_one_row():
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    found = inspect(tone.astype(np.float32))
    rows = found.log_mel.mean(axis=1)
    assert found.log_mel.shape[1] == 98 and 20 < rows.argmax() < 30


@pytest.mark.parametrize("samples", [1, 100, 401])
def test_a_moment(samples):
    found = inspect(np.full(samples, 0.1, np.float32))
    assert found.speech == [] and len(found.envelope) >= 1 and np.isfinite(found.envelope).all()
