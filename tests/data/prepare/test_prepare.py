"""Preparation of a synthetic world as recordings and images: what comes out, and that it always does."""

import json
import os
import signal
import subprocess
import sys
import time
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from voice2face_gan.audio.log_mel import FeatureSettings, log_mel, normalise
from voice2face_gan.audio.vad import keep_speech
from voice2face_gan.bench.prepare import make_world
from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.data.join import join_stores
from voice2face_gan.data.layouts.base import RawRecord
from voice2face_gan.data.open import open_source
from voice2face_gan.data.prepare.prepare import SplitChoice, prepare
from voice2face_gan.data.prepare.record import Clock, prepare_item
from voice2face_gan.data.prepare.settings import PrepareSettings
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError, ImageError, StoreError
from voice2face_gan.faces import landmarks
from voice2face_gan.synthetic import face, speakers, voice

PLAIN = PrepareSettings.of(["faces.detector=none"])
PEOPLE = 12  # of 4 clips and 4 images


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return make_world(tmp_path_factory.mktemp("raw") / "world", 8 * PEOPLE, "wav")


@pytest.fixture(scope="module")
def made(world, tmp_path_factory):
    return prepare("folders", [world], tmp_path_factory.mktemp("made") / "store", PLAIN, workers=1)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_world_comes_back(made):
    store, people = made.store, speakers.sample_speakers(PEOPLE, seed=0)
    assert store.summary()["identities"] == PEOPLE and store.dropped() == {}
    assert store.has_voice.sum() == store.has_face.sum() == 4 * PEOPLE
    assert set(store.split) == {"train", "val", "test"}
    for name in np.unique(store.identity):
        assert len(set(store.split[store.identity == name])) == 1
    clip = np.flatnonzero(store.source == f"{people.name[3]}/voices/2.wav")
    if not len(clip):  # a layout may leave the ending away
        clip = np.flatnonzero(np.char.startswith(store.source, f"{people.name[3]}/voices/2"))
    start, frames = int(store.voice_offset[clip[0]]), int(store.voice_frames[clip[0]])
    waveform = voice.synthesise(people, 6.0, clip=2)[3]
    rounded = ((waveform.clip(-1, 1) * 32767).astype(np.int16) / 32768).astype(np.float32)
    wanted = normalise(log_mel(keep_speech(rounded), FeatureSettings()))
    assert frames == wanted.shape[1], "neither repeated nor cut"
    heard = torch.from_numpy(np.array(store.voices[start : start + frames])).float().T
    torch.testing.assert_close(heard, wanted, atol=0.02, rtol=0.01)
    image = np.flatnonzero(np.char.startswith(store.source, f"{people.name[3]}/faces/2"))[0]
    rendered = Image.fromarray(face.render(people, view=2, side=128)[3]).resize(
        (64, 64), Image.Resampling.BICUBIC
    )
    difference = np.abs(store.faces[store.face_index[image]].astype(int) - np.asarray(rendered))
    assert difference.mean() < 4, "but for the JPEG"


def test_again_nothing_is_done(made, world):
    before = {p.name: p.stat().st_mtime_ns for p in made.store.folder.iterdir()}
    again = prepare("folders", [world], made.store.folder, PLAIN, workers=1)
    assert again.already and not made.already
    assert before == {p.name: p.stat().st_mtime_ns for p in made.store.folder.iterdir()}
    assert [p.name for p in made.store.folder.parent.iterdir()] == ["store"]


def test_other_settings_are_refused_until_forced(made, world, tmp_path):
    folder = tmp_path / "store"
    prepare("folders", [world], folder, PLAIN, workers=1, limit=40)
    other = replace(PLAIN, features=FeatureSettings(hop_ms=12.5))
    for settings, options, words in (
        (other, {"limit": 40}, "features.hop_ms is 12.5 now, was 10"),
        (PLAIN, {"limit": 48}, "records: 48 now, was 40"),
        (PLAIN, {"limit": 40, "split": SplitChoice(seed=1)}, "seed: 1 now, was 0"),
    ):
        with pytest.raises(StoreError, match=words):
            prepare("folders", [world], folder, settings, workers=1, **options)
    forced = prepare("folders", [world], folder, other, workers=1, limit=40, force=True)
    assert forced.store.about["features"]["hop_ms"] == 12.5
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("not to be lost")
    with pytest.raises(StoreError, match="no prepared store"):
        prepare("folders", [world], tmp_path / "mine", PLAIN, workers=1, force=True)


@pytest.mark.slow
def test_two_processes_make_the_same_bytes(made, world, tmp_path):
    two = prepare("folders", [world], tmp_path / "store", PLAIN, workers=2)
    assert content(two.store.folder) == content(made.store.folder)


@pytest.mark.slow
def test_a_cluster_makes_the_same_bytes(made, world, tmp_path):
    pytest.importorskip("ray")
    there = prepare("folders", [world], tmp_path / "store", PLAIN, cluster="local")
    assert content(there.store.folder) == content(made.store.folder)


def test_killed_it_goes_on_and_makes_the_same_bytes(made, world, tmp_path):
    folder, work = tmp_path / "store", tmp_path / ".store.preparing"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from voice2face_gan.data.prepare.prepare import prepare\n"
        "from voice2face_gan.data.prepare.settings import PrepareSettings\n"
        "settings = PrepareSettings.of(['faces.detector=none'])\n"
        "slow = lambda done, total: time.sleep(0.2)\n"
        "prepare('folders', [sys.argv[1]], sys.argv[2], settings, workers=1, progress=slow)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(world), str(folder)])
    deadline = time.monotonic() + 60
    while len(list(work.glob("shards/*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not folder.exists() and len(list(work.glob("shards/*.npz"))) >= 3
    for note in work.glob("now/*"):  # with a note a process of its own would look for a crash
        note.unlink()
    again = prepare("folders", [world], folder, PLAIN, workers=1)
    assert again.resumed and content(folder) == content(made.store.folder)
    assert not work.exists()


def test_an_interrupted_run_of_other_settings_is_kept_until_forced(world, tmp_path):
    folder = tmp_path / "store"

    def stop(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("folders", [world], folder, PLAIN, workers=1, limit=48, progress=stop)
    with pytest.raises(DataError, match="interrupted run"):
        prepare("folders", [world], folder, PLAIN, workers=1, limit=40)
    assert not prepare("folders", [world], folder, PLAIN, workers=1, limit=40, force=True).resumed


def test_speech_is_stored_when_asked_for(made, world, tmp_path):
    """int16 of what the log-mels show; nothing else of the store changes, and a killed run goes on."""
    spoken = replace(PLAIN, voice=replace(PLAIN.voice, keep_speech=True))
    store = prepare("folders", [world], tmp_path / "store", spoken, workers=1).store
    for name in ("voices.npy", "faces.npy"):
        assert (store.folder / name).read_bytes() == (made.store.folder / name).read_bytes()
    assert (store.has_speech == store.has_voice).all() and store.has_speech.sum() == 4 * PEOPLE
    for i in np.flatnonzero(store.has_speech)[::7]:
        start, samples = int(store.speech_offset[i]), int(store.speech_samples[i])
        speech = torch.from_numpy(store.speech[start : start + samples].astype(np.float32) / 32768)
        a, frames = int(store.voice_offset[i]), int(store.voice_frames[i])
        kept = torch.from_numpy(np.array(store.voices[a : a + frames])).float().T
        torch.testing.assert_close(normalise(log_mel(speech)), kept, atol=0.02, rtol=0.01)
    with pytest.raises(StoreError, match="voice.keep_speech is False now, was True"):
        prepare("folders", [world], store.folder, PLAIN, workers=1)

    def stop(done: int, total: int) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    folder = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        prepare("folders", [world], folder, spoken, workers=1, progress=stop)
    assert prepare("folders", [world], folder, spoken, workers=1).resumed
    assert content(folder) == content(store.folder)


@pytest.mark.parametrize("lacks", ["levels", "zoom"])
def test_a_store_of_an_older_version_is_to_be_prepared_again(world, tmp_path, lacks):
    """It has no levels of its log-mels, or does not say what its faces show; nothing else tells why."""
    folder = tmp_path / "old"
    store = prepare("folders", [world], folder, PLAIN, workers=1).store
    assert store.has_raw_log_mel
    bank = VoiceBank(
        store.select(store.has_voice), np.zeros(int(store.has_voice.sum()), np.int64), takes="raw_log_mel"
    )
    assert bank.whole(0).mean() < -2  # natural logarithms of power, of speech
    about = json.loads((folder / "store.json").read_text())
    del about[lacks]
    about["source"]["fingerprint"] = "of format 1"
    (folder / "store.json").write_text(json.dumps(about))
    with pytest.raises(
        StoreError, match="old was prepared .*the same settings, by an older version.*--force"
    ):
        prepare("folders", [world], folder, PLAIN, workers=1)
    assert prepare("folders", [world], folder, PLAIN, workers=1, force=True).store.has_raw_log_mel


def test_a_store_from_before_there_was_speech_is_known_again(made, world):
    """The keys that it lacks are at their defaults: its fingerprint is that of settings without the key."""
    plain = PrepareSettings.of(["faces.detector=none", "vad.target_level_db=none"])
    tree = plain.to_dict()
    assert tree["voice"].pop("keep_speech") is False and tree["faces"].pop("zoom") == 1
    assert tree["faces"].pop("landmarks") is False and tree["vad"].pop("target_level_db") is None
    assert plain.fingerprinted() == tree
    assert PrepareSettings.from_dict(tree) == plain
    assert PLAIN.fingerprinted()["vad"]["target_level_db"] == PLAIN.vad.target_level_db == -20
    spoken = PrepareSettings.of(["voice.keep_speech=true"])
    assert spoken.fingerprinted()["voice"]["keep_speech"] is True
    assert PrepareSettings.of(["faces.zoom=1.4"]).fingerprinted()["faces"]["zoom"] == 1.4


def test_a_store_from_before_soft_speech_was_raised(world, tmp_path):
    """It opens as ever, is known again with the setting off, and is refused, by name, with it on."""
    folder, off = tmp_path / "old", PrepareSettings.of(["faces.detector=none", "vad.target_level_db=none"])
    made = prepare("folders", [world], folder, off, workers=1, limit=32)
    assert made.store.vad == {"aggressiveness": 2, "frame_ms": 20, "padding_ms": 60, "ratio": 0.9}
    about = json.loads((folder / "store.json").read_text())
    del about["source"]["settings"]["vad"]["target_level_db"]
    (folder / "store.json").write_text(json.dumps(about))
    assert open_source(folder).vad == made.store.vad
    assert prepare("folders", [world], folder, off, workers=1, limit=32).already
    with pytest.raises(StoreError, match="vad.target_level_db is -20.0 now, was None"):
        prepare("folders", [world], folder, PLAIN, workers=1, limit=32)
    new = prepare("folders", [world], tmp_path / "new", PLAIN, workers=1, limit=32).store
    assert new.vad == {**made.store.vad, "target_level_db": -20}
    assert join_stores([open_source(folder), new]).vad == {}  # found in two ways: unknown


def test_soft_recordings_are_prepared(tmp_path):
    """What `keep_speech` finds, though the recording is longer than what is judged at once."""
    people = speakers.sample_speakers(2, seed=0)
    for k, name in enumerate(people.name):
        soft = np.tile(voice.synthesise(people, 6.0, clip=0)[k], 4) * 0.004
        pcm = (soft * 32767).round().astype("<i2")
        (tmp_path / "raw" / name / "voices").mkdir(parents=True)
        with wave.open(str(tmp_path / "raw" / name / "voices/0.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(pcm.tobytes())
    seconds = {}
    for target in ("none", "-20"):
        settings = PrepareSettings.of(["faces.detector=none", f"vad.target_level_db={target}"])
        item = prepare_item(
            RawRecord("a", name, voice=str(tmp_path / "raw" / name / "voices/0.wav")),
            settings,
            "raw",
            Clock(),
        )
        wanted = len(keep_speech((pcm / 32768).astype(np.float32), settings.vad)) / 16_000
        assert item.speech_seconds == pytest.approx(wanted, abs=0.03)
        seconds[target] = item.speech_seconds
    assert seconds["-20"] > 1.2 * seconds["none"] > 0


def test_splits(world, tmp_path):
    def sides(rule: str, name: str) -> set[str]:
        store = prepare("folders", [world], tmp_path / name, PLAIN, workers=1, split=SplitChoice(rule)).store
        return set(store.split)

    assert sides("none", "a") == {""}
    assert sides("stratified", "e") == {"train", "val", "test"}
    names = [p.name for p in sorted(world.iterdir())]
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join(f"{n},{('train', 'val', 'test')[i % 3]}" for i, n in enumerate(names)))
    assert sides(str(listed), "b") == {"train", "val", "test"}
    with pytest.raises(DataError, match="val"):  # everybody's name begins with s
        sides("wen-letters", "c")
    assert not (tmp_path / ".c.preparing").exists()
    with pytest.raises(DataError, match="no split 'best'"):
        sides("best", "d")


def test_settings_are_checked():
    settings = PrepareSettings.of(
        ["features.hop_ms=12.5", "vad.aggressiveness=3", "faces.crop=[0.1,0.1,0.9,0.9]"]
    )
    assert PrepareSettings.from_dict(settings.to_dict()) == settings
    assert settings.features.hop_ms == 12.5 and settings.faces.crop == (0.1, 0.1, 0.9, 0.9)
    for text, words in (
        ("features.hop=5", "did you mean 'features.hop_ms'"),
        ("hop_ms", "group.key=value"),
        ("vad.aggressiveness=7", "0, 1, 2 or 3"),
        ("faces.side=65", "64, 112, 128, 224"),
        ("voice.vad=7", "voice.vad must be true or false, not 7"),
        ("vad.target_level_db=3", "-60 to 0"),
        ("vad.target_level_db=off", "vad.target_level_db must be a number, not 'off'"),
        ("faces.crop=[0.9,0,0.1,1]", "rising fractions"),
        ("faces.zoom=0.9", "give 1 to 3"),
        ("features.sample_rate=8000", "f_max|16000"),
    ):
        with pytest.raises(DataError, match=words):
            PrepareSettings.of([text])


def test_open_source(world, made, tmp_path, monkeypatch):
    monkeypatch.setenv("V2F_CACHE", str(tmp_path / "cache"))
    store = made.store
    assert len(open_source(store.folder)) == len(store)
    small = prepare("folders", [world], tmp_path / "small", PLAIN, workers=1, limit=40).store
    both = open_source(f"{store.folder},{small.folder}")
    assert len(both) == len(store) + len(small) and both.summary()["identities"] == PEOPLE
    assert len(join_stores([store, small, small])) == len(store) + 2 * len(small)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(StoreError, match="neither a prepared store nor a data set"):
        open_source(tmp_path / "nothing")


@pytest.mark.slow
def test_training_reads_a_store_without_what_prepares_it():
    code = (
        "import sys; sys.modules |= dict.fromkeys(('av', 'webrtcvad', 'dlib'))\n"
        "import voice2face_gan.data.store, voice2face_gan.data.join, voice2face_gan.data.batches.sampling\n"
        "import voice2face_gan.data.open, voice2face_gan.data.preview\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_landmarks_are_stored_when_asked_for(made, world, tmp_path):
    """dlib's 68 points of every aligned face, in fractions of the side; another store, whose other bytes are
    the same."""
    predictor = pytest.importorskip("dlib") and landmarks.predictor()
    asked = PrepareSettings.of(["faces.detector=none", "faces.landmarks=true"])
    store = prepare("folders", [world], tmp_path / "store", asked, workers=1).store
    assert store.has_landmarks and store.landmarks.shape == (4 * PEOPLE, 68, 2)
    assert not made.store.has_landmarks and len(made.store.landmarks) == 0
    assert content(store.folder)["faces.npy"] == content(made.store.folder)["faces.npy"]
    for k in (0, 7):
        large = Image.fromarray(store.faces[k]).resize((256, 256), Image.Resampling.BICUBIC)
        found = predictor.on_template(np.asarray(large)) / 256
        np.testing.assert_allclose(store.landmarks[k], found, atol=1e-6)
    brows, chin = store.landmarks[:, 17:27, 1].mean(), store.landmarks[:, 8, 1].mean()
    assert 0.2 < brows < chin < 1.1

    both = join_stores([store, store])
    assert both.has_landmarks and np.array_equal(both.landmarks[4 * PEOPLE :], store.landmarks)
    assert not join_stores([store, made.store]).has_landmarks
    (store.folder / "landmarks.npy").write_bytes(content(store.folder)["inside.npy"])
    with pytest.raises(StoreError, match="landmarks"):
        Store(store.folder)


def test_landmarks_without_the_extra_are_refused_before_anything_is_done(world, tmp_path, monkeypatch):
    def missing():
        raise ImageError("faces are found by dlib; pip install 'voice2face-gan[faces]'.")

    monkeypatch.setattr("voice2face_gan.data.prepare.prepare.predictor", missing)
    with pytest.raises(ImageError, match=r"\[faces\]"):
        prepare("folders", [world], tmp_path / "store", PrepareSettings.of(["faces.landmarks=true"]))
    assert not list(tmp_path.iterdir())
