"""Data sets in parquet files: rows become the records that the same files in folders would, and whatever is
damaged is a sentence or a line of dropped.csv."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trees

from voice2face_gan.audio.decode import load_audio
from voice2face_gan.data import parquet_cells
from voice2face_gan.data.layouts import find_layout, recognise
from voice2face_gan.data.open import open_source
from voice2face_gan.data.parquet_cells import CellError, cell_path, file_of, is_cell, media_name, open_media
from voice2face_gan.data.prepare.prepare import prepare
from voice2face_gan.data.prepare.settings import PrepareSettings
from voice2face_gan.data.video import video_frames
from voice2face_gan.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PLAIN = PrepareSettings.of(["faces.detector=none", "voice.min_seconds=0.1"])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def dropped(folder: Path) -> list[dict]:
    with (folder / "dropped.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    return Path(trees.avspeech_parquet(tmp_path_factory.mktemp("hub")).sources[0])


@pytest.fixture(scope="module")
def made(hub, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "store"
    prepare("avspeech-parquet", [hub], folder, PLAIN, workers=1)
    return folder


# Cells


def test_a_cell_has_a_name_like_a_path():
    path = cell_path("/data/a b#1/rows-0.parquet", 12, "audio")
    assert is_cell(path) and file_of(path) == "/data/a b#1/rows-0.parquet"
    assert media_name(path) == "rows-0.parquet, row 12, audio"
    for plain in ("/data/clip#row=1.wav", "/data/rows.parquet", "/data/x.wav#row=1&column=audio"):
        assert not is_cell(plain) and file_of(plain) == open_media(plain) == plain
        assert media_name(plain) == Path(plain).name


@pytest.mark.parametrize("kind", ["binary", "large", "view", "struct", "dictionary"])
def test_cells_are_read_in_any_order_and_kind(tmp_path, kind):
    values = [f"content of row {i}".encode() for i in range(23)]
    if kind == "struct":
        trees.write_parquet(tmp_path / "a.parquet", {"x": values}, ("x",), row_group_size=5)
    else:
        types = {"large": pa.large_binary(), "view": pa.binary_view()}
        array = pa.array(values, types.get(kind, pa.binary()))
        array = array.dictionary_encode() if kind == "dictionary" else array
        pq.write_table(pa.table({"x": array}), tmp_path / "a.parquet", row_group_size=5)
    order = [*range(23), *np.random.default_rng(0).permutation(23).tolist(), 7, 7]
    for row in order:
        file = open_media(cell_path(tmp_path / "a.parquet", row, "x"))
        assert file.read() == values[row] and file.name == f"a.parquet, row {row}, x"


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        (0, "audio", r"row 0, audio: holds no bytes \(it only names the file 0.m4a\)"),
        (1, "audio", "row 1, audio: is empty"),
        (0, "text", "row 0, text: holds str, not the bytes"),
        (1, "text", "row 1, text: holds no bytes;"),
        (9, "audio", "cannot be read, the file is damaged .it has no row 9"),
        (0, "none", "row 0, none: cannot be read"),
    ],
)
def test_a_cell_without_media_is_a_sentence(tmp_path, row, column, words):
    columns = {"audio": [None, b""], "text": ["words", None]}
    trees.write_parquet(tmp_path / "a.parquet", columns, ("audio",))
    with pytest.raises(CellError, match=words):
        open_media(cell_path(tmp_path / "a.parquet", row, column))
    with pytest.raises(CellError, match="b.parquet, row 0, x: there is no such file"):
        open_media(cell_path(tmp_path / "b.parquet", 0, "x"))


def test_a_cell_too_long_is_refused(tmp_path, monkeypatch):
    trees.write_parquet(tmp_path / "a.parquet", {"x": [bytes(3 << 20)]})
    monkeypatch.setattr(parquet_cells, "MAX_BYTES", 2 << 20)
    with pytest.raises(CellError, match="longer than 2 MiB"):
        open_media(cell_path(tmp_path / "a.parquet", 0, "x"))


def test_a_file_written_anew_is_read_anew(tmp_path):
    for text in (b"first", b"second!"):
        trees.write_parquet(tmp_path / "a.parquet", {"x": [text]})
        assert open_media(cell_path(tmp_path / "a.parquet", 0, "x")).read() == text


def test_cells_decode_as_files_do(hub, tmp_path):
    record = next(iter(find_layout("avspeech-parquet").records([hub])))
    image, sound = trees.streams(0, 0)
    (tmp_path / "a.mp4").write_bytes(image)
    np.testing.assert_array_equal(load_audio(open_media(record.voice)), load_audio(sound))
    ours = [np.asarray(p) for p in video_frames(open_media(record.face), 3)]
    theirs = [np.asarray(p) for p in video_frames(str(tmp_path / "a.mp4"), 3)]
    assert len(ours) >= 2 and all((a == b).all() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.slow
def test_a_reader_holds_a_page_not_the_file(tmp_path, python):
    """48 row groups of 8 MiB in one file; reading them all adds far less than the file to memory."""
    writer = pq.ParquetWriter(tmp_path / "a.parquet", pa.schema([("x", pa.binary())]))
    rng = np.random.default_rng(0)
    for _ in range(48):
        writer.write_table(pa.table({"x": [rng.bytes(2 << 20) for _ in range(4)]}))
    writer.close()
    code = (
        "import resource, sys; from voice2face_gan.data.parquet_cells import cell_path, open_media\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "read = lambda row: len(open_media(cell_path(sys.argv[1], row, 'x')).read())\n"
        "read(0); before = peak()\n"
        "assert sum(read(row) for row in range(192)) == 384 << 20\n"
        "print(peak() - before)\n"
    )
    done = python("-c", code, tmp_path / "a.parquet")
    assert done.code == 0, done.stderr
    assert float(done.stdout) < 100  # MiB


# Records


def test_rows_without_ids_are_identities_of_their_own_with_a_note(hub):
    layout = find_layout("avspeech-parquet")
    records = list(layout.records([hub]))
    assert [r.identity for r in records[:2]] == ["test/test-rows-0/000000", "test/test-rows-0/000001"]
    assert records[0].source == records[0].identity and records[0].group == ""
    assert media_name(records[0].voice) == "test-rows-0.parquet, row 0, audio"
    assert media_name(records[0].face) == "test-rows-0.parquet, row 0, video"
    (note,) = layout.notes([hub])
    assert "3 of 3 parquet files have no column of ids" in note and "an identity of its own" in note


@pytest.mark.parametrize("title", ["youtube_id", "video_id", "id", "key", "__key__"])
def test_a_column_of_ids_names_identities(tmp_path, title):
    tree = trees.avspeech_parquet(tmp_path, title)
    layout = find_layout("avspeech-parquet")
    records = list(layout.records(tree.sources))
    assert {r.identity: r.split for r in records} == tree.splits and len(tree.splits) == 6
    assert records[0].group == trees.video_id(0, 0)
    assert layout.notes(tree.sources) == []
    clips = list(layout.records(tree.sources, identity="clip"))
    assert len({r.identity for r in clips}) == 12 and len({r.group for r in clips}) == 6


def test_plain_numbers_are_of_one_file_alone(tmp_path):
    media = {"video": [b"v"] * 3, "audio": [b"a"] * 3}
    for name in ("a", "b"):
        trees.write_parquet(tmp_path / f"{name}.parquet", {"id": [7, 7, None], **media})
    found = [r.identity for r in find_layout("avspeech-parquet").records([tmp_path])]
    assert found == ["a/7", "a/7", "a/000002", "b/7", "b/7", "b/000002"]


def test_files_of_one_side_alone_are_split_like_any(tmp_path):
    tree = trees.avspeech_parquet(tmp_path)
    os.unlink(next(Path(tree.sources[0]).glob("test/*")))
    assert {r.split for r in find_layout("avspeech-parquet").records(tree.sources)} == {""}


def test_voices_of_voxceleb2_with_and_without_metadata(tmp_path):
    layout = find_layout("voxceleb2-parquet")
    tree = trees.voxceleb2_parquet(tmp_path, metadata=False)
    records = list(layout.records(tree.sources))
    assert {r.gender for r in records} == {""} and {r.identity: r.split for r in records} == tree.splits
    first = records[0]
    assert first.source == f"id00012/{trees.video_id(0, 0)}/00001" and first.face is None
    assert first.group == trees.video_id(0, 0) and "no vox2_meta.csv" in layout.notes(tree.sources)[0]
    trees.write_vox2_meta(tmp_path / "given.csv")
    given = list(layout.records([*tree.sources, tmp_path / "given.csv"]))
    assert {r.identity: r.gender for r in given} == {
        trees.ids2()[i]: trees.people().genders[i] for i in range(6)
    }
    assert layout.notes([*tree.sources, tmp_path / "given.csv"]) == []
    # Files whose names tell no side: the metadata do.
    for n, path in enumerate(sorted(Path(tree.sources[0]).rglob("*.parquet"))):
        path.rename(path.with_name(f"{n:04d}.parquet"))
    unnamed = layout.records([*tree.sources, tmp_path / "given.csv"])
    assert {r.identity: r.split for r in unnamed} == {
        trees.ids2()[i]: "test" if i == 2 else "train" for i in range(6)
    }


@pytest.mark.parametrize(
    ("name", "columns", "words"),
    [
        ("avspeech-parquet", {"audio": [b""]}, r"has no column 'video' \(it has audio\).*reads video, audio"),
        ("avspeech-parquet", {"video": [b""], "audio": [[0.5]]}, "the column 'audio' holds list.*not the b"),
        ("voxceleb2-parquet", {"audio": [b""]}, "has no column 'spk_id'"),
    ],
)
def test_other_tables_are_refused(tmp_path, name, columns, words):
    trees.write_parquet(tmp_path / "a.parquet", columns)
    for call in (find_layout(name).records, find_layout(name).report):
        with pytest.raises(DataError, match=words):
            call([tmp_path])
    assert recognise(tmp_path) is None or name == "avspeech-parquet"


def test_damaged_files_are_named_at_once(tmp_path):
    tree = trees.avspeech_parquet(tmp_path)
    root = Path(tree.sources[0])
    whole = (root / "test" / "test-rows-0.parquet").read_bytes()
    (root / "test" / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (root / "test" / "empty.parquet").write_bytes(b"")
    (root / "train" / "page.parquet").write_text("<!DOCTYPE html>")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 70000000\n"
    (root / "train" / "pointer.parquet").write_text(pointer)
    with pytest.raises(DataError) as caught:
        find_layout("avspeech-parquet").records([root])
    told = str(caught.value)
    assert "4 of 7 parquet files cannot be read: test/cut.parquet is damaged or cut short, " in told
    assert "test/empty.parquet is no parquet file" in told and told.endswith("or move them away.")
    assert recognise(root).name == "avspeech-parquet"  # the first of them that opens says what it is
    for path in root.rglob("*-rows-*"):
        path.unlink()
    for name in ("cut", "empty", "page"):
        next(root.rglob(f"{name}.parquet")).unlink()
    with pytest.raises(DataError, match=r"pointer.parquet: is a pointer of Git LFS, .*git lfs pull"):
        recognise(root)


def test_a_missing_pyarrow_is_named(hub, tmp_path, monkeypatch, cli):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    words = r"need pyarrow: pip install 'voice2face-gan\[parquet\]'"
    with pytest.raises(DataError, match=words):
        find_layout("avspeech-parquet").records([hub])
    with pytest.raises(DataError, match=words):
        recognise(hub)
    result = cli("prepare", "avspeech-parquet", hub, "-o", tmp_path / "store")
    assert result.code == 2 and "voice2face-gan[parquet]" in result.stderr.replace("\n", "")


# Preparation


def test_rows_become_what_files_become(made, tmp_path):
    """The same clips as files in folders give the same log-mels and faces."""
    root = tmp_path / "films"
    for row in range(4):
        who, clip = (0, 0, 1, 1)[row], row % 2
        images, sound = trees.streams(who, clip)
        for name, what in (("voices/a.m4a", sound), ("videos/a.mp4", images)):
            path = root / f"p{row}" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(what)
    prepare("folders", [root], tmp_path / "store", PLAIN, workers=1)
    ours, theirs = (np.load(folder / "voices.npy") for folder in (made, tmp_path / "store"))
    np.testing.assert_array_equal(ours[: len(theirs)], theirs)
    ours, theirs = (np.load(folder / "faces.npy") for folder in (made, tmp_path / "store"))
    assert len(theirs) >= 4
    np.testing.assert_array_equal(ours[: len(theirs)], theirs)
    assert not dropped(made)


@pytest.mark.slow
def test_two_processes_make_the_same_bytes(hub, made, tmp_path):
    prepare("avspeech-parquet", [hub], tmp_path / "store", PLAIN, workers=2)
    assert content(tmp_path / "store") == content(made)


def test_interrupted_it_goes_on_and_makes_the_same_bytes(hub, made, tmp_path):
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("avspeech-parquet", [hub], tmp_path / "store", PLAIN, workers=1, progress=stop)
    assert not (tmp_path / "store").exists()
    again = prepare("avspeech-parquet", [hub], tmp_path / "store", PLAIN, workers=1)
    assert again.resumed and content(tmp_path / "store") == content(made)
    assert prepare("avspeech-parquet", [hub], tmp_path / "store", PLAIN, workers=1).already


@pytest.mark.slow
def test_killed_it_goes_on_and_makes_the_same_bytes(hub, made, tmp_path):
    code = (
        "import sys, time; from voice2face_gan.data.prepare.prepare import prepare\n"
        "from voice2face_gan.data.prepare.settings import PrepareSettings\n"
        "settings = PrepareSettings.of(['faces.detector=none', 'voice.min_seconds=0.1'])\n"
        "slow = lambda done, total: time.sleep(30 if done else 0)\n"
        "prepare('avspeech-parquet', [sys.argv[1]], sys.argv[2], settings, workers=1, progress=slow)\n"
    )
    folder, work = tmp_path / "store", tmp_path / ".store.preparing"
    process = subprocess.Popen([sys.executable, "-c", code, str(hub), str(folder)])
    deadline = time.monotonic() + 60
    while not list(work.glob("shards/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not folder.exists() and list(work.glob("shards/*.npz"))
    assert prepare("avspeech-parquet", [hub], folder, PLAIN, workers=2).resumed
    assert content(folder) == content(made)


def test_damaged_cells_are_listed_and_the_others_prepared(tmp_path):
    good = [trees.streams(i, 0) for i in range(4)]
    images, sounds = map(list, zip(*good, strict=True))
    trees.write_parquet(
        tmp_path / "hub" / "rows.parquet",
        {
            "video": [*images, images[0], None, b"", b"<html>no film</html>", sounds[0]],
            "audio": [*sounds, None, sounds[1], sounds[1], b"no sound at all" * 9, images[0]],
        },
        structs=("audio",),
    )
    store = prepare("avspeech-parquet", [tmp_path / "hub"], tmp_path / "store", PLAIN, workers=1).store
    assert store.has_voice.sum() == 6 and len(np.unique(store.identity[store.has_face])) == 5
    found = {(row["part"], row["source"][-1]): (row["reason"], row["what"]) for row in dropped(store.folder)}
    assert set(found) == {("voice", "4"), ("voice", "7"), ("voice", "8")} | {("face", r) for r in "5678"}
    assert {reason for reason, _ in found.values()} == {"unreadable recording", "unreadable video"}
    assert all(what.startswith("rows.parquet, row ") for _, what in found.values())
    assert found["face", "8"][1] == "rows.parquet, row 8, video: holds no images; give a video."
    assert "holds no bytes" in found["voice", "4"][1] and "is empty" in found["face", "6"][1]


def test_damage_within_a_file_costs_the_rows_behind_it(tmp_path):
    """Zeros over the middle of the file: the footer still says that all rows are there."""
    tree = trees.avspeech_parquet(tmp_path)
    path = next(Path(tree.sources[0]).glob("test/*"))
    whole = bytearray(path.read_bytes())
    first = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = first.dictionary_page_offset or first.data_page_offset
    whole[start : start + 200] = bytes(200)
    path.write_bytes(whole)
    store = prepare("avspeech-parquet", tree.sources, tmp_path / "store", PLAIN, workers=1).store
    rows = dropped(store.folder)
    assert [row["source"] for row in rows] == ["test/test-rows-0/000003"]
    assert rows[0]["part"] == "face" and "the file is damaged" in rows[0]["what"]
    assert store.has_voice.sum() == 12


def test_training_opens_the_folder_itself(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("V2F_CACHE", str(tmp_path))
    # Starting other workers takes seconds.
    monkeypatch.setattr("voice2face_gan.data.prepare.prepare.MAX_WORKERS", 1)
    told = []
    store = open_source(hub, say=told.append)
    assert "looks like the layout avspeech-parquet" in told[0] and "an identity of its own" in told[1]
    assert store.about["source"]["layout"] == "avspeech-parquet" and store.has_voice.sum() == 12
    assert set(store.split) == {"train", "val", "test"}
