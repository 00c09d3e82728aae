"""`v2f-gan embed`: embeddings of voices and of faces as files."""

import csv
import importlib.util
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[4] / "shared" / "data"
needs_dlib = pytest.mark.skipif(
    not all(importlib.util.find_spec(n) for n in ("dlib", "face_recognition_models")),
    reason="the extra `faces` is not installed",
)


@pytest.fixture
def embed(cli, model_folder):
    """Function (*arguments) -> Result, with the tests' checkpoint."""

    def call(*arguments, **more):
        return cli("embed", "--checkpoint", model_folder, *arguments, **more)

    call.here = cli.here
    return call


@pytest.fixture(scope="module")
def wanted(model, clips) -> np.ndarray:
    return model.embed_clips(clips).numpy()


def files(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# Voices


def test_numpy(embed, clips, wanted):
    result = embed(*clips, "-o", "e.npy", "--json")
    assert result.code == 0, result.stderr
    values = np.load("e.npy", allow_pickle=False)
    assert values.dtype == np.float32 and values.shape == (6, 64) and np.array_equal(values, wanted)
    beside = json.loads(Path("e.json").read_text())
    assert beside["files"] == [str(clip) for clip in clips] and beside["checkpoint"] == "painter"
    assert len(beside["speech_seconds"]) == len(beside["warning"]) == 6 and beside["dimensions"] == 64
    told = json.loads(result.stdout)
    assert told["files"] == ["e.npy", "e.json"] and told["made"] == 6 and told["errors"] == []
    assert told["dimensions"] == 64 and files(embed.here) == ["e.json", "e.npy"]


def test_csv(embed, clips, wanted):
    odd = embed.here / 'a, "b".wav'
    shutil.copy(clips[0], odd)
    assert embed(odd.name, clips[1], "-o", "new/e.csv").code == 0
    rows = list(csv.reader((embed.here / "new/e.csv").open(encoding="utf-8", newline="")))
    assert rows[0] == ["file", *(f"e{i}" for i in range(64))]
    assert [row[0] for row in rows[1:]] == ['a, "b".wav', str(clips[1])]
    values = np.array([row[1:] for row in rows[1:]], dtype=np.float32)
    assert np.array_equal(values, wanted[:2])  # digits enough for every float32


def test_json_lines(embed, clips, wanted, voices, write_wav):
    brief = write_wav(embed.here / "brief.wav", voices[0][:16_000])
    assert embed(clips[2], brief, "-o", "e.jsonl").code == 0
    first, second = map(json.loads, Path("e.jsonl").read_text().splitlines())
    assert set(first) == {"clip", "embedding", "speech_seconds", "warning"} and first["clip"] == str(clips[2])
    assert np.array_equal(np.array(first["embedding"], dtype=np.float32), wanted[2])
    assert 1 < first["speech_seconds"] <= 3 and first["warning"] == ""
    assert "s or more give a steadier face" in second["warning"]


def test_standard_output_and_input(embed, clips, wanted):
    result = embed("-", clips[1], input=clips[0].read_bytes())
    assert result.code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["clip"] for line in lines] == ["standard input", str(clips[1])]
    assert np.allclose([line["embedding"] for line in lines], wanted[:2], atol=1e-6)
    result = embed(clips[3], "-o", "-", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert row["file"] == str(clips[3]) and float(row["e63"]) == pytest.approx(wanted[3, 63])
    assert files(embed.here) == []
    for arguments in (["--format", "npy"], ["--json"]):
        assert embed(clips[0], *arguments).code == 2


def test_a_folder_with_a_bad_clip(embed, clips):
    (embed.here / "rec/sub").mkdir(parents=True)
    shutil.copy(clips[0], "rec/a.wav")
    shutil.copy(clips[1], "rec/sub/b.wav")
    Path("rec/notes.txt").write_text("words\n")
    Path("rec/broken.mp3").write_text("no sound")
    result = embed("rec", "https://example.org/a.wav", "-o", "e.npy", "--json")
    assert result.code == 2 and "2 made, 1 skipped (no recordings), 2 failed" in result.stderr
    assert np.load("e.npy").shape == (2, 64)
    assert json.loads(Path("e.json").read_text())["files"] == ["rec/a.wav", "rec/sub/b.wav"]
    told = json.loads(result.stdout)
    assert [error["clip"] for error in told["errors"]] == ["rec/broken.mp3", "https://example.org/a.wav"]
    assert told["skipped"] == 1 and "is an address" in told["errors"][1]["error"]


@pytest.mark.parametrize("name", ["e.npy", "e.csv", "e.jsonl"])
def test_what_exists_is_kept(embed, clips, name):
    Path(name).write_text("mine")
    result = embed(clips[0], "-o", name)
    assert result.code == 2 and f"{name} exists and is kept; add --force" in result.stderr
    assert Path(name).read_text() == "mine" and files(embed.here) == [name]
    assert embed(clips[0], "-o", name, "--force").code == 0 and Path(name).read_bytes() != b"mine"


def test_a_sidecar_that_exists_is_kept(embed, clips):
    Path("e.json").write_text("mine")
    assert "e.json exists and is kept" in embed(clips[0], "-o", "e.npy").stderr
    assert files(embed.here) == ["e.json"]


@pytest.mark.parametrize("name", ["e.npy", "e.csv", "e.jsonl"])
def test_nothing_is_half_written(embed, clips, full_disk, name, monkeypatch):
    assert embed("none.wav", "-o", name).code == 2 and files(embed.here) == []
    assert embed(clips[0], "-o", name, "--checkpoint", "nowhere").code == 2 and files(embed.here) == []
    with full_disk(300):
        result = embed(*clips, "-o", name)
    assert result.code == 2 and f"{name} cannot be written" in result.stderr and files(embed.here) == []
    from voice2face_gan.pipeline import VoiceToFace

    plain, calls = VoiceToFace.embeddings, []

    def interrupted(self, clips, **part):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(self, clips, **part)

    monkeypatch.setattr(VoiceToFace, "embeddings", interrupted)
    assert embed(*clips, "-o", name).code == 130 and files(embed.here) == []


def test_names_that_are_no_text(embed, clips):
    name = os.fsdecode(b"caf\xe9.wav")
    shutil.copy(clips[0], embed.here / name)
    for output in ("e.csv", "e.jsonl", "e.npy", "-"):
        assert embed(name, "-o", output).code == 0
    assert Path("e.csv").read_bytes().splitlines()[1].startswith(b"caf\xe9.wav,")
    assert json.loads(Path("e.jsonl").read_text(encoding="utf-8"))["clip"] == name
    assert json.loads(Path("e.json").read_text())["files"] == [name]


@pytest.mark.parametrize("output", ["e.txt", "e", "folder/e.ark"])
def test_other_formats_are_refused(embed, clips, output):
    result = embed(clips[0], "-o", output)
    assert result.code == 2 and "ends in .npy, .csv or .jsonl" in result.stderr and files(embed.here) == []
    assert embed(clips[0], "-o", output, "--format", "csv").code == 0


def test_a_store_needs_faces(embed, store):
    result = embed(store.folder, "-o", "e.npy")
    assert result.code == 2 and "is a prepared store; add --faces" in result.stderr


def test_the_old_command_is_gone(cli, store):
    assert cli("embed-faces", store.folder).code == 2 and "embed-faces" not in cli("--help").stdout


# Faces


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """photos: a folder for each of five people of the shared data, two images each; nobody.png, notes.txt,
    broken.jpg."""
    paths = {}
    for path in sorted((SHARED / "paired/voxceleb/face").glob("*.webp")):
        paths.setdefault(path.name[:4], []).append(path)
    people = [found[:2] for found in paths.values() if len(found) >= 2][:5]
    if len(people) < 5:
        pytest.skip("no shared faces here")
    folder = tmp_path_factory.mktemp("faces") / "photos"
    for i, person in enumerate(people):
        (folder / str(i)).mkdir(parents=True)
        for k, path in enumerate(person):
            with Image.open(path) as image:
                image.save(folder / str(i) / f"{k}.png")
    Image.new("RGB", (80, 80), "grey").save(folder / "nobody.png")
    (folder / "notes.txt").write_text("words\n")
    (folder / "broken.jpg").write_text("no image")
    return folder


@needs_dlib
def test_faces_in_images(cli, faces):
    result = cli("embed", "--faces", faces, "-o", "f.npy", "--json")
    assert result.code == 2, result.stderr
    told = json.loads(result.stdout)
    assert [os.path.basename(e["clip"]) for e in told["errors"]] == ["broken.jpg", "nobody.png"]
    assert told["skipped"] == 1 and told["made"] == 10 and told["encoder"].startswith("dlib-resnet-")
    values, beside = np.load("f.npy"), json.loads(Path("f.json").read_text())
    assert values.shape == (10, 128) and values.dtype == np.float32
    places = [os.path.relpath(name, faces) for name in beside["files"]]
    assert places == [f"{i}/{k}.png" for i in range(5) for k in range(2)]
    distance = np.linalg.norm(values[:, None] - values[None], axis=-1)
    person = np.arange(10) // 2
    same, other = person[:, None] == person[None], person[:, None] != person[None]
    # dlib takes less than 0.6 for one person; a face of a video is not always clear enough for that.
    assert distance[same & (distance > 0)].mean() < 0.6 < distance[other].mean()


@needs_dlib
@pytest.mark.slow
def test_faces_are_as_dlib_reads_them_itself(cli, faces):
    """Its own alignment of the whole image, and its own network."""
    import dlib
    import face_recognition_models as models

    result = cli("embed", "--faces", faces / "0" / "0.png")
    assert result.code == 0, result.stderr
    line = json.loads(result.stdout)
    assert line["image"] == str(faces / "0" / "0.png") and line["faces_found"] == 1
    pixels = np.asarray(Image.open(faces / "0" / "0.png").convert("RGB"))
    (box,) = dlib.get_frontal_face_detector()(pixels, 1)
    shape = dlib.shape_predictor(models.pose_predictor_five_point_model_location())(pixels, box)
    net = dlib.face_recognition_model_v1(models.face_recognition_model_location())
    own = np.array(net.compute_face_descriptor(pixels, shape))
    assert np.linalg.norm(np.array(line["embedding"]) - own) < 0.25  # 0.6 parts people


def test_faces_without_the_extra(cli, tmp_path, monkeypatch):
    from voice2face_gan.evaluation.readers import hog
    from voice2face_gan.faces.detect import detector

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    hog.libraries.cache_clear()
    detector.cache_clear()
    monkeypatch.setitem(sys.modules, "dlib", None)
    for reader in ("dlib", "trunk"):
        result = cli("embed", "--faces", tmp_path / "a.png", "-o", "f.csv", "--judge", reader)
        assert result.code == 2 and "pip install 'voice2face-gan[faces]'" in result.stderr
        assert result.stderr.count("Error: ") == 1 and files(cli.here) == []


def test_stores_and_images_apart(cli, store, judge_folder, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for arguments, words in (
        ([store.folder, tmp_path / "a.png"], "a.png: is no prepared store"),
        ([store.folder, "-o", "f.npy"], "are kept in the stores; leave -o out"),
        (["-"], "reads no standard input"),
    ):
        result = cli("embed", "--faces", "--judge", judge_folder, *arguments)
        assert result.code == 2 and words in result.stderr and files(cli.here) == []
