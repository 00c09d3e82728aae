"""Damaged files among good ones: the good are prepared, the bad are listed, nothing is silent."""

import csv
import json
import os
import struct
import subprocess
import sys
import wave
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from voice2face_gan.bench.generate import encode
from voice2face_gan.bench.prepare import make_world
from voice2face_gan.data.layouts import RawRecord
from voice2face_gan.data.prepare.prepare import prepare
from voice2face_gan.data.prepare.process_pool import run
from voice2face_gan.data.prepare.record import Clock, prepare_item
from voice2face_gan.data.prepare.settings import PrepareSettings
from voice2face_gan.data.prepare.shards import load_shard, make_plan, start
from voice2face_gan.data.store import Store
from voice2face_gan.data.video import video_frames
from voice2face_gan.errors import DataError, ImageError
from voice2face_gan.synthetic import speakers, voice

PLAIN = PrepareSettings.of(["faces.detector=none", "voice.max_seconds=5"])


def speech(seconds: float = 4.0) -> np.ndarray:
    return voice.synthesise(speakers.sample_speakers(1, seed=7), seconds)[0]


def three_hours(path: Path) -> None:
    """A WAV file of three hours (345 MB, but for the beginning not on the disk)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.setnframes(3 * 3600 * 16_000)
        file.writeframesraw((speech(20.0) * 32767).astype("<i2").tobytes())
        head = file._file  # the header says how long it is; the rest is a hole
        head.flush()
        os.truncate(path, 44 + 3 * 3600 * 32_000)
        file._nframeswritten, file._datawritten = 3 * 3600 * 16_000, 3 * 3600 * 32_000


def bomb(side: int) -> bytes:
    """A black-and-white PNG of side x side pixels in a few kilobytes."""
    packer = zlib.compressobj(1)
    row = bytes(1 + -(-side // 8))
    pixels = b"".join([packer.compress(row * 100) for _ in range(side // 100)]) + packer.flush()
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


def damage(world: Path) -> dict[str, str]:
    """Put bad files beside the good; file name -> its reason."""
    voices, faces = (
        next(iter(sorted(world.iterdir()))) / "voices",
        next(iter(sorted(world.iterdir()))) / "faces",
    )
    m4a = encode(speech(), "m4a")
    (voices / "cut.m4a").write_bytes(m4a[: len(m4a) // 2])
    (voices / "empty.wav").write_bytes(b"")
    (voices / "text.wav").write_text("no sound at all\n" * 50)
    (voices / "silence.wav").write_bytes(encode(np.zeros(32_000, np.float32), "wav"))
    Image.effect_noise((200, 200), 80).save(faces / "whole.jpg")
    (faces / "cut.jpg").write_bytes((faces / "whole.jpg").read_bytes()[:3000])
    (faces / "whole.jpg").unlink()
    (faces / "empty.png").write_bytes(b"")
    (faces / "text.jpg").write_text("no image at all\n" * 50)
    (faces / "bomb.png").write_bytes(bomb(20_000))
    return {
        "cut.m4a": "unreadable recording",
        "empty.wav": "unreadable recording",
        "text.wav": "unreadable recording",
        "silence.wav": "too little speech",
        "cut.jpg": "unreadable image",
        "empty.png": "unreadable image",
        "text.jpg": "unreadable image",
        "bomb.png": "unreadable image",
    }


def test_the_good_are_prepared_and_the_bad_are_listed(tmp_path):
    world = make_world(tmp_path / "world", 40, "wav")
    good = sum(path.is_file() for path in world.rglob("*"))
    bad = damage(world)
    first = next(iter(sorted(world.iterdir()))) / "voices"
    three_hours(first / "long.wav")
    whole = (first / "0.wav").read_bytes()
    (first / "shorter.wav").write_bytes(whole[: len(whole) // 2])  # what comes before the damage is taken
    store = prepare("folders", [world], tmp_path / "store", PLAIN, workers=1).store
    with (tmp_path / "store" / "dropped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["file"]).name: row["reason"] for row in rows} == bad
    assert all(row["what"].startswith(Path(row["file"]).name) for row in rows)
    assert sum(store.dropped().values()) == len(bad)
    assert store.has_voice.sum() + store.has_face.sum() == good + 2
    long = np.flatnonzero(np.char.find(store.source, "long") >= 0)
    assert store.voice_frames[long] == 498, "five seconds of speech, not three hours"


def plainly_opened(source, least_side=None, notes=None):
    """What Pillow's own functions make of an ordinary image."""
    with Image.open(source) as image:
        if least_side is not None and min(image.size) > least_side:
            scale = least_side / min(image.size)
            image.draft("RGB", tuple(max(1, round(side * scale)) for side in image.size))
        return ImageOps.exif_transpose(image).convert("RGB")


def test_ordinary_images_are_what_pillow_makes_of_them(tmp_path, monkeypatch):
    """RGB and grey JPEG and PNG, turned or not: the store is the same to the byte."""
    for i in range(3):
        folder = tmp_path / "world" / f"p{i}" / "faces"
        folder.mkdir(parents=True)
        image = Image.fromarray(np.random.default_rng(i).integers(0, 256, (90, 70, 3), dtype=np.uint8))
        exif = Image.Exif()
        exif[0x0112] = (1, 6, 3)[i]
        for mode in ("RGB", "L"):
            image.convert(mode).save(folder / f"{mode}.jpg", exif=exif)
            image.convert(mode).save(folder / f"{mode}.png", exif=exif)
            image.convert(mode).resize((700, 900)).save(folder / f"{mode}-large.jpg", progressive=True)
    ours = prepare("folders", [tmp_path / "world"], tmp_path / "ours" / "store", PLAIN, workers=1).store
    monkeypatch.setattr("voice2face_gan.data.prepare.record.open_image", plainly_opened)
    theirs = prepare("folders", [tmp_path / "world"], tmp_path / "theirs" / "store", PLAIN, workers=1).store
    assert ours.has_face.sum() == 18 and ours.noted() == 0
    files = sorted(path.name for path in ours.folder.iterdir())
    assert "faces.npy" in files and "noted.csv" not in files
    for name in files:
        assert (ours.folder / name).read_bytes() == (theirs.folder / name).read_bytes()


def test_images_of_every_kind_are_prepared_or_listed(tmp_path, monkeypatch, cli):
    """What is taken in part is in noted.csv, what cannot be read in dropped.csv, each with its reason."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    shade = Image.fromarray(np.full((90, 90), 120, np.uint8))
    for i in range(3):
        folder = tmp_path / "world" / f"p{i}" / "faces"
        folder.mkdir(parents=True)
        shade.save(folder / "ordinary.png")
    shade.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.full((90, 90), 120 * 257, np.uint16)).save(folder / "deep.png")
    Image.new("RGBA", (90, 90), (120, 120, 120, 255)).save(folder / "layer.webp", lossless=True)
    shade.save(folder / "bitmap.jpg", "BMP")
    pages = [shade.convert("RGB"), Image.new("RGB", (90, 90), "white")]
    pages[0].save(folder / "moving.gif", save_all=True, append_images=pages[1:])
    pages[0].save(folder / "pages.tiff", save_all=True, append_images=pages[1:])
    (folder / "page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))
    result = cli(
        *("prepare", "folders", tmp_path / "world", "-o", tmp_path / "store"),
        *("--detector", "none", "--workers", 1, "--json"),
    )
    assert result.code == 0
    assert json.loads(result.stdout)["dropped"] == {"face: unreadable image": 2}
    assert json.loads(result.stdout)["noted"] == 2
    said = " ".join(result.stderr.split())
    assert "2 files were dropped" in said and "2 files were taken in part" in said
    store = Store(tmp_path / "store")
    assert len(store.faces) == 9
    assert np.abs(np.asarray(store.faces).astype(int) - 120).max() <= 4
    rows = {
        name: list(csv.DictReader((tmp_path / "store" / name).open(newline="")))
        for name in ("dropped.csv", "noted.csv")
    }
    assert [Path(row["file"]).name for row in rows["dropped.csv"]] == ["page.jpg", "phone.heic"]
    assert "is a web page" in rows["dropped.csv"][0]["what"]
    assert "voice2face-gan[heic]" in rows["dropped.csv"][1]["what"]
    assert [Path(row["file"]).name for row in rows["noted.csv"]] == ["moving.gif", "pages.tiff"]
    assert all("the first is taken" in row["what"] for row in rows["noted.csv"])


def test_nothing_but_bad_files_is_an_error(tmp_path):
    for i in range(3):
        for part, name in (("voices", "a.wav"), ("faces", "a.jpg")):
            folder = tmp_path / "world" / f"p{i}" / part
            folder.mkdir(parents=True)
            (folder / name).write_text("neither\n")
    with pytest.raises(
        DataError, match="none of the 6 records .*unreadable recording: 3.* The first: a.jpg|wav"
    ):
        prepare("folders", [tmp_path / "world"], tmp_path / "store", PLAIN, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def item(settings: PrepareSettings = PLAIN, **paths):
    paths = {name: str(path) for name, path in paths.items()}
    return prepare_item(RawRecord("r", "p", **paths), settings, "raw", Clock())


@pytest.mark.parametrize("turned", [False, True])
def test_stored_log_mels_are_taken_either_way_round(tmp_path, turned):
    mel = np.random.default_rng(0).normal(3, 2, (200, 64))
    np.save(tmp_path / "a.npy", mel.T if turned else mel)
    found = item(voice=tmp_path / "a.npy").log_mel
    assert found.dtype == np.float16
    assert np.isnan(found[:2]).all()  # how loud its bins were is not known: it may have been normalised
    np.testing.assert_allclose(found[2:], (mel - mel.mean(axis=0)) / mel.std(axis=0), atol=5e-3)


def test_wrong_log_mels_are_dropped(tmp_path):
    for name, array in (
        ("shape", np.zeros((200, 63))),
        ("nan", np.full((200, 64), np.nan)),
        ("object", np.array([[{}] * 64] * 100)),
    ):
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        assert item(voice=tmp_path / f"{name}.npy").dropped[0][2] == "unreadable recording"


def video(path: Path, seconds: float = 2.0, rate: int = 10) -> Path:
    """Brightness rises from black to white; with sound."""
    import av

    with av.open(str(path), "w") as container:
        images = container.add_stream("mpeg4", rate=rate)
        images.width = images.height = 64
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        count = int(seconds * rate)
        for i in range(count):
            shade = np.full((64, 64, 3), 255 * i // (count - 1), np.uint8)
            container.mux(images.encode(av.VideoFrame.from_ndarray(shade)))
        container.mux(images.encode(None))
        frame = av.AudioFrame.from_ndarray(speech(seconds)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux([*sound.encode(frame), *sound.encode(None)])
    return path


def test_a_video_gives_its_sound_and_evenly_spaced_images(tmp_path):
    path = video(tmp_path / "a.mp4")
    shades = [np.asarray(image).mean() for image in video_frames(str(path), 4)]
    np.testing.assert_allclose(shades, [255 * (i + 0.5) / 4 for i in range(4)], atol=20)
    both = item(voice=path, face=path)
    assert len(both.faces) == 4 and both.log_mel is not None and not both.dropped


def test_a_video_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(ImageError, match="a.mp4: is not a video"):
        next(video_frames(str(tmp_path / "a.mp4"), 3))
    (tmp_path / "b.mp4").write_bytes(encode(speech(1.0), "m4a"))
    assert item(face=tmp_path / "b.mp4").dropped[0][2:] == (
        "unreadable video",
        "b.mp4: holds no images; give a video.",
    )


def test_a_file_that_ended_the_process_is_left_out(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encode(speech(2.0), "wav"))
    records = [RawRecord(f"r{i}", "p", voice=str(path)) for i in range(3)]
    plan = make_plan(tmp_path / "work", iter(records), PLAIN, "raw", {})
    start(plan)
    plan.note_crash(1, "it was too much")
    run(plan, plan.todo(), 1, lambda about: None)
    rows, _ = load_shard(plan, 0)
    assert [row["frames"] is None for row in rows] == [False, True, False]
    assert rows[1]["dropped"] == [["voice", str(path), "crashes the decoder", "it was too much"]]


@pytest.mark.slow
def test_a_file_that_ends_processes_is_found(tmp_path):
    """Three pools of processes: the second finds out who it was."""
    world = make_world(tmp_path / "world", 48, "wav")
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "import voice2face_gan.data.prepare.record as items\n"
        "from voice2face_gan.data.prepare.prepare import prepare\n"
        "from voice2face_gan.data.prepare.settings import PrepareSettings\n"
        "whole = items.prepare_item\n"
        "def fatal(record, *more):\n"
        "    if (record.voice or '').endswith('spk000002/voices/2.wav'.replace('spk000002', sys.argv[3])):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return whole(record, *more)\n"
        "items.prepare_item = fatal  # a spawned process runs this file too\n"
        "if __name__ == '__main__':\n"
        "    settings = PrepareSettings.of(['faces.detector=none'])\n"
        "    outcome = prepare('folders', [sys.argv[1]], sys.argv[2], settings, workers=2)\n"
        "    print(outcome.store.dropped(), outcome.store.summary()['voices'])\n"
    )
    name = sorted(path.name for path in world.iterdir())[2]
    command = [sys.executable, str(script), str(world), str(tmp_path / "store"), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'voice: crashes the decoder': 1} 23"
