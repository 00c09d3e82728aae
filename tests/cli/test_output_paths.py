"""Which file an image goes to."""

from pathlib import Path

import pytest

from voice2face_gan.cli._output_paths import grid_name, image_names
from voice2face_gan.errors import OutputError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")


def names(clips: list[str], output: str | None = None, variants: int = 1) -> list[str]:
    found = image_names(clips, output, variants)
    assert list(found) == clips
    return [str(path) for clip in clips for path in found[clip]]


def test_without_an_output_the_current_folder():
    assert names(["a.wav"]) == ["a.png"]
    assert names(["/far/away/a.mp3", "b.m4a"]) == ["a.png", "b.png"]


def test_a_name_for_one_clip():
    assert names(["a.wav"], "face.png") == ["face.png"]
    assert names(["a.wav"], "new/face.PNG") == ["new/face.PNG"]
    assert names(["a.wav"], "face.png", 3) == ["face-1.png", "face-2.png", "face-3.png"]


def test_a_folder_for_one_or_many():
    assert names(["a.wav"], "faces") == ["faces/a.png"]
    assert names(["a.wav", "b.wav"], "faces/") == ["faces/a.png", "faces/b.png"]
    assert names(["a.wav"], "v1.0") == ["v1.0/a.png"]  # a dot makes no file
    Path("x.png").mkdir()
    assert names(["a.wav", "b.wav"], "x.png") == ["x.png/a.png", "x.png/b.png"]


def test_variants_are_numbered():
    assert names(["a.wav", "b.wav"], None, 2) == ["a-1.png", "a-2.png", "b-1.png", "b-2.png"]


def test_the_home_folder():
    assert names(["a.wav"], "~/faces")[0] == str(Path.home() / "faces" / "a.png")


def test_only_the_last_ending_is_dropped():
    assert names(["talk.v2.wav", "noending", ".hidden"]) == ["talk.v2.png", "noending.png", ".hidden.png"]


def test_one_name_for_several_clips_is_refused():
    with pytest.raises(OutputError, match="2 clips.*folder, or add --grid"):
        names(["a.wav", "b.wav"], "face.png")


@pytest.mark.parametrize("output", ["face.jpg", "x/face.JPEG", "face.webp", "face.gif"])
def test_other_kinds_of_images_are_refused(output):
    with pytest.raises(OutputError, match="PNG"):
        names(["a.wav"], output)


def test_a_file_is_no_folder():
    Path("notes").write_text("")
    with pytest.raises(OutputError, match="is a file that exists"):
        names(["a.wav"], "notes")


def test_equal_stems_get_their_folder_in_front():
    assert names(["x/a.wav", "y/a.wav", "x/b.wav"]) == ["x-a.png", "y-a.png", "b.png"]
    assert names(["a.wav", "x/a.wav"]) == ["home-a.png", "x-a.png"]
    assert names(["x/a.wav", "y/a.wav"], None, 2) == ["x-a-1.png", "x-a-2.png", "y-a-1.png", "y-a-2.png"]


def test_case_does_not_tell_names_apart():
    assert names(["x/A.wav", "y/a.wav"]) == ["x-A.png", "y-a.png"]


def test_equal_stems_in_one_folder_keep_their_ending():
    assert names(["x/a.wav", "x/a.mp3"]) == ["x-a.wav.png", "x-a.mp3.png"]


HARD = [
    ["p/x/a.wav", "q/x/a.wav"],
    ["p/x/a.wav", "q/x/a.wav", "p/x/a.mp3", "a.wav", "A.wav", "x/a.wav"],
    ["x/a.wav", "y/a.wav", "z/x-a.wav", "w/y-a.wav"],
    ["/a.wav", "/b/a.wav", "/b/b/a.wav", "/b/b/b/a.wav"],
    ["x/a.wav", "y/a.wav", "x-a.wav", "home-x-a.wav", "z/x-a.wav.wav"],
    [f"{a}/{b}/{c}.wav" for a in "pq" for b in "xy" for c in ("a", "x-a", "p-x-a")],
]


@pytest.mark.parametrize("clips", HARD)
@pytest.mark.parametrize("variants", [1, 3])
def test_no_two_clips_share_a_file(clips, variants):
    found = [name.casefold() for name in names(clips, "faces", variants)]
    assert len(set(found)) == len(clips) * variants
    assert all(Path(name).parent == Path("faces") for name in found)


def test_the_same_for_any_order():
    clips = HARD[1]
    assert image_names(clips, None, 1) == image_names(clips[::-1], None, 1)


def test_the_grid():
    assert grid_name(None) == Path("grid.png")
    assert grid_name("faces") == Path("faces/grid.png")
    assert grid_name("sheet.png") == Path("sheet.png")
    with pytest.raises(OutputError, match="PNG"):
        grid_name("sheet.jpg")
