"""The store's contract on disk, and several stores as one."""

import json

import numpy as np
import pytest

from voice2face_gan.data.join import join_stores
from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import StoreError

FEATURES = {"n_mels": 4, "hop_ms": 10, "min_frames": 20}
RNG = np.random.default_rng(0)


def write(folder, people: dict[str, str], source=None, features=None, side=8) -> Store:
    """A store with a voice and a face of each (identity -> gender), and a voice alone of the last."""
    features = features or FEATURES
    with StoreWriter(folder, features, side, source or {"layout": "paired"}) as writer:
        for i, (name, gender) in enumerate(people.items()):
            mel = RNG.standard_normal((features["n_mels"], 10 + i)).astype(np.float32)
            face = RNG.integers(0, 255, (side, side, 3), dtype=np.uint8)
            writer.add(Record(f"{name}/0", name, gender=gender, split="train"), mel, face)
        writer.add(Record(f"{name}/1", name, gender=gender, split="test"), mel)
        writer.finish()
    return Store(folder)


def test_what_is_written_is_read(tmp_path):
    mel = RNG.standard_normal((4, 30)).astype(np.float32)
    face = RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    with StoreWriter(tmp_path / "s", FEATURES, 8, temporary=tmp_path / "aside") as writer:
        writer.add(Record("a/0", 'Zoë, "A"', gender="female", age=31.5, ethnicity="x"), mel, face)
        writer.add(Record("b", "b"), face=face)
        writer.attach("dropped.csv", "source,part,reason\nq,face,no face\n")
        assert (tmp_path / "aside").is_dir() and not (tmp_path / "s").exists()
        writer.finish()
    store = Store(tmp_path / "s")
    assert list(store.identity) == ['Zoë, "A"', "b"] and store.age[0] == 31.5 and np.isnan(store.age[1])
    assert list(store.voice_offset) == [0, -1] and list(store.face_index) == [0, 1]
    np.testing.assert_array_equal(store.voices, mel.T.astype(np.float16))
    np.testing.assert_array_equal(store.faces[1], face)
    assert store.dropped() == {"face: no face": 1}


def test_the_visible_box_of_faces_is_stored(tmp_path):
    face = RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    with StoreWriter(tmp_path / "s", FEATURES, 8, zoom=1.4) as writer:
        writer.add(Record("a", "a"), face=face)
        writer.add(Record("b", "b"), RNG.standard_normal((4, 30)))
        writer.add(Record("c", "c"), face=face, visible_box=np.array([2, 0, 7, 8]))
        writer.finish()
    store = Store(tmp_path / "s")
    assert store.visible_box.tolist() == [[0, 0, 8, 8], [2, 0, 7, 8]] and store.zoom == 1.4
    assert store.fully_visible.tolist() == [True, False, False]
    # Stores of old do not say, and their faces count as wholly within their images.
    (tmp_path / "s" / "inside.npy").unlink()
    about = json.loads((tmp_path / "s" / "store.json").read_text())
    del about["zoom"]
    (tmp_path / "s" / "store.json").write_text(json.dumps(about))
    old = Store(tmp_path / "s")
    assert old.visible_box.tolist() == [[0, 0, 8, 8]] * 2 and old.zoom == 1
    assert old.fully_visible.tolist() == [True, False, True]
    np.save(tmp_path / "s" / "inside.npy", np.zeros((3, 4), np.int16))
    with pytest.raises(StoreError, match="prepare it again"):
        Store(tmp_path / "s")


def test_joined_faces_keep_what_they_show_and_must_be_as_near(tmp_path):
    face = RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    stores = {}
    for name, zoom in (("near", 1.4), ("nearer", 1.5), ("also", 1.4)):
        with StoreWriter(tmp_path / name, FEATURES, 8, {"layout": name}, zoom=zoom) as writer:
            writer.add(Record(name, name), face=face, visible_box=np.array([0, 0, 8, len(name)]))
            writer.finish()
        stores[name] = Store(tmp_path / name)
    with StoreWriter(tmp_path / "voices", FEATURES, 8, {"layout": "voices"}) as writer:
        writer.add(Record("v", "v"), RNG.standard_normal((4, 30)))
        writer.finish()
    joined = join_stores([Store(tmp_path / "voices"), stores["near"], stores["also"]])
    assert joined.visible_box[joined.face_index[1:], 3].tolist() == [4, 4] and joined.zoom == 1.4
    with pytest.raises(StoreError, match=r"zoom of faces other than .*prepare both"):
        join_stores([stores["near"], stores["nearer"]])


def test_the_breakdown_adds_up(tmp_path):
    store = write(tmp_path / "s", {"a": "female", "b": "", "c": "male"})
    rows = store.breakdown()
    assert [(r["split"], r["gender"], r["voices"], r["faces"]) for r in rows] == [
        ("train", "female", 1, 1),
        ("train", "male", 1, 1),
        ("train", "unknown", 1, 1),
        ("test", "male", 1, 0),
    ]
    assert sum(r["voices"] for r in rows) == store.summary()["voices"] == 4


def test_joined_stores_hold_what_each_holds(tmp_path):
    first = write(tmp_path / "one", {"a": "female", "b": "male"})
    second = write(tmp_path / "two", {"b": "male", "c": "female"})
    joined = join_stores([first, second])
    assert len(joined) == len(first) + len(second)
    assert joined.summary()["identities"] == 3, "b is one person: the same data set"
    parts = [(store, i) for store in (first, second) for i in range(len(store))]
    for place, (part, i) in enumerate(parts):
        a, b, frames = joined.voice_offset[place], part.voice_offset[i], part.voice_frames[i]
        np.testing.assert_array_equal(joined.voices[a : a + frames], part.voices[b : b + frames])
        assert (joined.face_index[place] < 0) == (part.face_index[i] < 0)
        if part.face_index[i] >= 0:
            ours, theirs = joined.faces[joined.face_index[place]], part.faces[part.face_index[i]]
            np.testing.assert_array_equal(ours, theirs)
    assert joined.about["records"] == 6 and len(joined.of_split("test")) == 2
    assert join_stores([first]) is first


def test_a_store_has_its_settings_of_speech_detection(tmp_path):
    def store(name: str, padding: int | None, looked: bool = True) -> Store:
        settings = {"vad": {"padding_ms": padding}, "voice": {"vad": looked}}
        source = {"layout": name, **({"settings": settings} if padding else {})}
        return write(tmp_path / name, {"a": "female"}, source)

    ours, theirs, unknown = store("ours", 60), store("theirs", 50), store("unknown", None)
    assert theirs.vad == {"padding_ms": 50} and theirs.of_split("train").vad == theirs.vad
    assert unknown.vad == store("whole", 50, looked=False).vad == {}
    assert join_stores([ours, theirs]).vad == {}
    assert join_stores([unknown, theirs]).vad == join_stores([theirs, store("again", 50)]).vad == theirs.vad
    named = {"vad": {"padding_ms": 50, "target_level_db": None}, "voice": {"vad": True}}
    younger = write(tmp_path / "younger", {"a": "female"}, {"layout": "younger", "settings": named})
    assert (
        younger.vad == join_stores([younger, theirs]).vad == theirs.vad
    )  # off is what it was without the key
    faces = store("faces", 60)
    faces.voice_offset = np.full_like(faces.voice_offset, -1)
    assert faces.vad == {} and join_stores([faces, theirs]).vad == theirs.vad


def test_one_name_in_two_data_sets_is_two_identities(tmp_path):
    stores = [
        write(tmp_path / name, {"anna": "female", name: "male"}, {"layout": "paired", "family": name})
        for name in ("one", "two", "three")
    ]
    assert sorted(set(join_stores(stores).identity)) == [
        "anna", "one", "three", "three:anna", "two", "two:anna",
    ]  # fmt: skip
    worlds = [
        write(tmp_path / f"w{seed}", {"spk0": "male"}, {"layout": "synthetic", "seed": seed})
        for seed in (0, 1)
    ]
    assert sorted(set(join_stores(worlds).identity)) == ["spk0", "synthetic-1:spk0"]


def test_stores_of_other_settings_are_not_joined(tmp_path):
    first = write(tmp_path / "one", {"a": "male"})
    other = write(tmp_path / "two", {"a": "male"}, features={**FEATURES, "hop_ms": 12})
    with pytest.raises(StoreError, match="hop_ms is 12 instead of 10"):
        join_stores([first, other])
    with pytest.raises(StoreError, match=r"side of faces .*\(16 instead of 8\)"):
        join_stores([first, write(tmp_path / "three", {"a": "male"}, side=16)])


def test_a_damaged_store_is_refused(tmp_path):
    folder = write(tmp_path / "s", {"a": "male"}).folder
    about = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**about, "faces": 7}))
    with pytest.raises(StoreError, match="prepare it again"):
        Store(folder)
    with pytest.raises(StoreError, match="does not exist"):
        Store(tmp_path / "none")


def test_a_failed_writer_leaves_nothing(tmp_path):
    with (
        pytest.raises(StoreError, match="a face must be uint8"),
        StoreWriter(tmp_path / "s", FEATURES, 8) as w,
    ):
        w.add(Record("a", "a"), face=np.zeros((9, 9, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_speech_is_stored_beside_the_log_mels(tmp_path):
    mel = RNG.standard_normal((4, 30)).astype(np.float32)
    said = [RNG.integers(-32768, 32767, n, dtype=np.int16) for n in (50, 70)]
    with StoreWriter(tmp_path / "s", FEATURES, 8, keep_speech=True) as writer:
        writer.add(Record("a/0", "a"), mel, speech=said[0])
        writer.add(Record("a/1", "a"), mel)  # a log-mel that came without
        writer.add(Record("b/0", "b"), mel, speech=said[1])
        writer.finish()
    store = Store(tmp_path / "s")
    assert store.has_speech.tolist() == [True, False, True] and store.about["samples"] == 120
    assert store.speech_samples.tolist() == [50, -1, 70] and store.speech.dtype == np.int16
    part = store.select(store.identity == "b")
    start = int(part.speech_offset[0])
    np.testing.assert_array_equal(part.speech[start : start + 70], said[1])
    (tmp_path / "s" / "speech.npy").write_bytes((tmp_path / "s" / "speech.npy").read_bytes()[:-20])
    with pytest.raises(StoreError, match="prepare it again"):
        Store(tmp_path / "s")
    with (
        pytest.raises(StoreError, match="speech must be int16"),
        StoreWriter(tmp_path / "t", FEATURES, 8, keep_speech=True) as w,
    ):
        w.add(Record("a", "a"), mel, speech=np.zeros(9, np.float32))


def test_a_store_without_speech_is_as_it_always_was(tmp_path):
    """So that stores of versions that knew of no speech open, and newer ones of theirs are theirs."""
    folder = write(tmp_path / "s", {"a": "male"}).folder
    assert {p.name for p in folder.iterdir()} == {
        "store.json",
        "records.csv",
        "voices.npy",
        "faces.npy",
        "inside.npy",
    }
    assert "speech" not in (folder / "records.csv").read_text() + (folder / "store.json").read_text()
    store = Store(folder)
    assert not store.has_speech.any() and len(store.speech) == 0


def test_joined_with_a_store_of_log_mels_alone_speech_stays_with_its_record(tmp_path):
    mel = RNG.standard_normal((4, 30)).astype(np.float32)
    said = RNG.integers(-32768, 32767, (3, 40), dtype=np.int16)
    stores = [write(tmp_path / "mels", {"a": "male"})]
    for name, clips in (("one", said[:2]), ("two", said[2:])):
        with StoreWriter(tmp_path / name, FEATURES, 8, {"layout": name}, keep_speech=True) as writer:
            for k, speech in enumerate(clips):
                writer.add(Record(f"{name}/{k}", name), mel, speech=speech)
            writer.finish()
        stores.append(Store(tmp_path / name))
    for order in (stores, stores[::-1]):
        joined = join_stores(order)
        assert joined.has_speech.sum() == 3 and not joined.has_speech[joined.identity == "a"].any()
        for name, k in (("one", 0), ("one", 1), ("two", 0)):
            (place,) = np.flatnonzero(joined.source == f"{name}/{k}")
            start = int(joined.speech_offset[place])
            np.testing.assert_array_equal(joined.speech[start : start + 40], said[k if name == "one" else 2])
