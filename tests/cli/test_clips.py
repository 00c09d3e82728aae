"""Which clips the arguments name: files, folders, addresses."""

import os

import pytest

from voice2face_gan.cli._clips import IMAGES, RECORDINGS, Arguments, refuse_address
from voice2face_gan.cli._output_paths import folder_names, tree_paths
from voice2face_gan.errors import AudioError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")


def make(*names: str) -> None:
    """Files, or folders where a name ends in "/"."""
    for name in names:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        if not name.endswith("/"):
            open(name, "w").close()


def found(*arguments: str, output=None) -> tuple[list[str], list[str]]:
    """Names of the clips, and what failed."""
    failed = []
    clips = Arguments.of(arguments).clips(output, lambda name, error: failed.append(name))
    return [clip.name for clip in clips], failed


def test_a_folder_is_walked_in_order():
    make("rec/b.wav", "rec/a.mp3", "rec/y/1.wav", "rec/x/z/2.wav", "rec/x/9.wav", "rec/notes")
    names, failed = found("rec")
    assert names == ["rec/a.mp3", "rec/b.wav", "rec/notes", "rec/x/9.wav", "rec/x/z/2.wav", "rec/y/1.wav"]
    assert failed == [] and found("rec/")[0][0] == "rec/a.mp3"


def test_hidden_files_pipes_and_empty_folders():
    make("rec/.a.wav", "rec/.git/b.wav", "rec/__MACOSX/c.wav", "rec/._d.wav", "rec/e.wav", "none/sub/")
    os.mkfifo("rec/pipe.wav")  # opening it would wait for ever
    assert found("rec") == (["rec/e.wav"], [])
    assert found("none") == ([], ["none"])


def test_links_are_followed_once():
    make("rec/a.wav", "rec/sub/b.wav", "away/c.wav")
    os.symlink("..", "rec/sub/up")
    os.symlink(os.path.abspath("away"), "rec/one")
    os.symlink(os.path.abspath("away"), "rec/two")
    os.symlink("nowhere", "rec/gone.wav")
    assert found("rec")[0] == ["rec/a.wav", "rec/gone.wav", "rec/one/c.wav", "rec/sub/b.wav"]


def test_a_file_is_one_clip_however_it_is_named():
    make("rec/a.wav", "rec/sub/b.wav", "c.wav")
    assert found("c.wav", "./c.wav", "rec/../c.wav") == (["c.wav"], [])
    assert found("rec/a.wav", "rec")[0] == ["rec/a.wav", "rec/sub/b.wav"]
    for arguments in (("rec", "rec/sub"), ("rec/sub", "rec"), ("rec", "./rec/")):
        assert sorted(found(*arguments)[0]) == ["rec/a.wav", "rec/sub/b.wav"]
    assert found("missing.wav", "c.wav")[0] == ["missing.wav", "c.wav"]


def test_the_output_folder_is_not_read(tmp_path):
    make("rec/a.wav", "rec/faces/old.wav", "rec/x/faces/b.wav")
    assert found("rec", output=tmp_path / "home/rec/faces")[0] == ["rec/a.wav", "rec/x/faces/b.wav"]
    assert len(found("rec", output=tmp_path / "home/rec")[0]) == 3  # beside the clips


def test_a_folder_that_cannot_be_read_is_one_failure(monkeypatch):
    make("rec/a.wav", "rec/shut/b.wav", "rec/z.wav")
    plain = os.scandir

    def scandir(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found("rec") == (["rec/a.wav", "rec/z.wav"], ["rec/shut"])


def test_the_first_clips_come_before_the_last_folders_are_read(monkeypatch):
    make(*(f"rec/{i:03}/a.wav" for i in range(300)))
    read = []
    plain = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(path) or plain(path))
    clips = Arguments.of(("rec",)).clips(None, lambda *_: None)
    assert next(clips).name == "rec/000/a.wav" and len(read) == 2
    assert sum(1 for _ in clips) == 299 and len(read) == 301


def test_counting_does_not_disturb_a_walk():
    make("rec/a.wav", "rec/x/b.wav", "rec/y/c.wav")
    arguments = Arguments.of(("rec",))
    clips = arguments.clips(None, lambda *_: None)
    next(clips)
    assert arguments.count(None) == 3 and len(list(clips)) == 2


def test_the_ending_says_what_is_meant_as_a_recording():
    make("rec/a.WAV", "rec/b.txt", "rec/c", "rec/d.mkv")
    clips = {c.name: c.sure for c in Arguments.of(("rec",)).clips(None, lambda *_: None)}
    assert clips == {"rec/a.WAV": True, "rec/b.txt": False, "rec/c": False, "rec/d.mkv": True}
    assert next(Arguments.of(("rec/b.txt",)).clips(None, lambda *_: None)).sure  # named by itself
    assert not RECORDINGS & IMAGES


def test_names_inside_one_folder():
    assert tree_paths(["a.wav", "b.mp3"], RECORDINGS) == {"a.wav": "a", "b.mp3": "b"}
    assert tree_paths(["a.wav", "a.mp3", "a.txt"], RECORDINGS) == {
        "a.wav": "a.wav",
        "a.mp3": "a.mp3",
        "a.txt": "a.txt",
    }
    assert tree_paths(["a.wav", "a.txt"], RECORDINGS) == {"a.wav": "a", "a.txt": "a.txt"}
    assert len({v.casefold() for v in tree_paths(["a.wav", "A.wav", "a", "A.WAV"], RECORDINGS).values()}) == 4


def test_names_of_several_folders():
    assert folder_names(["rec", "v1.0/"]) == {"rec": "rec", "v1.0/": "v1.0"}
    assert folder_names(["x/rec", "y/rec"]) == {"x/rec": "x-rec", "y/rec": "y-rec"}


@pytest.mark.parametrize(
    "address",
    [
        "http://a.org/x.wav",
        "https://youtu.be/abc",
        "HTTPS://A.ORG/x",
        "ftp://a/b.mp3",
        "s3://bucket/x.wav",
        "www.youtube.com/watch?v=1",
        "youtube.com/watch?v=1",
        "youtu.be/abc",
        "m.youtube.com/watch?v=1",
        "file:///tmp/x.wav",
    ],
)
def test_addresses(address):
    with pytest.raises(AudioError, match="is an address"):
        refuse_address(address)


@pytest.mark.parametrize(
    "name", ["a.wav", "C:x.wav", "httpx.wav", "wwwa.wav", "a/http:.wav", "", "youtube.wav"]
)
def test_names_that_are_no_addresses(name):
    refuse_address(name)


def test_a_file_may_be_called_like_an_address():
    make("www.a.wav")
    refuse_address("www.a.wav")
