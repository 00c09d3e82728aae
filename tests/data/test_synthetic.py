"""The synthetic world as a store: the same people everywhere, in the same splits."""

import numpy as np
import pytest

from voice2face_gan.data import synthetic
from voice2face_gan.data.cache import cache_folder
from voice2face_gan.data.store import Store
from voice2face_gan.data.synthetic import is_synthetic, synthetic_size, synthetic_speakers, synthetic_store
from voice2face_gan.errors import DataError
from voice2face_gan.synthetic.speakers import sample_speakers


@pytest.mark.parametrize(
    ("data", "size"),
    [("synthetic", 1000), ("synthetic:10", 10), ("synthetic:250", 250), ("synthetic:", 1000)],
)
def test_sizes(data, size):
    assert is_synthetic(data) and synthetic_size(data) == size


@pytest.mark.parametrize(
    "data", ["synthetic:9", "synthetic:0", "synthetic:-5", "synthetic:1e3", "synthetic:ten", "synthetic: 20 "]
)
def test_a_size_that_is_none_is_refused_with_the_right_spelling(data):
    with pytest.raises(DataError, match="synthetic:SPEAKERS"):
        synthetic_size(data)


def test_folders_are_not_taken_for_the_synthetic_world():
    assert not is_synthetic("builtins") and not is_synthetic("./synthetic") and not is_synthetic("")


def test_what_the_store_holds(store):
    assert len(store) == 20 * 6
    assert store.has_face.sum() == 120 and store.has_voice.sum() == 80
    assert store.faces.shape == (120, 64, 64, 3) and store.faces.dtype == np.uint8
    assert store.voices.shape[1] == 64 and store.voices.dtype == np.float16
    people = synthetic_speakers(store)
    assert sorted(set(people.tolist())) == list(range(20))
    known = sample_speakers(20, seed=synthetic.WORLD_SEED)
    assert (store.gender == np.where(known.female[people], "female", "male")).all()
    assert np.allclose(store.age, known.age[people], atol=0.05)


def test_splits_share_no_speaker_and_are_7_1_2_of_ten(store):
    people = {split: set(store.identity[store.split == split].tolist()) for split in ("train", "val", "test")}
    assert {split: len(who) for split, who in people.items()} == {"train": 14, "val": 2, "test": 4}
    assert not (
        people["train"] & people["val"] | people["train"] & people["test"] | people["val"] & people["test"]
    )


@pytest.mark.slow
def test_a_smaller_world_is_the_beginning_of_a_larger_one(store):
    """So that whoever is held out from one model is held out from all."""
    small = synthetic_store("synthetic:10")
    first = store.select(synthetic_speakers(store) < 10)
    for name in ("source", "identity", "gender", "split"):
        assert (getattr(small, name) == getattr(first, name)).all()
    assert np.array_equal(small.age, first.age)
    assert np.array_equal(small.faces[small.face_index], first.faces[first.face_index])
    heard = small.has_voice
    for i in np.flatnonzero(heard)[::7]:
        a, b = (s.voices[s.voice_offset[i] :][: s.voice_frames[i]] for s in (small, first))
        # Voices made together go through matrix products of other sizes.
        assert np.allclose(a.astype(float), b.astype(float), atol=0.02)


def test_the_second_call_opens_what_the_first_made(store, monkeypatch):
    def make(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(synthetic, "_make", make)
    again = synthetic_store("synthetic:20")
    assert again.folder == store.folder and np.array_equal(again.faces, store.faces)


def test_made_again_it_is_the_same(store, tmp_path, monkeypatch):
    monkeypatch.setenv("V2F_CACHE", str(tmp_path))
    again = synthetic_store("synthetic:20")
    assert again.folder != store.folder
    for name in ("store.json", "records.csv", "voices.npy", "faces.npy"):
        assert (again.folder / name).read_bytes() == (store.folder / name).read_bytes(), name


def test_other_worlds_have_other_speakers_and_their_own_folder(store):
    other = synthetic_store("synthetic:20", seed=synthetic.JUDGE_SEED, clips=0)
    assert other.folder != store.folder
    assert not other.has_voice.any() and other.has_face.sum() == 120
    assert not np.array_equal(other.faces, store.faces)


@pytest.mark.slow
def test_a_world_that_was_never_finished_is_made_again(store, tmp_path, monkeypatch):
    """Ctrl-C while it is made leaves nothing; a damaged one is replaced."""
    monkeypatch.setenv("V2F_CACHE", str(tmp_path))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic_store("synthetic:10", progress=stop)
    assert list(tmp_path.iterdir()) == []
    folder = synthetic_store("synthetic:10").folder
    (folder / "faces.npy").write_bytes(b"damaged")
    assert len(synthetic_store("synthetic:10")) == 60
    assert len(Store(folder)) == 60


def test_progress_goes_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv("V2F_CACHE", str(tmp_path))
    told = []
    synthetic_store("synthetic:60", progress=lambda *step: told.append(step), clips=0)
    assert told == [(50, 60), (60, 60)]


def test_the_cache_is_where_the_user_sets_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() != tmp_path / "x" / "voice2face_gan"  # V2F_CACHE wins
    monkeypatch.delenv("V2F_CACHE")
    assert cache_folder() == tmp_path / "x" / "voice2face_gan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "voice2face_gan"
