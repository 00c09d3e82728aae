"""Embeddings of whole clips in Python, several clips of one speaker, and every form that a clip may have."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan import load_audio
from voice2face_gan.audio.voice import VoiceFeatures, voice_features
from voice2face_gan.errors import AudioError, NoSpeechError, VoiceToFaceError
from voice2face_gan.voice_embedding import VoiceEmbedding, mean_embedding


def apart(a, b) -> int:
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())


def test_the_embedding_of_a_clip(model, clips):
    e = model.embed_clip(clips[0])
    assert e.shape == (64,) and e.dtype == torch.float32 and e.device.type == "cpu"
    voice = voice_features(clips[0], vad=model.vad, features=model.features, takes=model.encoder.takes)
    assert torch.equal(e, model.predict(voice.encoder_input))
    face = model.decode(model.condition(e)[None])[0]
    assert apart(face, model.generate(clips[0])[0]) <= 1


def test_the_embeddings_of_clips(model, clips):
    rows = model.embed_clips(iter(clips[:3]))
    assert rows.shape == (3, 64) and torch.equal(rows[1], model.embed_clip(clips[1]))
    assert model.embed_clips([]).shape == (0, 64)


def test_others_may_train_on_them(model, clips):
    """They are no inference tensors, which autograd refuses to keep."""
    layer = torch.nn.Linear(64, 1)
    for e in (model.embed_clip(clips[0]), model.embed_clips(clips[:2])):
        layer(e).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_errors_come_in_their_place(model, clips, tmp_path):
    silence = (np.zeros(48_000, dtype=np.float32), 16_000)
    found = list(model.embeddings([clips[0], tmp_path / "none.wav", silence, clips[1]]))
    assert isinstance(found[1], AudioError) and isinstance(found[2], NoSpeechError)
    assert [found[0].name, found[3].name] == ["spk0.wav", "spk1.wav"]
    assert found[0].seconds == pytest.approx(3, abs=0.01) and 1 < found[0].speech_seconds <= 3
    assert found[0].voice.encoder_input.numel() == 0  # thousands may be kept
    for call in (model.embed_clips, model.generate_together):
        with pytest.raises(NoSpeechError):
            call([clips[0], silence])
    with pytest.raises(AudioError):
        model.embed_clip(tmp_path / "none.wav")


# Several clips of one speaker


def voice(e: list[float], seconds: float, **probabilities: float) -> VoiceEmbedding:
    features = VoiceFeatures(torch.zeros(2, 0), 2 * seconds, seconds, seconds)
    return VoiceEmbedding("a.wav", torch.tensor(e), features, probabilities, "odd")


def test_the_mean_is_weighted_by_seconds_of_speech():
    mean = mean_embedding([voice([1.0, 0.0], 3.0, speech=0.9), voice([0.0, 2.0], 1.0, speech=0.1)], False)
    assert mean.embedding.tolist() == [0.75, 0.5] and mean.warning == ""
    assert (mean.seconds, mean.speech_seconds, mean.voice.variation) == (8.0, 4.0, 2.5)
    assert mean.probabilities["speech"] == pytest.approx(0.7) and mean.name == "a.wav and 1 more"
    unit = mean_embedding([voice([1.0, 0.0], 3.0), voice([0.0, 1.0], 3.0)], True)
    assert unit.embedding.tolist() == pytest.approx([0.5**0.5] * 2)
    alone = voice([0.6, 0.8], 2.0, child=0.3)
    again = mean_embedding([alone], True)
    assert torch.allclose(again.embedding, alone.embedding) and again.name == "a.wav"
    assert again.probabilities == pytest.approx(alone.probabilities)
    with pytest.raises(VoiceToFaceError, match="no recording"):
        mean_embedding([], False)


def test_one_face_of_several_clips(model, clips, voices):
    parts = [(voices[0], 16_000), (voices[1][:24_000], 16_000)]
    first, second = model.embeddings(parts)
    a, b = first.speech_seconds, second.speech_seconds
    assert a > 1.5 * b
    e = (a * first.embedding + b * second.embedding) / (a + b)
    assert model.controls.normalise_embedding
    face = model.decode(model.condition(F.normalize(e, dim=0))[None])[0]
    assert apart(model.generate_together(parts)[0], face) <= 1
    assert apart(model.generate_together([clips[0]])[0], model.generate(clips[0])[0]) <= 1
    heard = model.generate_together_detailed([first, second], variants=3, size=100)
    assert len(heard.faces) == 3 and heard.faces[0].size == (100, 100)
    assert heard.speech_seconds == pytest.approx(a + b) and 0 <= heard.female <= 1
    for wrong in ({"variants": 0}, {"gender": "x"}):
        with pytest.raises(VoiceToFaceError):
            model.generate_together_detailed([first], **wrong)
    with pytest.raises(VoiceToFaceError):
        model.generate_together([])


def test_short_clips_are_enough_together(model, voices):
    """The warning is of all the speech there is."""
    short = list(model.embeddings([(v[:20_000], 16_000) for v in voices[:3]]))
    assert all("s of speech; 2 s or more" in item.warning for item in short)
    assert model.generate_together_detailed(short).warning == ""


def test_long_recordings_do_not_wait_for_each_other(model, voices):
    """Their faces come after a few minutes of sound, not after sixteen clips."""
    taken = []

    def long():
        for _ in range(4):
            taken.append(1)
            yield np.tile(voices[0], 60), 16_000

    assert next(model.generate_many(long())).seconds == pytest.approx(180) and len(taken) == 1


# The forms of a clip


def forms(path):
    """Name -> a clip of the same sound."""
    content, x = path.read_bytes(), load_audio(path)
    whole = np.round(x * 32768).astype(np.int16)
    half = np.repeat(x, 2)[: 2 * len(x)]  # twice the rate, by repeating samples
    return {
        "str": str(path),
        "path": path,
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "BytesIO": io.BytesIO(content),
        "array": (x, 16_000),
        "list of a pair": [x, 16_000],
        "list of samples": (x.tolist(), 16_000),
        "float64": (x.astype(np.float64), np.int64(16_000)),
        "int16": (whole, 16_000),
        "int32": (whole.astype(np.int32) << 16, 16_000),
        "memoryview of int16": (memoryview(whole), 16_000),
        "samples, channels": (np.stack([x, x], 1), 16_000),
        "channels, samples": (np.stack([x, x]), 16_000.0),
        "tensor": (torch.from_numpy(x), 16_000),
        "tensor, as torchaudio loads it": (torch.from_numpy(x)[None], 16_000),
        "tensor of two channels": (torch.from_numpy(x).expand(2, -1), 16_000),
        "tensor of int16": (torch.from_numpy(whole)[None], 16_000),
        "tensor with a gradient": (torch.from_numpy(x).requires_grad_(), torch.tensor(16_000)),
        "another rate": (half, 32_000),
    }


@pytest.fixture(scope="module")
def plain(model, clips):
    return model.generate(clips[0])[0], model.embed_clip(clips[0])


def test_every_form_gives_the_same_face_and_embedding(model, clips, plain):
    face, e = plain
    for name, clip in forms(clips[0]).items():
        near = name == "another rate"
        heard = model.generate_detailed(clip)
        assert apart(heard.faces[0], face) <= (40 if near else 1), name
        other = forms(clips[0])[name]  # a file object has been read to its end
        assert torch.allclose(model.embed_clip(other), e, atol=0.2 if near else 1e-4), name


def test_an_open_file(model, clips, plain):
    with clips[0].open("rb") as file:
        assert apart(model.generate(file)[0], plain[0]) <= 1
        file.seek(0)
        assert torch.equal(model.embed_clip(file), plain[1])
        assert not file.closed


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (np.zeros(16_000, dtype=np.float32), "array, rate"),
        ((16_000, np.zeros(16_000)), "array, rate"),
        (([1, 2, 3], 16_000), "int64"),
        ((torch.zeros(2, 2, 100), 16_000), "shape"),
        ((torch.zeros(0), 16_000), "empty"),
        ((np.full(16_000, 3000.0), 16_000), "floats must lie in"),
        (memoryview(b""), "empty"),
        (io.StringIO("x"), 'mode "rb"'),
        (None, "path, bytes"),
    ],
)
def test_what_is_no_clip_is_a_sentence(model, clip, words):
    for call in (model.generate, model.embed_clip):
        with pytest.raises(AudioError, match=words):
            call(clip)
