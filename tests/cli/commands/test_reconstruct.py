"""`v2f-gan reconstruct` and `FaceToFace`: the checkpoint of the synthetic world on that world's faces, and
on real ones where they lie beside the checkout."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from voice2face_gan.errors import CheckpointError, VoiceToFaceError
from voice2face_gan.face_to_face import FaceToFace
from voice2face_gan.models.checkpoint import load_checkpoint

SHARED = [Path(__file__).parents[k] / "shared" / "data" / "faces" / "utkface" for k in (4, 5)]
needs_dlib = pytest.mark.skipif(
    not all(importlib.util.find_spec(n) for n in ("dlib", "face_recognition_models")),
    reason="the extra faces is not installed",
)


@pytest.fixture(scope="module")
def f2f():
    return FaceToFace.from_pretrained("synthetic")


@pytest.fixture(scope="module")
def photos(store, tmp_path_factory):
    """A folder of four faces of the synthetic world, aligned: 0.png to 2.png, more/3.png; and notes.txt."""
    folder = tmp_path_factory.mktemp("faces") / "photos"
    (folder / "more").mkdir(parents=True)
    for i, name in enumerate(("0.png", "1.png", "2.png", "more/3.png")):
        Image.fromarray(np.asarray(store.faces[30 * i])).save(folder / name)
    (folder / "notes.txt").write_text("nothing")
    return folder


@pytest.fixture
def reconstruct(cli):
    """Function (*arguments) -> Result, of aligned faces with the checkpoint `synthetic`."""

    def call(*arguments, detector="none", checkpoint="synthetic"):
        return cli("reconstruct", *arguments, "--detector", detector, "--checkpoint", checkpoint)

    call.here = cli.here
    return call


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def test_a_folder_in_a_folder_out(reconstruct, photos):
    done = reconstruct(photos, "-o", "out", "--json")
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["checkpoint"] == "synthetic" and told["skipped"] == 1 and not told["errors"]
    names = ("0.png", "1.png", "2.png", "more/3.png")
    assert [Path(face["files"][0]) for face in told["faces"]] == [Path("out") / name for name in names]
    images = {(reconstruct.here / "out" / name).read_bytes() for name in names}
    assert len(images) == 4, "each has its own"


def test_a_reconstruction_is_more_like_its_own_face_than_like_others(f2f, store):
    """The generator of `synthetic` has seen what voices tell of faces alone, and gets that: sex and age."""
    faces = torch.from_numpy(np.array(store.faces[::6]))
    e = f2f.read(faces)
    made = f2f.decode(torch.stack([f2f.condition_read(one) for one in e]), noise_scale=0)
    far = (made.float()[:, None] - faces.float()[None]).abs().mean(dim=(2, 3, 4))
    assert far.diagonal().mean() < 0.9 * far.mean()
    again = f2f.read(made)
    sex_and_age = [torch.corrcoef(torch.stack([e[:, k], again[:, k]]))[0, 1] for k in (-2, -1)]
    assert min(sex_and_age) > 0.6, sex_and_age


def test_the_image_is_png_and_says_that_it_is_synthetic(reconstruct, photos):
    assert reconstruct(photos / "0.png", "-o", "face.png", "--size", "96").code == 0
    image = Image.open(reconstruct.here / "face.png")
    assert image.format == "PNG" and image.size == (96, 96)
    assert any("synthetic" in value.lower() for value in image.text.values())
    assert image.text["Strength"] == "1"


def test_what_is_read_goes_through_the_generator_with_z_0(f2f, photos):
    made = f2f.reconstruct(photos / "1.png", detector="none")
    face = torch.from_numpy(np.array(Image.open(photos / "1.png")))
    e = f2f.space.encode_faces(face[None])
    torch.testing.assert_close(made.e, e[0])
    e = f2f.checkpoint.voice_simulation(e, torch.zeros_like(e))  # it was trained on such e alone
    wanted = f2f.decode(e, torch.zeros(1, f2f.z_dim))[0]
    assert np.array_equal(np.asarray(made.image), wanted.numpy())
    assert made.faces_found == 1 and made.box is None
    same = f2f.reconstruct(Image.open(photos / "1.png"), detector="none")
    assert np.array_equal(np.asarray(same.image), wanted.numpy()), "an image in memory too"
    same = f2f.reconstruct((photos / "1.png").read_bytes(), detector="none")
    assert np.array_equal(np.asarray(same.image), wanted.numpy()), "and a file's bytes"


def test_strength(f2f, photos, reconstruct):
    def made(name, strength):
        return np.asarray(f2f.reconstruct(photos / name, strength, detector="none").image).astype(int)

    assert np.array_equal(made("0.png", 0), made("1.png", 0)), "the average face"
    away = [np.abs(made("0.png", s) - made("0.png", 0)).mean() for s in (0.5, 1, 1.5)]
    assert away == sorted(away) and away[0] > 0
    with pytest.raises(VoiceToFaceError, match="strength must be from 0"):
        f2f.reconstruct(photos / "0.png", 11, detector="none")
    done = reconstruct(photos / "0.png", "-o", "x.png", "--strength", "11")
    assert done.code == 2 and not (reconstruct.here / "x.png").exists()


def test_a_strength_of_embeddings_of_length_1_is_refused(photos, model_folder):
    """Its e is of length 1, whatever it is read by."""
    from dataclasses import replace

    kept = load_checkpoint("synthetic")
    info = {"face_space": kept.info["face_space"]}
    other = replace(load_checkpoint(model_folder), face_space=kept.face_space, info=info)
    f2f = FaceToFace(other, "other")
    made = f2f.reconstruct(photos / "0.png", detector="none")
    assert made.e.norm() > 1.5 and f2f.condition_read(made.e).norm() == pytest.approx(1)
    with pytest.raises(CheckpointError, match="has no strength to set"):
        f2f.reconstruct(photos / "0.png", 2.0, detector="none")


def test_images_that_exist_are_kept(reconstruct, photos):
    out = reconstruct.here / "face.png"
    out.write_bytes(b"mine")
    done = reconstruct(photos / "0.png", "-o", out)
    assert done.code == 2 and "exists and is kept" in done.stderr and out.read_bytes() == b"mine"
    assert reconstruct(photos / "0.png", "-o", out, "--skip-existing").code == 0
    assert out.read_bytes() == b"mine"
    assert reconstruct(photos / "0.png", "-o", out, "--force").code == 0 and out.read_bytes() != b"mine"


def test_a_photo_is_never_replaced_by_its_own_reconstruction(reconstruct, photos):
    own = reconstruct.here / "own.png"
    own.write_bytes((photos / "0.png").read_bytes())
    done = reconstruct("own.png", "--force")
    assert done.code == 2 and "is the photo itself" in done.stderr
    assert own.read_bytes() == (photos / "0.png").read_bytes()


def test_standard_output(reconstruct, photos, cli):
    from click.testing import CliRunner

    from voice2face_gan.cli import main

    arguments = ["reconstruct", str(photos / "0.png"), "-o", "-", "--checkpoint", "synthetic"]
    done = CliRunner().invoke(main, [*arguments, "--detector", "none"])
    assert done.exit_code == 0 and done.stdout_bytes.startswith(b"\x89PNG")
    assert reconstruct("-").code == 2


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("missing.png", None, "there is no such file"),
        ("empty.png", b"", "is empty"),
        ("text.png", b"some words", "text.png: "),
        ("cut.png", "cut", "damaged or cut short"),
    ],
)
def test_a_file_that_is_no_photo_is_one_sentence(reconstruct, photos, name, content, sentence):
    if content is not None:
        whole = (photos / "0.png").read_bytes()
        (reconstruct.here / name).write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    done = reconstruct(name, photos / "1.png", "-o", "out")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert done.code == 2 and sentence in line and name in line
    assert [p.name for p in (reconstruct.here / "out").iterdir()] == ["1.png"], "the others are made"


def test_a_checkpoint_without_a_face_space_is_refused(reconstruct, photos, model_folder):
    done = reconstruct(photos / "0.png", "-o", "x.png", checkpoint=model_folder)
    assert done.code == 2 and not (reconstruct.here / "x.png").exists()
    (line,) = done.stderr.splitlines()
    assert "keeps no face space" in line and "take a checkpoint with one" in line


def test_without_the_extra_one_sentence(reconstruct, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    from voice2face_gan.faces.detect import detector

    detector.cache_clear()
    done = reconstruct(photos / "0.png", "-o", "x.png", detector="hog")
    (line,) = done.stderr.splitlines()
    assert done.code == 2 and "pip install 'voice2face-gan[faces]'" in line and "--detector none" in line


def test_the_default_without_the_extra_one_sentence(reconstruct, photos, monkeypatch):
    """Its face space is of dlib's network."""
    monkeypatch.setitem(sys.modules, "face_recognition_models", None)
    done = reconstruct(photos / "0.png", "-o", "x.png", checkpoint="default")
    (line,) = done.stderr.splitlines()
    assert done.code == 2 and "pip install 'voice2face-gan[faces]'" in line


@needs_dlib
@pytest.mark.parametrize("side", [1, 300])
def test_a_photo_without_a_face_is_one_sentence(reconstruct, side):
    """Of a single pixel too."""
    Image.new("RGB", (side, side), "grey").save(reconstruct.here / "photo.png")
    done = reconstruct("photo.png", "-o", "x.png", detector="hog")
    (line,) = done.stderr.splitlines()
    assert done.code == 2 and line.startswith("Error: photo.png: no face was found")
    assert not (reconstruct.here / "x.png").exists()


def test_a_single_pixel_as_an_aligned_face_gives_an_image(reconstruct):
    Image.new("RGB", (1, 1), "grey").save(reconstruct.here / "dot.png")
    assert reconstruct("dot.png", "-o", "x.png").code == 0
    assert Image.open(reconstruct.here / "x.png").size == (64, 64)


@needs_dlib
@pytest.mark.skipif(not any(folder.is_dir() for folder in SHARED), reason="no real faces here")
def test_real_faces_by_the_default(tmp_path):
    """The face is found wherever it lies, and its reconstruction reads as the same face."""
    folder = next(folder for folder in SHARED if folder.is_dir())
    f2f, e, again = FaceToFace.from_pretrained("default"), [], []
    for file in sorted(folder.rglob("*.webp"))[100:1300:300]:
        face = Image.open(file).convert("RGB").resize((180, 180))
        photo = Image.new("RGB", (420, 360), "grey")
        photo.paste(face, (200, 90))
        photo.save(tmp_path / "photo.png")
        made = f2f.reconstruct(tmp_path / "photo.png")
        assert made.faces_found == 1 and made.box[0] > 190 and made.image.size == (64, 64)
        e.append(made.e)
        again.append(f2f.read(torch.from_numpy(np.array(made.image))[None])[0])
    alike = torch.nn.functional.cosine_similarity(torch.stack(again)[:, None], torch.stack(e)[None], dim=2)
    assert (alike.argmax(dim=1) == torch.arange(len(e))).all(), alike
