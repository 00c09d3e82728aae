"""A folder of faces by any system: whose image is whose, and a sentence for everything that is wrong."""

import numpy as np
import pytest
import torch
from PIL import Image

from voice2face_gan.errors import DataError, OutputError
from voice2face_gan.evaluation.faces_folder import (
    folder_eval_set,
    match_names,
    read_faces,
    save_faces,
)
from voice2face_gan.faces.reframe import reframed

CLIPS = ["id1/abc/00001.wav", "id1/abc/00002.wav", "id2/xyz/00001.wav"]


@pytest.fixture
def folder(tmp_path):
    """Function {name: size or bytes or (size, colour)} -> a folder of such images."""

    def make(images: dict):
        for name, what in images.items():
            path = tmp_path / "theirs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(what, bytes):
                path.write_bytes(what)
            else:
                Image.new("RGB", what, (200, 100, 50)).save(path, lossless=True)
        return tmp_path / "theirs"

    return make


def noise(count: int, side: int = 64) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))


# Names


@pytest.mark.parametrize("name", ["id1/abc/00001.png", "id1_abc_00001.JPG", "id1-abc-00001.webp"])
def test_a_whole_path_in_three_spellings(name):
    assert match_names([name], CLIPS) == {0: name}


def test_a_file_name_that_is_unique_is_enough():
    assert match_names(["any/where/00002.png"], CLIPS) == {1: "any/where/00002.png"}


def test_dots_that_are_no_ending_belong_to_the_name():
    clips = ["-DkHc_281.480000-286.400000", "0020Adam_Beach_AtavJVP4bCk_0000007", "id1/a.b.wav"]
    images = [f"{clips[0]}.png", f"{clips[1]}.png", "id1/a.b.png"]
    assert match_names(images, clips) == dict(enumerate(images))


def test_letters_composed_or_not_are_the_same():
    assert match_names(["Jose\u0301.png"], ["Jos\u00e9.wav"]) == {0: "Jose\u0301.png"}


def test_a_image_that_fits_two_clips_is_an_error_with_both():
    with pytest.raises(DataError, match=r"00001.png may be of the clip id1/abc/00001.wav or .*id2/xyz/00001"):
        match_names(["00001.png"], CLIPS)
    with pytest.raises(DataError, match=r"a_b.png may be of the clip a/b.wav or of the clip a_b.wav"):
        match_names(["a_b.png"], ["a/b.wav", "a_b.wav"])


def test_two_images_of_one_clip_are_an_error_with_both():
    with pytest.raises(DataError, match=r"00002.jpg and .*00002.png are both of the clip id1/abc/00002.wav"):
        match_names(["id1/abc/00002.jpg", "id1/abc/00002.png"], CLIPS)


def test_images_of_clips_that_are_not_asked_for_are_no_trouble():
    images = ["id1/abc/00001.png", "id2/xyz/00001.png", "id9/00001.png"]
    assert match_names(images[:2], CLIPS[:1], CLIPS[1:]) == {0: images[0]}
    with pytest.raises(DataError, match="id9/00001.png may be of the clip"):
        match_names(images[2:], CLIPS[:1], CLIPS[1:])


def test_a_whole_path_goes_before_a_file_name():
    images = ["id1/abc/00002.png", "other/00002.png"]
    assert match_names(images, CLIPS) == {1: images[0]}


# Images


def test_images_come_in_the_clips_order(tmp_path):
    faces = noise(3)
    save_faces(tmp_path / "made", faces, CLIPS, {"Synthetic": "yes"})
    read = read_faces(tmp_path / "made", CLIPS[::-1], 64)
    assert torch.equal(read.faces, faces.flip(0)) and read.given.all() and read.notes == []
    with Image.open(tmp_path / "made" / "id1" / "abc" / "00001.png") as image:
        assert image.text == {"Synthetic": "yes"}


def test_another_size_is_resized_and_said(folder):
    where = folder({f"{c[:-4]}.png": (128, 128) for c in CLIPS} | {"notes.png": (7, 9)})
    read = read_faces(where, CLIPS, 64)
    assert read.faces.shape == (3, 64, 64, 3) and (read.faces[0, 0, 0] == torch.tensor([200, 100, 50])).all()
    assert any("128 x 128, were resized to the data's 64 x 64" in note for note in read.notes)
    assert any("1 images are of no evaluated clip" in note and "notes.png" in note for note in read.notes)


def test_resizing_smooths(tmp_path):
    """A fine chequered pattern becomes grey, not stripes."""
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    (tmp_path / "a.png").parent.mkdir(exist_ok=True)
    Image.fromarray(board).convert("RGB").save(tmp_path / "a.png")
    face = read_faces(tmp_path, ["a.wav"], 64).faces[0].float()
    assert (face - 127.5).abs().max() < 8


def test_missing_clips_are_counted_and_named(folder):
    clips = [f"p/{i}.wav" for i in range(9)]
    where = folder({"p/0.png": (64, 64), "p/5.png": (64, 64)})
    with pytest.raises(DataError, match=r"7 of 9 clips have no image, such as p/1.wav, p/2.wav, p/3.wav,"):
        read_faces(where, clips, 64)
    read = read_faces(where, clips, 64, allow_missing=True)
    assert len(read.faces) == 2 and np.flatnonzero(read.given).tolist() == [0, 5]
    assert "7 of 9 clips have no image and are left out" in read.notes[0]
    with pytest.raises(DataError, match="2 of 2 clips have no image"):
        read_faces(where, ["x.wav", "y.wav"], 64, allow_missing=True)


def test_wrong_sizes_are_named(folder):
    sizes = {"a.png": (64, 64), "b.png": (64, 64), "c.png": (64, 48), "d.png": (32, 32)}
    where = folder(sizes)
    with pytest.raises(DataError, match=r"2 of 4 images .*most are with 64 x 64, c.png \(64 x 48\), d.png"):
        read_faces(where, ["a", "b", "c", "d"], 64)
    with pytest.raises(DataError, match=r"1 of 1 images are not square and of one size, c.png"):
        read_faces(where, ["c"], 64)


def test_all_that_is_wrong_is_said_together(folder):
    png = folder({"ok.png": (64, 64)}) / "ok.png"
    cut = png.read_bytes()[:60]
    where = folder({"a.png": cut, "b.jpg": b"no image", "c.png": (64, 48), "e.webp": b""})
    with pytest.raises(DataError) as error:
        read_faces(where, ["a", "b", "c", "d", "e", "ok"], 64)
    told = str(error.value)
    assert "1 of 6 clips have no image, d;" in told
    assert "3 of 5 images cannot be read, a.png, b.jpg, e.webp;" in told
    assert "c.png (64 x 48)" in told and told.count(str(where)) == 3
    assert "a.png: is damaged or cut short" in told and "b.jpg: is not an image" in told  # and why


def test_what_cannot_be_read_is_left_out_where_clips_may_lack_one(folder):
    png = folder({"a.png": (64, 64)}) / "a.png"
    page, cut = b"<!DOCTYPE html><html>Not found</html>", png.read_bytes()[:60]
    where = folder({"b.png": cut, "c.jpg": page, "d.png": (64, 64), "README.txt": b"mine", ".hidden": b""})
    read = read_faces(where, ["a", "b", "c", "d"], 64, allow_missing=True)
    assert read.given.tolist() == [True, False, False, True] and len(read.faces) == 2
    assert "2 of 4 images cannot be read and are left out, b.png, c.jpg." in read.notes
    assert any(note.startswith("b.png: is damaged or cut short") for note in read.notes)
    assert "c.jpg: is a web page (HTML), not an image; get the file again." in read.notes
    assert "1 files are no images by their ending and are left out, README.txt." in read.notes
    (where / "a.png").write_bytes(cut)
    (where / "d.png").write_bytes(b"")
    with pytest.raises(DataError, match="4 of 4 images cannot be read, a.png"):
        read_faces(where, ["a", "b", "c", "d"], 64, allow_missing=True)


def test_any_format_and_any_ending_is_read(folder, tmp_path):
    image = Image.fromarray(noise(1)[0].numpy())
    where = tmp_path / "theirs"
    where.mkdir()
    for name, kind in (("a.jpg", "BMP"), ("b.gif", "GIF"), ("c.tif", "TIFF"), ("d.png", "WEBP")):
        more = {"lossless": True} if kind == "WEBP" else {}
        if kind == "GIF":
            more = {"save_all": True, "append_images": [image.rotate(90)]}
        image.save(where / name, kind, **more)
    read = read_faces(where, ["a", "b", "c", "d"], 64)
    for i in (0, 2, 3):
        np.testing.assert_array_equal(read.faces[i].numpy(), np.asarray(image))
    assert read.notes == ["1 images hold several images, of which the first is taken, b.gif."]


def test_no_folder_and_no_images(tmp_path):
    for where, words in ((tmp_path / "none", "is not a folder"), (tmp_path, "there are no images")):
        with pytest.raises(DataError, match=words):
            read_faces(where, CLIPS, 64)


# Saving


def test_what_is_there_is_kept(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and is kept"):
        save_faces(tmp_path / "made", noise(3), CLIPS, {})
    assert [p.name for p in tmp_path.rglob("*")] == ["made", "mine.txt"]


def test_sources_that_are_no_file_names(tmp_path):
    for sources in (["../a.wav"], ["/a.wav"], ["a.wav", "a.wav"], [".a.wav"]):
        with pytest.raises(OutputError, match="No image can be named after"):
            save_faces(tmp_path / "made", noise(len(sources)), sources, {})
    assert list(tmp_path.iterdir()) == []


def test_clips_that_differ_in_their_ending_alone(tmp_path):
    sources = ["a/1.wav", "a/1.mp3"]
    faces = noise(2)
    save_faces(tmp_path / "made", faces, sources, {})
    assert torch.equal(read_faces(tmp_path / "made", sources, 64).faces, faces)


# Cases


def test_a_case_without_a_checkpoint(store, tmp_path, judge_folder):
    from voice2face_gan.evaluation.protocol import identities_with_voice_and_face
    from voice2face_gan.evaluation.readers import open_reader

    voices, _ = identities_with_voice_and_face(store)
    save_faces(tmp_path / "made", noise(len(voices)), voices.source.tolist(), {})
    reader = open_reader(str(judge_folder))
    eval_set, notes = folder_eval_set(tmp_path / "made", store, reader=reader)
    assert eval_set.model is None and eval_set.about["checkpoint"] is None and notes == []
    near, _ = folder_eval_set(tmp_path / "made", store, reader=reader, zoom=1.4)
    assert torch.equal(near.generated, reframed(eval_set.generated, 1.4)) and torch.equal(
        near.real, eval_set.real
    )
    assert np.array_equal(eval_set.generated_identity, voices.identity) and eval_set.about["clips"] == 16
    # Someone without any image is not among the others either.
    gone = voices.identity[0]
    for path in (tmp_path / "made" / gone).iterdir():
        path.unlink()
    with pytest.raises(DataError, match=f"4 of 16 clips have no image, {gone}/0"):
        folder_eval_set(tmp_path / "made", store, reader=reader)
    eval_set, notes = folder_eval_set(tmp_path / "made", store, reader=reader, allow_missing=True)
    assert gone not in set(eval_set.generated_identity) | set(eval_set.real_identity)
    assert (eval_set.about["clips"], eval_set.about["identities"], eval_set.about["missing"]) == (12, 3, 4)
    assert len(notes) == 1 and "4 of 16" in notes[0]
