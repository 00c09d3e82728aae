"""What robustness.py makes of speech, and what it says of it: signals with known answers, a small world."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import wavfile

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
import recordings
import robustness
from recordings import AFTER, AT_ONCE, CLEAN, PAUSE, RATE, RECORDINGS, Clip

from voice2face_gan.audio.decode import load_audio
from voice2face_gan.audio.voice import VoiceFeatures
from voice2face_gan.errors import DataError
from voice2face_gan.recording_warnings import recording_warning


@pytest.fixture(scope="module")
def people(voices):
    return [Clip(voice, f"p{i}", ("female", "male")[i % 2]) for i, voice in enumerate(voices)]


def made(name: str, clips, i: int = 0):
    return RECORDINGS[name](clips, i, np.random.default_rng(1))


def signal(recording) -> np.ndarray:
    assert recording[0].dtype == np.int16
    return recording[0] / 32767


def share_of_power(x: np.ndarray, rate: int, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(x)) ** 2
    hertz = np.fft.rfftfreq(len(x), 1 / rate)
    return power[(hertz >= low) & (hertz < high)].sum() / power.sum()


def test_a_telephone_gives_8_khz_and_its_band(people):
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    x, rate = made("telephone, 8 kHz", [Clip(noise, "noise")])
    assert rate == 8000 and len(x) == (len(noise) + 2 * PAUSE) // 2
    assert share_of_power(x.astype(float), rate, 3600, 4001) < 2e-3
    assert share_of_power(x.astype(float), rate, 0, 280) < 2e-3
    assert share_of_power(x.astype(float), rate, 320, 3350) > 0.96


@pytest.mark.parametrize("kind", ["white noise", "pink noise", "babble noise", "music behind"])
@pytest.mark.parametrize("snr", [10, 5])
def test_the_noise_is_as_loud_as_asked(people, kind, snr):
    clean, noisy = signal(made(CLEAN, people)), signal(made(f"{kind}, {snr} dB", people))
    speech = clean[PAUSE:-PAUSE]
    gain = noisy @ clean / (clean @ clean)  # less than 1 where the sum would have clipped
    noise = noisy / gain - clean
    assert 10 * np.log10(np.mean(speech**2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.7)
    assert np.abs(noise[:PAUSE]).max() > 0  # it is heard before anybody speaks


def test_babble_is_of_other_people(people):
    """With the others silent but one, it is that one's voice, turned."""
    hum = np.sin(2 * np.pi * 400 * np.arange(2 * RATE) / RATE).astype(np.float32)
    clips = [Clip(people[0].speech, "a"), Clip(hum, "b")]
    x = recordings.babble(clips, 0, 3 * RATE, np.random.default_rng(0))
    assert x.shape == (3 * RATE,) and share_of_power(x, RATE, 390, 410) > 0.95


def test_a_memo_is_a_small_file_with_an_echo(people):
    content = made("phone memo (Opus, 24 kbit/s)", people)
    x = load_audio(content)
    seconds = 3.0 + 2 * PAUSE / RATE
    assert content[:4] == b"OggS" and len(x) / RATE == pytest.approx(seconds, abs=0.1)
    assert 12_000 < 8 * len(content) / seconds < 40_000
    assert share_of_power(x, RATE, 7500, 8001) < 1e-3


def test_levels_and_lengths(people):
    clean = signal(made(CLEAN, people))
    quiet, loud = signal(made("30 dB quieter", people)), signal(made("20 dB too loud, clipped", people))
    assert np.std(quiet) == pytest.approx(10**-1.5 * np.std(clean), rel=0.02)
    assert np.mean(np.abs(loud) > 0.999) > 0.01 and np.std(loud) > np.std(clean)
    for seconds in (2.0, 1.0, 0.2):
        x = signal(made(f"{seconds} s of speech", people))
        assert len(x) == round(seconds * RATE) + 2 * PAUSE and not x[:PAUSE].any() and x.any()


def test_two_speakers(people):
    one, two = (clip.speech for clip in people[:2])
    half = len(one) // 2
    x = signal(made(AFTER, people))
    first, second = x[PAUSE : PAUSE + half], x[3 * PAUSE + half : -PAUSE]
    assert np.allclose(first, one[:half], atol=1e-4) and np.allclose(second, two[:half], atol=1e-4)
    x = signal(made(AT_ONCE, people))[PAUSE:-PAUSE]
    (a, b), *_ = np.linalg.lstsq(np.stack([one, two], axis=1), x, rcond=None)
    assert a * np.std(one) == pytest.approx(b * np.std(two), rel=0.02)
    last = signal(made(AT_ONCE, people, len(people) - 1))  # its partner is the first
    assert len(last) == len(people[-1].speech) + 2 * PAUSE


def heard(female=0.9, warning="", grey=0, speech=0.9):
    face = np.full((64, 64, 3), grey, np.uint8)
    return SimpleNamespace(female=female, warning=warning, faces=[face], speech=speech)


class FaceClassifier:
    def read(self, faces):
        return SimpleNamespace(age=np.array([10.0, 30.0, 40.0])[: len(faces)])


def test_a_row_by_hand():
    """Of four clips one is refused, one has no label, one is taken for the other sex, 10 grey levels off."""
    clips = [Clip(np.zeros(1), str(i), gender) for i, gender in enumerate(("female", "male", "", "male"))]
    voice = VoiceFeatures(None, 3.0, 1.0, 2.0)
    short = recording_warning(voice, 0.9, 0.9, 0.99)
    none = recording_warning(voice, 0.1, 0.9)
    clean = [heard(grey=5), heard(0.1), heard(), heard()]
    row = robustness.judged(
        [heard(grey=5), heard(0.8, short, 10), heard(warning=none), None], clips, clean, FaceClassifier()
    )
    assert row["refused"] == 25 and row["right sex"] == 50 and row["clips"] == 4
    counted = [row[name] for name in ("no speech", "child", "several", "short")]
    assert counted == pytest.approx([100 / 3] * 4)
    assert row["same sex"] == pytest.approx(200 / 3) and row["moved"] == pytest.approx(10 / 3)
    assert row["age"] == pytest.approx(80 / 3) and row["under 16"] == pytest.approx(100 / 3)
    assert robustness.judged([None], clips[:1], clean[:1], FaceClassifier())["refused"] == 100
    steady = recording_warning(VoiceFeatures(None, 3.0, 3.0, 0.8))
    assert robustness.warned(heard(warning=steady), robustness.NOT_SPEECH)


def test_sounds_and_separation_by_hand():
    none = "it does not sound like speech; the face means little"
    kinds = {"hum": [heard(warning=none, speech=0.1), None], "birds": [heard(speech=0.7), heard(speech=0.95)]}
    row = robustness.sound_row(kinds)
    assert (row["sounds"], row["refused"], row["warned"], row["unwarned"]) == (4, 25, 25, 50)
    assert row["worst"] == "birds 100"
    told = robustness.separation([heard(speech=0.9), heard(speech=0.8), None], kinds)
    assert told["by kind"] == {"hum": 1.0, "birds": 0.5} and told["AUC"] == pytest.approx(4 / 6)
    assert robustness.separation([heard(speech=None)], kinds) == {}


def test_one_clip_a_person_and_all_of_a_group():
    """A bank of six records of three people; the seed decides the order, the length who is there."""
    length = np.array([1, 4, 5, 9, 2, 4]) * RATE
    store = SimpleNamespace(
        identity=np.array(list("aabbcc")),
        gender=np.array(["female"] * 2 + ["male"] * 4),
        has_speech=np.array([True] * 5 + [False]),
        speech_samples=length,
        speech_offset=np.concatenate([[0], np.cumsum(length)[:-1]]),
        speech=np.repeat(np.arange(1, 7), length).astype(np.int16),
    )
    found = recordings.people(store, 5, 6.0)
    number = {clip.identity: round(float(clip.speech[0]) * 32768) for clip in found}
    assert number == {"a": 2, "b": 3} and {len(clip.speech) for clip in found} == {4 * RATE, 5 * RATE}
    every = recordings.people(store, 5, 6.0, shortest=0.5, each=True)
    assert sorted(round(float(clip.speech[0]) * 32768) for clip in every) == [1, 2, 3, 4, 5]
    assert max(len(clip.speech) for clip in every) == 6 * RATE
    orders = {tuple(c.identity for c in recordings.people(store, 2, 6.0, seed=s)) for s in range(8)}
    assert orders == {("a", "b"), ("b", "a")}


@pytest.mark.slow
def test_the_whole_on_a_small_world(model_folder, tmp_path, capsys, one_thread):
    """Every row is there; what is too short is refused, what is short is warned of."""
    out = tmp_path / "robustness.json"
    for kind in ("hums", "rests"):
        (tmp_path / "real" / kind).mkdir(parents=True)
        hum = 8000 * np.sin(2 * np.pi * 200 * np.arange(2 * RATE) / RATE) * (kind == "hums")
        wavfile.write(tmp_path / "real" / kind / "a.wav", RATE, hum.astype(np.int16))
    world = ["--data", "synthetic:20", "--clips", "2", "--seconds", "3", "--sounds", "1"]
    world += ["--real", str(tmp_path / "real")]
    robustness.main([*world, "--checkpoint", str(model_folder), "--out", str(out)])
    table, result = capsys.readouterr().out, json.loads(out.read_text())
    rows = result["rows"]
    assert list(rows) == [*RECORDINGS, *recordings.GROUPS]
    assert all(f"| {name} |" in table for name in [*RECORDINGS, *robustness.FAMILIES, "mixture", "all"])
    assert f"singing ({robustness.NO_SONG})" in table and rows["singing"]["clips"] == 0
    assert rows["0.2 s of speech"]["refused"] == 100 and rows[CLEAN]["refused"] == rows[CLEAN]["moved"] == 0
    assert rows["1.0 s of speech"]["short"] == 100 and rows["telephone, 8 kHz"]["moved"] > 0
    assert set(result["real"]) == {"hums", "rests"} and result["real"]["rests"]["refused"] == 100
    assert "| recorded: hums | 1 |" in table and set(result["real separation"].get("by kind", ())) <= {"hums"}
    assert result["between people"] > 0 and result["sounds"]["all"]["sounds"] == len(robustness.SOUNDS)


def test_a_folder_without_sounds_is_refused(tmp_path):
    (tmp_path / "a.wav").touch()  # in no folder of its own
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match="no sounds; put the files of each kind"):
            robustness.real_sounds(None, folder)


def test_data_without_speech_are_refused(store, model_folder, capsys):
    with pytest.raises(SystemExit):
        robustness.main(["--data", str(store.folder), "--checkpoint", str(model_folder)])
    assert "prepare --keep-speech" in capsys.readouterr().err
