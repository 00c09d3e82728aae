"""Recordings as people have them: each is heard, or refused in the sentence that fits."""

import gc
import os
import tempfile

import numpy as np
import pytest
from encoding import Pipe, encoded, id3, pcm, similarity, tracks, wav, wav_head
from odd_recordings import CASES, SILENCE, flac, gsm, m4a, mono, mp3, noise, opus, speech

from voice2face_gan.audio.decode import SAMPLE_RATE, load_audio, stream_audio
from voice2face_gan.audio.decoding import source
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.errors import AudioError, NoSpeechError


def refusal(given, **options) -> str:
    with pytest.raises(AudioError) as caught:
        load_audio(given, **options)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and len(message) < 220
    return message


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_recording_is_decoded_or_refused(name, tmp_path, capfd, recwarn):
    case = CASES[name]
    if case.seconds is None:
        assert case.words in refusal(case.make(tmp_path))
        assert capfd.readouterr() == ("", "")
        return
    stream = stream_audio(case.make(tmp_path), block_seconds=1.3)
    found = np.concatenate(list(stream))
    assert len(found) / SAMPLE_RATE == pytest.approx(case.seconds, abs=0.25)
    assert case.words in stream.info.note
    if not case.words:
        assert stream.info.note == ""
    if case.like is not None:
        assert similarity(found, speech(), 9000) > case.like
        level = 10 * np.log10(np.mean(found[: 5 * SAMPLE_RATE] ** 2) / np.mean(speech() ** 2))
        assert case.level < level < 0.5 or name.startswith("speech ")
    assert stream.info.seconds == len(found) / SAMPLE_RATE
    power = np.mean(found.astype(float) ** 2)
    if power > 0:
        assert stream.info.level == pytest.approx(10 * np.log10(power), abs=0.01)
    assert np.array_equal(load_audio(case.make(fresh(tmp_path))), found)
    assert capfd.readouterr() == ("", "") and not list(recwarn)


def fresh(folder):
    (folder / "again").mkdir()
    return folder / "again"


def endings() -> list[str]:
    import av

    known = set()
    for name in av.formats_available:
        known |= av.ContainerFormat(name).extensions
    return sorted(known)


def test_no_ending_makes_a_text_a_recording(tmp_path):
    """The endings that FFmpeg knows, 300 and more."""
    chance = np.random.default_rng(2).bytes(3000)
    assert len(endings()) > 250
    for ending in endings():
        path = tmp_path / f"a.{ending}"
        path.write_bytes(b"A letter and no recording.\n" * 100)
        assert "is text" in refusal(path)
        path.write_bytes(chance)
        assert refusal(path).startswith(f"a.{ending}: ")


@pytest.mark.parametrize("seed", range(40))
def test_bytes_of_chance_are_no_recording(seed):
    random = np.random.default_rng(seed)
    refusal(random.bytes(int(random.integers(1, 40_000))))


@pytest.mark.parametrize("text", [
    "Grüße aus Köln, ça va? 話す。\n" * 300, "x", "{", "[Script Info]\nTitle: a\n",
    "1\n00:00:01,000 --> 00:00:02,000\nHi\n",
    "WEBVTT\n\n00:01.000 --> 00:04.000\nHi\n", "data:audio/wav;base64,UklGRiQAAABXQVZF",
])  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_texts_in_any_encoding(text, encoding):
    if "data:" in text and encoding == "utf-8":
        assert "data URL" in refusal(text.encode())
    assert "not a recording" in refusal(text.encode(encoding, errors="ignore"))


def test_gsm_is_checked_frame_by_frame(tmp_path):
    good = gsm(100)
    assert len(load_audio(good)) == pytest.approx(2 * SAMPLE_RATE, abs=200)
    wrong = bytearray(good)
    wrong[50 * 33] = 0x13
    assert len(load_audio(wrong)) == pytest.approx(2 * SAMPLE_RATE, abs=200)
    wrong[: 20 * 33 : 33] = bytes(20)
    (tmp_path / "a.gsm").write_bytes(wrong)
    assert "convert it: ffmpeg -f gsm -i a.gsm a.wav" in refusal(tmp_path / "a.gsm")
    refusal(good[: 33 * 10])


# --- tracks -----------------------------------------------------------------------------------------------


def test_a_track_is_asked_for():
    film = tracks([mono(), 0.1 * mono()[:, ::-1], SILENCE])
    for track, wanted in ((1, speech()), (2, 0.1 * speech()[::-1])):
        stream = stream_audio(film, track=track)
        (found,) = list(stream)
        assert similarity(found, wanted, 2000) > 0.98
        assert (stream.info.tracks, stream.info.track) == (3, track) and "as asked" in stream.info.note
    assert np.abs(load_audio(film, track=3)).max() == 0
    assert "3 sound tracks, no track 4; ask for one from 1 to 3" in refusal(film, track=4)
    assert "no track 2" in refusal(wav(mono()), track=2)
    assert "no track 0" in refusal(film, track=0)
    assert "no track 2" in refusal((speech(), SAMPLE_RATE), track=2)
    assert len(load_audio((speech(), SAMPLE_RATE), track=1)) == len(speech())


def test_a_track_without_decoder_is_asked_for():
    from encoding import as_apac

    film = as_apac(tracks([noise(0.1), mono()]), 0)
    assert "track 1 is in a format that cannot be decoded; ask for track 2" in refusal(film, track=1)
    assert similarity(load_audio(film, track=2), speech(), 2000) > 0.98


def test_a_track_that_is_silent_in_the_part_asked_for_gives_way():
    late = np.concatenate([SILENCE, mono()], axis=1)
    film = tracks([late, np.tile(0.2 * mono(), 2)])
    for start, track in ((None, 1), (0.0, 1), (5.5, 1)):
        stream = stream_audio(film, start=start)
        list(stream)
        assert stream.info.track == track
    stream = stream_audio(film, end=4.0)
    assert similarity(np.concatenate(list(stream)), 0.2 * speech()[:64_000], 2000) > 0.98
    assert stream.info.track == 2 and "track 1 is silent" in stream.info.note


def test_the_tracks_reach_the_features():
    film = tracks([SILENCE, mono()])
    assert voice_features(film).audio.track == 2
    with pytest.raises(NoSpeechError, match="the bytes given, sound track 1 of 2: 0.00 s"):
        voice_features(film, track=1)
    assert voice_features(film, start=1, end=3).seconds == pytest.approx(2)
    assert voice_features(wav(mono())).audio.level == pytest.approx(-26.5, abs=0.1)


# --- a part -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: wav(mono()), mp3, m4a, flac, lambda: opus(mono(), "mono")])
@pytest.mark.parametrize("rate", [16_000, 8000])
def test_a_part_is_that_of_the_whole(make, rate):
    data = make()
    whole = load_audio(data, rate)
    for start, end in ((1.25, 3.5), (None, 0.3), (4.0, None), (0, 999), (2.00003, 2.5)):
        part = whole[round((start or 0) * rate) : None if end is None else round(end * rate)]
        assert np.array_equal(load_audio(data, rate, start=start, end=end), part)
        blocks = list(stream_audio(data, rate, 0.5, start=start, end=end))
        assert np.array_equal(np.concatenate(blocks), part) and len(blocks[0]) == min(rate // 2, len(part))


def test_a_part_of_an_array():
    sound = np.random.default_rng(0).uniform(-1, 1, 48_000).astype(np.float32)
    assert np.array_equal(load_audio((sound, 16_000), start=1, end=2.5), sound[16_000:40_000])


@pytest.mark.parametrize("start, end, words", [
    (3, 2, "start, 3 s, is not before the end, 2 s"), (2, 2, "not before"), (None, 0, "not before"),
    (-1, None, "start is -1"),
    (1, float("nan"), "end is nan"), ("1:20", None, "start is '1:20'"),
    (5.0, None, "start, 5 s, lies beyond its end at 5.00 s"),
    (80.5, 90, "start, 80.5 s, lies beyond its end at 5.00 s"), (1, 1.00001, "no sample"),
])  # fmt: skip
def test_parts_that_are_none(start, end, words):
    assert words in refusal(wav(mono()), start=start, end=end)


def test_the_end_is_not_read_beyond():
    """Decoding stops there: damage behind it is never met."""
    file = Pipe(b"")
    data = wav(np.tile(mono(), 20))

    class Counting(Pipe):
        def seekable(self):
            return True

        def seek(self, offset, whence=0):
            return self._rest.seek(offset, whence)

        def tell(self):
            return self._rest.tell()

        def readinto(self, buffer):
            file.taken = max(getattr(file, "taken", 0), self._rest.tell())
            return super().readinto(buffer)

    assert len(load_audio(Counting(data), end=2.0)) == 32_000
    assert file.taken < 200_000 < len(data)


# --- tags and pipes ---------------------------------------------------------------------------------------


def test_small_tags_change_nothing():
    for make in (mp3, flac):
        plain = make()
        assert np.array_equal(load_audio(id3(500) + plain), load_audio(plain))
        assert np.array_equal(load_audio(id3(500, foot=True) + id3(0) + plain), load_audio(plain))


def test_a_file_object_is_read_from_where_it_stands():
    import io

    file = io.BytesIO(b"seven.." + id3(2_000_000) + flac())
    file.seek(7)
    assert np.array_equal(load_audio(file), load_audio(flac()))


def test_a_pipe_beyond_the_limit(monkeypatch):
    monkeypatch.setattr(source, "PIPE_LIMIT", 100_000)
    assert "more than 9.31323e-05 GiB came through the pipe; save it" in refusal(Pipe(wav(mono())))
    assert len(load_audio(Pipe(wav(mono()[:, :40_000])))) == 40_000


def test_a_pipe_leaves_no_temporary_file(monkeypatch, tmp_path):
    monkeypatch.setattr(source, "_IN_MEMORY", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    assert len(load_audio(Pipe(wav(mono())))) == len(speech())
    blocks = stream_audio(Pipe(wav(mono())), block_seconds=0.5)
    next(blocks)
    assert os.listdir(tmp_path) == []  # it has no name even while it is read
    blocks.close()
    refusal(Pipe(b"<html>" * 3000))
    gc.collect()
    assert os.listdir(tmp_path) == []
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


def test_file_objects_that_misbehave():
    class Broken(Pipe):
        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

    class Odd:
        def __init__(self, answer):
            self.answer = answer

        def read(self, size):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    assert "could not be read to its end" in refusal(Broken(b""))
    assert "as text" in refusal(Odd("text"))
    assert "without waiting" in refusal(Odd(None))
    for error in (RuntimeError("odd"), KeyError("odd"), MemoryError()):
        refusal(Odd(error))
    assert "is empty" in refusal(Pipe(b""))
    closed = Pipe(wav(mono()))
    closed.close()
    assert "is closed" in refusal(closed)


# --- channels ---------------------------------------------------------------------------------------------


def test_ordinary_stereo_is_the_mean_to_the_last_bit():
    left, right = speech(), np.roll(speech(), 3000) * np.float32(0.3)
    stereo = np.stack([left, right])
    data = np.frombuffer(pcm(stereo), "<i2").reshape(-1, 2).astype(np.float32).T
    wanted = np.full(2, 1 / 65536, np.float32) @ data
    stream = stream_audio(wav(stereo), block_seconds=9)
    assert np.abs(next(stream) - wanted).max() == 0 and stream.info.note == ""


def test_channels_are_compared_over_all_that_was_decoded():
    """A guest whose channel is silent for the first 35 s is heard from the half minute on in which he speaks,
    and a pause of the other channel later changes nothing."""
    voice = np.tile(speech(), 20)  # 100 s
    guest = np.roll(voice, 7000)
    guest[: 35 * SAMPLE_RATE] = 0
    host = voice.copy()
    host[62 * SAMPLE_RATE :] = 0
    for given in ((np.stack([host, guest]), SAMPLE_RATE), wav(np.stack([host, guest]))):
        stream = stream_audio(given, block_seconds=7)
        found = np.concatenate(list(stream))
        first, rest = slice(0, 29 * SAMPLE_RATE), slice(31 * SAMPLE_RATE, None)
        assert np.abs(found[first] - host[first]).max() < 1e-4
        assert np.abs(found[rest] - (host + guest)[rest] / 2).max() < 1e-4
        assert stream.info.note == "the right channel is silent and left out"
        assert np.array_equal(load_audio(given), found)


def test_silent_channels_alone_are_silence():
    assert np.abs(load_audio((np.zeros((2, 8000), np.float32), 16_000))).max() == 0
    assert np.abs(load_audio((np.zeros((6, 8000), np.int16), 16_000))).max() == 0


def test_an_offset_is_silence():
    """A dead input that gives a constant voltage, and opposite phases on a constant."""
    stream = stream_audio((np.stack([speech(), np.full_like(speech(), 0.02)]), 16_000))
    assert np.array_equal(next(stream), speech()) and "right channel" in stream.info.note
    stream = stream_audio((np.stack([speech() + 0.1, 0.1 - speech()]), 16_000))
    assert similarity(next(stream) - np.float32(0.1), speech(), 10) > 0.99 and "cancel" in stream.info.note


@pytest.mark.parametrize("layout, weights", [
    ("5.1", [0.707, 0.707, 1, 0, 0.5, 0.5]), ("7.1", [0.707, 0.707, 1, 0, 0.5, 0.5, 0.5, 0.5]),
    ("3.0", [0.707, 0.707, 1]), ("2.1", [0.5, 0.5, 0]), ("quad", [0.707, 0.707, 0.5, 0.5]),
])  # fmt: skip
def test_weights_of_a_layout(layout, weights):
    sound = noise(0.1, len(weights))
    found = load_audio(encoded("pcm_f32le", sound, 16_000, "flt", layout))
    assert np.abs(found - np.array(weights) @ sound / sum(weights)).max() < 1e-6


def test_a_voice_in_the_lfe_alone_is_used():
    sound = np.zeros((6, len(speech())), np.float32)
    sound[3] = speech()
    assert np.array_equal(load_audio(encoded("pcm_f32le", sound, 16_000, "flt", "5.1")), speech())


def test_eight_and_more_channels_in_planes():
    """PyAV's own way to read these ends the process."""
    sound = np.repeat(mono(), 16, axis=0)
    for channels, layout in ((8, "7.1"), (16, "hexadecagonal")):
        data = encoded("wavpack", sound[:channels], 44_100, "fltp", layout, "matroska")
        assert similarity(load_audio(data), speech(), 2000) > 0.99


def test_rates_that_no_recording_has():
    for rate in (1, 100, 3_000_000):
        assert f"claims {rate} samples per second" in refusal(wav_head(32_000, rate) + pcm(mono()))
