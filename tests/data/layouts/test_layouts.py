"""Every layout reads a tree as the real set has it: who, what, which side, how well the join went."""

import functools
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trees

from voice2face_gan.data.layouts import LAYOUTS, RawRecord, find_layout, recognise
from voice2face_gan.data.parquet_cells import file_of
from voice2face_gan.data.records import Record
from voice2face_gan.errors import DataError

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Layout name -> its tree, built once; for tests that leave it as it is."""

    @functools.cache
    def build(name):
        return trees.BUILDERS[name](tmp_path_factory.mktemp(name))

    return build


@pytest.mark.parametrize("name", trees.BUILDERS)
def test_a_tree_comes_back_as_it_was_built(name, built):
    tree = built(name)
    layout = find_layout(name)
    records = list(layout.records(tree.sources))
    assert {record.identity: record.gender for record in records} == tree.genders
    assert sum(record.voice is not None for record in records) == tree.voices
    assert sum(record.face is not None for record in records) == tree.faces
    for path in (p for record in records for p in (record.voice, record.face) if p):
        assert Path(path).is_absolute() and Path(file_of(path)).is_file()
    if tree.splits:
        assert {record.identity: record.split for record in records} == tree.splits
    assert len({record.source for record in records}) == len(records)
    assert records == list(layout.records(tree.sources))
    people = [who for who, _ in itertools.groupby(records, key=lambda record: record.identity)]
    assert len(people) == len(set(people))  # all of a person in a row
    assert people == sorted(people) or name == "voxceleb2-parquet"  # in order, or that of files and rows


@pytest.mark.parametrize("name", trees.BUILDERS)
def test_a_folder_is_recognised_by_its_own_layout_alone(name, built):
    tree = built(name)
    assert recognise(tree.sources[0]).name == name


def test_folders_that_are_no_data_set_are_not_recognised(tmp_path):
    assert recognise(tmp_path) is None and recognise(tmp_path / "missing") is None
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00nonsense\x00")
    assert recognise(tmp_path) is None
    tree = trees.paired(tmp_path / "raw")
    (Path(tree.sources[0]) / "store.json").write_text("{}")
    assert recognise(tree.sources[0]) is None  # a prepared store


def test_layouts_describe_themselves():
    assert set(trees.BUILDERS) == set(LAYOUTS)
    for layout in LAYOUTS.values():
        assert layout.description and "\n" not in layout.description and layout.sources
        assert layout.face_state in ("raw", "crop", "aligned")
        assert layout.split_rule in ("wen-letters", "official", "seeded")
    assert [name for name, layout in LAYOUTS.items() if layout.voices_are_mels] == ["wen2019"]
    with pytest.raises(DataError, match="there is no layout 'vox'; choose one of avspeech, avspeech-par"):
        find_layout("vox")


def test_a_raw_record_is_a_record():
    record = RawRecord("a", "b", group="video", face_at=(0.5, 0.4))
    assert isinstance(record, Record)
    assert replace(record, split="test").group == "video"


def test_listing_needs_no_codec_and_no_network():
    code = (
        "import sys; import voice2face_gan.data.layouts, voice2face_gan.data.splits;"
        "import voice2face_gan.cli.commands.fetch;"
        "print([m for m in ('torch', 'av', 'PIL', 'yt_dlp') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_join_reports_who_matched_and_who_nearly_did(built):
    tree = built("voxceleb1")
    report = find_layout("voxceleb1").report(tree.sources)
    assert report.both == sorted(tree.genders)
    assert report.voice_only == ["A.J._Öst"] and report.face_only == ["AJ_Oest", "Zed_Quill"]
    assert report.not_in_metadata == report.unknown_gender == ["AJ_Oest"]
    assert report.near_misses == [("A.J._Öst", "AJ_Oest")]
    assert ("Ines_Straße", "Ines_Strasse") in report.respelt and len(report.respelt) == 8
    assert report.counts()["both"] == 10
    lines = report.lines(show=1)
    assert lines[0] == "10 identities with voices and faces"
    assert lines[2] == "2 with faces alone: AJ_Oest, ..." and lines[-1].endswith("A.J._Öst ~ AJ_Oest")


def test_identities_without_voices_or_faces_are_included_on_request(built):
    tree = built("voxceleb1")
    records = list(find_layout("voxceleb1").records(tree.sources, unmatched="yes"))
    assert {record.identity for record in records} == set(trees.NAMES) | {"AJ_Oest"}


def test_voxceleb_without_faces_keeps_everyone_and_finds_its_metadata(tmp_path):
    tree = trees.voxceleb1(tmp_path, faces=False)
    records = list(find_layout("voxceleb1").records(tree.sources))
    assert len(records) == 22 and {record.identity for record in records} == set(tree.genders)
    first = records[0]
    assert first.source == f"wav/id10001/{trees.video_id(0, 1)}/00002.wav"
    assert first.identity == "A.J._Öst" and first.nationality == "New Zealand"
    assert first.group == trees.video_id(0, 1) and first.face is None


@pytest.mark.parametrize("below", ["", "wav", "dev/wav", "train/wav"])
def test_levels_above_the_ids_may_be_there_or_not(below, tmp_path):
    tree = trees.voxceleb1(tmp_path, faces=False, below=below)
    layout = find_layout("voxceleb1")
    assert len(list(layout.records(tree.sources))) == 22
    assert recognise(tree.sources[0]) is layout


def test_ids_on_different_levels_are_all_found(tmp_path):
    trees.voxceleb1(tmp_path, faces=False, below="wav")
    (tmp_path / "vox1" / "test").mkdir()
    os.rename(tmp_path / "vox1" / "wav" / "id10004", tmp_path / "vox1" / "id10004")
    (tmp_path / "vox1" / "id10004").rename(tmp_path / "vox1" / "test" / "id10004")
    assert len(list(find_layout("voxceleb1").records([tmp_path / "vox1"]))) == 22


def test_a_wav_beside_its_m4a_is_one_clip(tmp_path):
    tree = trees.voxceleb2(tmp_path, faces=False)
    m4a = next((tmp_path / "vox2").rglob("*.m4a"))
    trees.write_wav(m4a.with_suffix(".wav"), trees.people().waves[0][0])
    records = list(find_layout("voxceleb2").records(tree.sources))
    assert len(records) == tree.voices
    assert sum(record.voice.endswith(".wav") for record in records) == 1


def test_videos_of_voxceleb2_are_voice_and_face(tmp_path):
    tree = trees.voxceleb2(tmp_path, faces=False, ending=".mp4", below="dev/mp4")
    records = list(find_layout("voxceleb2").records(tree.sources))
    assert len(records) == 20 and all(record.voice == record.face for record in records)
    # With the audio at hand too, a clip is not counted twice.
    trees.voxceleb2(tmp_path, faces=False)
    records = list(find_layout("voxceleb2").records(tree.sources))
    assert sum(r.voice is not None for r in records) == sum(r.face is not None for r in records) == 20
    assert not any(r.voice and r.face for r in records)


def test_hidden_files_and_copies_of_a_mac_are_passed_over(tmp_path):
    tree = trees.folders(tmp_path)
    person = next((tmp_path / "people").glob("*/Gro_Haug"))
    for junk in ("voices/._0.WAV", "faces/.DS_Store", "faces/Thumbs.db", "voices/notes.txt"):
        (person / junk).write_bytes(b"junk")
    (person / "__MACOSX").mkdir()
    assert len(list(find_layout("folders").records(tree.sources))) == 48


def test_a_loop_of_links_ends(tmp_path):
    tree = trees.folders(tmp_path)
    voices = next((tmp_path / "people").glob("*/Gro_Haug/voices"))
    (voices / "again").symlink_to(voices)
    records = [r for r in find_layout("folders").records(tree.sources) if r.identity == "Gro_Haug"]
    assert 4 <= len(records) < 30


def test_hq_voxceleb_takes_either_faces_and_voices_from_elsewhere(tmp_path):
    tree = trees.hq_voxceleb(tmp_path)
    layout = find_layout("hq-voxceleb")
    origin = list(layout.records(tree.sources, faces="origin"))
    assert {r.identity for r in origin} == set(list(trees.NAMES)[:6])
    (tmp_path / "hq" / "raw_wav").rename(tmp_path / "voxceleb")
    with pytest.raises(DataError, match="give the folder of VoxCeleb's audio after it"):
        layout.records(tree.sources)
    assert len(list(layout.records([*tree.sources, tmp_path / "voxceleb"]))) == tree.voices + tree.faces
    with pytest.raises(DataError, match="faces of the layout hq-voxceleb is one of masked, origin, not 'x'"):
        layout.records(tree.sources, faces="x")


def test_avspeech_gives_the_place_of_the_speaker_and_the_video(built):
    tree = built("avspeech")
    records = list(find_layout("avspeech").records(tree.sources))
    assert records[0].face_at == (0.25, 0.5) and records[0].voice == records[0].face
    assert records[0].identity == "yt_-video0xxxx" and records[0].group == "-video0xxxx"
    clips = list(find_layout("avspeech").records(tree.sources, identity="clip"))
    assert len({r.identity for r in clips}) == 10 and len({r.group for r in clips}) == 5


def test_paired_takes_the_other_face_and_reads_the_video_from_the_clip(built):
    tree = built("paired")
    records = list(find_layout("paired").records(tree.sources, face="face_normalised"))
    assert all("/face_normalised/" in record.face for record in records)
    assert records[0].group == trees.video_id(0, 1) and records[0].nationality == "Norway"
    with pytest.raises(DataError, match="has no column 'face_frontal'"):
        find_layout("paired").records(tree.sources, face="face_frontal")


def test_paired_rows_may_lack_a_face_and_name_a_split(tmp_path):
    rows = [
        ["Identity", "Voice", "Face", "Split", "Age"],
        ["b", "b.wav", "", "dev", "41.5"],
        ["a", "", "a.png", "", ""],
    ]
    trees.write_table(tmp_path / "labels.csv", rows, ";", "utf-8-sig")
    first, second = find_layout("paired").records([tmp_path])
    assert first.voice is None and first.face == str(tmp_path / "a.png") and first.age is None
    assert second.face is None and second.split == "train" and second.age == 41.5
    for row, words in (
        (["c", "", "", "", ""], "line 4 lacks an identity, or both"),
        (["c", "c.wav", "", "tomorrow", ""], "the split is train, val or test, not 'tomorrow'"),
        (["c", "c.wav", "", "", "old"], "line 4: the age is 'old', a number is expected"),
    ):
        trees.write_table(tmp_path / "labels.csv", [*rows, row])
        with pytest.raises(DataError, match=words):
            list(find_layout("paired").records([tmp_path]))


def test_voices_of_one_corpus(built):
    tree = built("voices")
    records = list(find_layout("voices").records(tree.sources, corpus="corpus1"))
    assert len(records) == 12 and {int(r.identity[2:]) % 2 for r in records} == {1}
    assert records[0].age == 31.0 and find_layout("voices").report(tree.sources).unknown_gender == ["sp0"]
    with pytest.raises(DataError, match=r"no voice of the corpus 'x' \(corpus0, corpus1\)"):
        find_layout("voices").records(tree.sources, corpus="x")


def test_the_identity_of_a_video_can_be_chosen(tmp_path):
    tree = trees.videos(tmp_path, in_folders=True)
    for option, people in (("auto", 4), ("folder", 4), ("stem", 8)):
        records = list(find_layout("videos").records(tree.sources, identity=option))
        assert len(records) == 8 and len({r.identity for r in records}) == people
    assert recognise(tree.sources[0]).name == "videos"


def test_genders_of_folders_come_from_labels_too(tmp_path):
    tree = trees.folders(tmp_path, by_gender=False)
    records = list(find_layout("folders").records(tree.sources))
    assert {record.identity: record.gender for record in records} == tree.genders
    assert recognise(tree.sources[0]).name == "folders"


def test_one_name_in_two_folders_is_refused(tmp_path):
    tree = trees.folders(tmp_path)
    for gender in ("female", "male"):
        (tmp_path / "people" / gender / "Gro_Haug" / "voices").mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match="'Gro_Haug' is in two folders"):
        find_layout("folders").records(tree.sources)


def test_a_metadata_file_gives_vggface_genders(tmp_path):
    tree = trees.vggface(tmp_path)
    trees.write_vox1_meta(tmp_path / "vox1_meta.csv")
    records = list(find_layout("vggface").records([*tree.sources, tmp_path / "vox1_meta.csv"]))
    assert {r.identity: r.gender for r in records} == dict(
        zip(trees.NAMES, trees.people().genders, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "sources", "words"),
    [
        ("voxceleb1", [], r"the layout voxceleb1 takes AUDIO \[METADATA\] \[FACES\]; 0 given"),
        ("paired", ["missing"], "missing: there is no such file or folder"),
        ("paired", ["a file"], "is not a folder"),
        ("paired", ["empty"], "labels.csv: cannot be read"),
        ("voxceleb1", ["empty"], "vox1_meta.csv is missing; put it there, or give its path"),
        ("voxceleb1", ["empty", "meta"], "holds no folders of VoxCeleb1"),
        ("voxceleb2", ["empty", "meta"], "holds no folders of VoxCeleb2"),
        ("wen2019", ["empty"], "has no fbank/ and VGG_ALL_FRONTAL/"),
        ("hq-voxceleb", ["empty"], "has no vox1/masked_faces"),
        ("vggface", ["empty"], "holds no folders with images"),
        ("vggface2", ["empty"], "holds no folders of VGGFace2"),
        ("avspeech", ["empty"], "clips.csv: cannot be read"),
        ("videos", ["empty"], "holds no video"),
        ("folders", ["empty"], "holds no IDENTITY/voices"),
    ],
)
def test_missing_files_give_one_sentence(name, sources, words, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").touch()
    trees.write_vox1_meta(tmp_path / "meta")
    paths = [tmp_path / source for source in sources]
    for call in (find_layout(name).records, find_layout(name).report):
        with pytest.raises(DataError, match=words) as caught:
            call(paths)
        assert "\n" not in str(caught.value)


def test_faces_without_an_identity_are_refused(tmp_path):
    tree = trees.voxceleb1(tmp_path, faces=False)
    trees.write_image(tmp_path / "other" / "Somebody_Else" / "1.jpg", trees.people().images[0][0])
    with pytest.raises(DataError, match="no folder is named after an identity of the metadata"):
        find_layout("voxceleb1").records([*tree.sources, tmp_path / "other"])


def test_options_are_checked(tmp_path):
    with pytest.raises(DataError, match="has no option 'limit'; it has: unmatched"):
        find_layout("voxceleb1").records([tmp_path], limit=3)
    with pytest.raises(DataError, match="is yes or no, not 'perhaps'"):
        find_layout("voxceleb1").records([tmp_path], unmatched="perhaps")


@pytest.mark.parametrize(
    ("folder", "layout", "records", "people", "counts"),
    [
        ("paired/voxceleb", "paired", 285, 108, {"both": 108}),
        ("paired/avspeech", "paired", 533, 522, {"both": 522, "unknown_gender": 26}),
        ("voices", "voices", 1535, 544, {"voice_only": 544, "unknown_gender": 2}),
        ("faces/utkface", "faces", 17_428, 17_428, {"face_only": 17_428}),
    ],
)
def test_the_real_sets_at_hand(folder, layout, records, people, counts):
    if not (SHARED / folder).is_dir():
        pytest.skip("the real data are not here")
    assert recognise(SHARED / folder).name == layout
    found = list(find_layout(layout).records([SHARED / folder]))
    assert len(found) == len({r.source for r in found}) == records
    assert len({r.identity for r in found}) == people
    assert all(Path(p).is_file() for r in found[::50] for p in (r.voice, r.face) if p)
    report = find_layout(layout).report([SHARED / folder])
    assert {name: n for name, n in report.counts().items() if n} == counts
