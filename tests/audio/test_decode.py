"""Every format is encoded here, decoded, and compared with the sound that went in."""

import io
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from encoding import encode, similarity

from voice2face_gan.audio.decode import SAMPLE_RATE, load_audio, source_name, stream_audio
from voice2face_gan.errors import AudioError

SECONDS = 1.5


def chirp(rate: int, seconds: float = SECONDS) -> np.ndarray:
    """(samples,) from 200 to 2,800 Hz, swelling, so that a delay and a wrong speed both show."""
    t = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * (200 * t + 2600 * t**2 / (2 * seconds))
    return 0.5 * np.sin(phase) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))


def assert_is_chirp(found, seconds=SECONDS, least=0.999, slack=0.0001):
    wanted = chirp(SAMPLE_RATE, seconds)
    assert found.dtype == np.float32 and found.ndim == 1
    assert abs(len(found) / SAMPLE_RATE - seconds) <= slack
    assert np.abs(found).max() <= 1
    assert similarity(found, wanted) > least
    assert 0.9 < np.std(found) / np.std(wanted) < 1.1


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("codec, format", [
    ("pcm_u8", "u8"), ("pcm_s16le", "s16"), ("pcm_s24le", "s32"), ("pcm_s32le", "s32"), ("pcm_f32le", "flt"),
])  # fmt: skip
def test_wav_of_every_width_and_rate(tmp_path, codec, format, rate):
    path = encode(str(tmp_path / "a.wav"), codec, chirp(rate)[None], rate, format)
    found = load_audio(path)
    assert_is_chirp(found)
    # PCM has no delay, and neither may the change of rate have one. Eight bits are noisy.
    wanted = chirp(SAMPLE_RATE)
    assert np.abs(found - wanted)[100:-100].max() < (0.01 if codec == "pcm_u8" else 0.002)


def test_16_bit_wav_at_16_khz_is_exact(tmp_path):
    sound = chirp(SAMPLE_RATE)
    path = encode(str(tmp_path / "a.wav"), "pcm_s16le", sound[None], SAMPLE_RATE)
    whole = load_audio(path) * 32768
    assert np.array_equal(whole, np.rint(whole)) and np.abs(whole / 32768 - sound).max() < 2**-15


def test_stereo_is_the_mean_of_both_channels(tmp_path):
    sound = np.stack([chirp(SAMPLE_RATE) * (c + 1) / 2 for c in range(2)])
    path = encode(str(tmp_path / "a.wav"), "pcm_f32le", sound, SAMPLE_RATE, "flt", "stereo")
    assert np.abs(load_audio(path) - sound.mean(0)).max() < 1e-6


def test_a_silent_channel_is_left_out(tmp_path):
    sound = np.stack([chirp(48000), np.zeros(72000)])
    path = encode(str(tmp_path / "a.wav"), "pcm_s16le", sound, 48000, "s16", "stereo")
    assert np.abs(load_audio(path) - chirp(SAMPLE_RATE))[100:-100].max() < 1e-3


@pytest.mark.parametrize("name, codec, format, rate, layout, video, least", [
    ("a.mp3", "libmp3lame", "s16p", 44100, "stereo", None, 0.995),
    ("a.mp3", "libmp3lame", "fltp", 16000, "mono", None, 0.995),
    ("a.m4a", "aac", "fltp", 44100, "mono", None, 0.99),
    ("a.m4a", "aac", "fltp", 48000, "5.1", None, 0.99),
    ("a.flac", "flac", "s16", 22050, "stereo", None, 0.999),
    ("a.opus", "libopus", "flt", 48000, "mono", None, 0.98),
    ("a.ogg", "libopus", "flt", 16000, "stereo", None, 0.98),
    ("a.webm", "libopus", "flt", 48000, "mono", "libvpx", 0.98),
    ("a.webm", "libopus", "flt", 48000, "stereo", "libvpx-vp9", 0.98),
    ("a.mp4", "aac", "fltp", 44100, "mono", "mpeg4", 0.99),
    ("a.mp4", "aac", "fltp", 48000, "stereo", "libx264", 0.99),
])  # fmt: skip
def test_compressed_formats_and_films(tmp_path, name, codec, format, rate, layout, video, least):
    for needed in filter(None, (codec, video)):
        if needed not in av.codecs_available:
            pytest.skip(f"this FFmpeg was built without {needed}")
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    sound = np.repeat(chirp(rate)[None], channels, axis=0)
    if layout == "5.1":  # AAC keeps only the lowest sounds of the fourth channel
        sound[3] = 0
    path = encode(str(tmp_path / name), codec, sound, rate, format, layout, video=video)
    assert_is_chirp(load_audio(path), least=least, slack=0.08)


def test_stream_is_the_whole_in_blocks(tmp_path):
    path = encode(str(tmp_path / "a.wav"), "pcm_s16le", chirp(44100, 5.3)[None], 44100)
    whole = load_audio(path)
    blocks = list(stream_audio(path, block_seconds=0.7))
    assert [len(block) for block in blocks[:-1]] == [11200] * (len(blocks) - 1)
    assert 0 < len(blocks[-1]) <= 11200
    assert np.array_equal(np.concatenate(blocks), whole)
    assert len(load_audio(path, 8000)) == pytest.approx(5.3 * 8000, abs=1)


def test_sources_of_every_kind(tmp_path, monkeypatch):
    path = tmp_path / "-i ein Gespräch 話.wav"
    encode(str(path), "pcm_s16le", chirp(SAMPLE_RATE)[None], SAMPLE_RATE)
    wanted, data = load_audio(str(path)), path.read_bytes()
    assert_is_chirp(wanted)
    monkeypatch.chdir(tmp_path)
    with open(path, "rb") as file:
        sources = [path, path.name, data, bytearray(data), memoryview(data), io.BytesIO(data), file]
        for source in sources:
            assert np.array_equal(load_audio(source), wanted)
        assert not file.closed
    assert [source_name(source) for source in (path, data, io.BytesIO(data), (wanted, 16000))] == [
        path.name, "the bytes given", "the file given", "the array given"]  # fmt: skip
    assert source_name(file) == path.name


def test_a_file_that_cannot_be_wound_back(tmp_path):
    encode(str(tmp_path / "a.wav"), "pcm_s16le", chirp(SAMPLE_RATE)[None], SAMPLE_RATE)
    wanted = load_audio(tmp_path / "a.wav")
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source, os.fdopen(write, "wb") as sink:
        sink.write((tmp_path / "a.wav").read_bytes())  # 48 kB, less than a pipe holds
        sink.close()
        found = load_audio(source)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("dtype, scale", [
    (np.int8, 2**7), (np.uint8, 2**7), (np.int16, 2**15), (np.int32, 2**31), (np.float16, 1),
    (np.float32, 1), (np.float64, 1),
])  # fmt: skip
@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("shape", ["samples", "samples x channels", "channels x samples", "1 x samples"])
def test_arrays(dtype, scale, tensor, shape):
    sound = chirp(SAMPLE_RATE)
    array = (sound * scale + (128 if dtype == np.uint8 else 0)).astype(dtype)
    if "channels" in shape:
        array = np.stack([array, array])
    if shape == "samples x channels":
        array = array.T
    if shape == "1 x samples":
        array = array[None]
    given = torch.from_numpy(np.ascontiguousarray(array)) if tensor else array
    before = np.array(array)
    found = load_audio((given, SAMPLE_RATE))
    assert found.dtype == np.float32 and found.shape == sound.shape
    assert np.abs(found - sound).max() < (0.02 if scale == 128 else 1e-3)
    assert np.array_equal(np.asarray(given), before)


def test_arrays_are_resampled_and_clipped():
    assert_is_chirp(load_audio((chirp(44100), 44100)))
    assert_is_chirp(load_audio((torch.from_numpy(chirp(8000)).bfloat16(), np.int64(8000))), least=0.99)
    assert np.abs(load_audio((3 * chirp(SAMPLE_RATE), 16000.0))).max() == 1


@pytest.mark.parametrize("source, words", [
    ((np.array([0.0, np.nan]), 16000), "NaN"),
    ((torch.tensor([0.0, float("inf"), 1.0]), 16000), "NaN or infinite"),
    ((np.full(8000, np.nan), 8000), "NaN"),
    ((np.array([0.0, 20000.0]), 16000), "20000"),
    ((np.zeros((3, 4, 5)), 16000), "shape"),
    ((np.zeros((64, 1000)), 16000), "channels"),
    ((np.zeros(0), 16000), "empty"),
    ((np.zeros((2, 0)), 16000), "empty"),
    ((np.arange(10), 16000), "int64"),
    ((np.array(["a"]), 16000), "type"),
    ((np.zeros(10), 0), "rate"),
    ((np.zeros(10), 44100.5), "rate"),
    ((np.zeros(10), None), "rate"),
    ((np.zeros(10), "16000"), "rate"),
    ((16000, np.zeros(10)), "pair"),
    ((np.zeros(10),), "pair"),
    (None, "NoneType"),
    (5, "int"),
])  # fmt: skip
def test_arrays_that_are_no_sound(source, words):
    with pytest.raises(AudioError, match=words):
        load_audio(source)


def one_sentence(source) -> str:
    with pytest.raises(AudioError) as caught:
        load_audio(source)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and len(message) < 200
    return message


def test_errors_name_the_file_and_what_to_do(tmp_path, capfd):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "letter.wav").write_text("Dear all,\n" * 50)
    (tmp_path / "letter.mp3").write_text("Dear all,\n" * 50)
    (tmp_path / "head.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVE")
    assert "clip.wav: there is no such file" in one_sentence(tmp_path / "no" / "clip.wav")
    assert "is a folder" in one_sentence(tmp_path)
    assert "empty.wav: is empty" in one_sentence(tmp_path / "empty.wav")
    assert "the bytes given: is empty" in one_sentence(b"")
    assert one_sentence(tmp_path / "letter.wav").startswith("letter.wav: ")
    assert one_sentence(tmp_path / "letter.mp3").startswith("letter.mp3: ")
    assert one_sentence(tmp_path / "head.wav").startswith("head.wav: ")
    assert one_sentence(bytes(range(256)) * 40).startswith("the bytes given: ")
    assert "no such file" in one_sentence("https://example.org/clip.wav")
    assert "no such file" in one_sentence("")
    one_sentence("nul\0.wav")
    with open(tmp_path / "letter.wav") as text:
        assert "text" in one_sentence(text)
    # Only a header, no samples.
    path = encode(str(tmp_path / "none.wav"), "pcm_s16le", chirp(SAMPLE_RATE)[None], SAMPLE_RATE)
    Path(path).write_bytes(Path(path).read_bytes()[:78])
    assert "no sound" in one_sentence(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_one_may_not_read(tmp_path):
    path = tmp_path / "secret.wav"
    path.write_bytes(b"RIFF")
    path.chmod(0)
    assert "secret.wav: may not be read" in one_sentence(path)


def test_permission_denied(tmp_path, monkeypatch):
    path = tmp_path / "secret.wav"
    path.write_bytes(b"RIFF")

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert "secret.wav: may not be read" in one_sentence(path)


def test_a_film_or_image_without_sound(tmp_path):
    with av.open(str(tmp_path / "mute.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p")
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    assert "mute.mp4: holds images but no sound" in one_sentence(tmp_path / "mute.mp4")


def test_what_comes_before_the_damage_is_kept(tmp_path, capfd):
    sound = chirp(SAMPLE_RATE, 4.0)[None]
    for name, codec, format in [("a.wav", "pcm_s16le", "s16"), ("a.mp3", "libmp3lame", "s16p")]:
        data = Path(encode(str(tmp_path / name), codec, sound, SAMPLE_RATE, format)).read_bytes()
        half = load_audio(data[: len(data) // 2])
        assert len(half) / SAMPLE_RATE == pytest.approx(2, abs=0.2)
        assert similarity(half, sound[0, : len(half)], 2000) > 0.98
        noise = np.random.default_rng(0).bytes(len(data) // 2)
        corrupt = load_audio(data[: len(data) // 2] + (noise if codec != "pcm_s16le" else noise[:1001]))
        assert len(corrupt) >= 1.8 * SAMPLE_RATE
        assert similarity(corrupt[: len(half)], sound[0, : len(half)], 2000) > 0.98
    path = encode(str(tmp_path / "a.mp4"), "aac", sound, SAMPLE_RATE, "fltp", video="mpeg4")
    film = Path(path).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(film[: len(film) // 2])  # the index is at the end of the file
    assert "cut.mp4: breaks off, the upload is incomplete" in one_sentence(tmp_path / "cut.mp4")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("claim", [0xFFFFFFFF, 0x7FFFFFF0, 0xFFFFFFF0])
def test_a_wav_that_claims_a_huge_length(claim):
    sound = (chirp(SAMPLE_RATE) * 32767).astype("<i2").tobytes()
    head = b"RIFF" + struct.pack("<I", claim) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16) + b"data" + struct.pack("<I", claim)
    assert_is_chirp(load_audio(head + sound))


def test_a_playlist_cannot_open_other_files(tmp_path):
    other = encode(str(tmp_path / "other.wav"), "pcm_s16le", chirp(SAMPLE_RATE)[None], SAMPLE_RATE)
    lists = {
        "a.ffconcat": f"ffconcat version 1.0\nfile {os.path.basename(other)}\n",
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{other}\n#EXT-X-ENDLIST\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        one_sentence(tmp_path / name)
        one_sentence(text.encode())


def test_a_float_wav_that_holds_nan(tmp_path):
    sound = chirp(SAMPLE_RATE)
    sound[5000] = np.nan
    path = encode(str(tmp_path / "nan.wav"), "pcm_f32le", sound[None], SAMPLE_RATE, "flt")
    assert "nan.wav: " in one_sentence(path) and "NaN" in one_sentence(path)


def test_quality_of_the_change_of_rate():
    """A tone above the new rate's limit must vanish, one below must stay."""
    t = np.arange(48000) / 48000
    assert np.std(load_audio((0.5 * np.sin(2 * np.pi * 10000 * t), 48000))[200:-200]) < 1e-3
    kept = load_audio((0.5 * np.sin(2 * np.pi * 6500 * t), 48000))[200:-200]
    assert np.std(kept) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


REAL = Path(__file__).parents[2].parent / "shared/data/paired/voxceleb/voice"


@pytest.mark.skipif(not REAL.is_dir(), reason="no real speech here")
def test_real_speech():
    found = load_audio(sorted(REAL.glob("*.opus"))[0])
    assert len(found) > SAMPLE_RATE and 0.001 < np.std(found) < 0.5
