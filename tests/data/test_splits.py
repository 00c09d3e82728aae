"""Splits: the rules, whole identities, no video on two sides, no side empty."""

from collections import Counter

import numpy as np
import pytest

from voice2face_gan.data.records import Record
from voice2face_gan.data.splits import (
    held_out_clips,
    official_split,
    read_split_list,
    seeded_split,
    shared_videos,
    split_identities,
    stratum,
    wen_split,
)
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import DataError

PEOPLE = {f"p{i:03d}": "female" if i < 60 else "male" for i in range(100)}


def test_seeded_split_is_stratified_and_repeatable():
    split = seeded_split(PEOPLE)
    assert Counter(split.values()) == {"train": 70, "val": 10, "test": 20}
    assert Counter((PEOPLE[name], side) for name, side in split.items()) == {
        ("female", "train"): 42, ("female", "val"): 6, ("female", "test"): 12,
        ("male", "train"): 28, ("male", "val"): 4, ("male", "test"): 8,
    }  # fmt: skip
    assert split == seeded_split(dict(reversed(PEOPLE.items())))
    assert split != seeded_split(PEOPLE, seed=1)


@pytest.mark.parametrize("count", range(3, 12))
def test_few_identities_fill_all_sides(count):
    people = {f"p{i}": ("female", "male", "")[i % 3] for i in range(count)}
    assert set(split_identities("seeded", people).values()) == {"train", "val", "test"}


def test_fewer_than_three_are_refused():
    with pytest.raises(DataError, match="three identities or more; the data have 2"):
        split_identities("seeded", {"a": "", "b": ""})


def test_identities_that_share_a_video_stay_together():
    groups = [(f"p{i:03d}", f"v{i // 2}") for i in range(100)] + [("p000", ""), ("p099", "")]
    split = split_identities("seeded", PEOPLE, groups=groups)
    assert all(split[f"p{i:03d}"] == split[f"p{i + 1:03d}"] for i in range(0, 100, 2))
    assert not shared_videos(split, groups)
    assert Counter(split.values()) == {"train": 70, "val": 10, "test": 20}
    chain = [(name, f"v{i + k}") for i, name in enumerate(PEOPLE) for k in (0, 1)]
    with pytest.raises(DataError, match="leaves val and test empty"):
        split_identities("seeded", PEOPLE, groups=chain)  # everyone is linked with everyone


def test_stratified_split_keeps_age_groups_and_ethnicities_alike():
    """Strata of a few identities too, whose shares add up; where nothing is known it is one by gender."""
    ages, ethnicities = (5, 25, 35, 50, 70, None), ("asian", "Black ", "indian", "white", "")
    random = np.random.default_rng(0)
    labels = {
        f"p{i:03d}": (PEOPLE[f"p{i % 100:03d}"], ages[random.integers(6)], ethnicities[random.integers(5)])
        for i in range(300)
    }
    strata = {name: stratum(*label) for name, label in labels.items()}
    assert len(set(strata.values())) > 50 and stratum("male", 29.9, " Black") == stratum("male", 18, "black")
    assert stratum("male", 30, "") != stratum("male", 29.9, "") != stratum("male", None, "")
    genders = {name: label[0] for name, label in labels.items()}
    split = split_identities("stratified", genders, strata=strata)
    assert Counter(split.values()) == {"train": 210, "val": 30, "test": 60}
    assert split == split_identities("stratified", genders, strata=dict(reversed(strata.items())))
    for which in range(3):
        for value, count in Counter(label[which] for label in labels.values()).items():
            mine = sum(split[name] == "test" for name, label in labels.items() if label[which] == value)
            assert abs(mine - 0.2 * count) < 4, value
    of_each = Counter(strata.values())
    for name, count in of_each.items():
        mine = sum(split[n] == "test" for n, s in strata.items() if s == name)
        assert int(0.2 * count) <= mine <= int(0.2 * count) + 1
    alike = split_identities(
        "stratified", PEOPLE, strata={n: stratum(g, None, "") for n, g in PEOPLE.items()}
    )
    assert Counter((PEOPLE[n], side) for n, side in alike.items())["female", "test"] == 12


def test_letters_of_wen():
    names = ["A.J._Buckley", "bo_O'Neil", "Çağla_Su", "Éva_Green", "Dag", "Fay", "Zoë", "50_Cent", "李冰冰"]
    assert list(wen_split(names).values()) == ["val", "val", "test", "test", "test", *["train"] * 4]


def test_letters_that_leave_a_side_empty_are_refused():
    with pytest.raises(DataError, match=r"by first letters .* leaves val and test empty .*4 train.*seeded"):
        split_identities("wen-letters", {f"id1000{i}": "" for i in range(4)})


def test_an_official_list_is_kept_and_validation_drawn_from_training():
    official = {name: "test" if name > "p079" else "train" for name in PEOPLE} | {"stranger": "test"}
    split = split_identities("official", PEOPLE, official)
    assert {n for n, side in split.items() if side == "test"} == {n for n in PEOPLE if n > "p079"}
    assert Counter(split.values()) == {"train": 72, "val": 8, "test": 20}
    whole = official | {"p000": "val"}
    assert Counter(official_split(PEOPLE, whole).values())["val"] == 1


def test_an_official_list_with_gaps_is_refused():
    with pytest.raises(DataError, match="names no side for 99 of 100 identities .such as 'p001'"):
        split_identities("official", PEOPLE, {"p000": "train", "p001": ""})
    with pytest.raises(DataError, match="there is no split 'letters'; choose one of"):
        split_identities("letters", PEOPLE)


def test_a_shared_video_stays_with_what_is_measured_on():
    split = {"a": "train", "b": "test", "c": "val", "d": "train"}
    groups = [
        ("a", "v1"),
        ("b", "v1"),
        ("c", "v2"),
        ("a", "v2"),
        ("a", "v3"),
        ("d", "v3"),
        ("b", "v4"),
        ("x", "v4"),
    ]
    groups += [("a", ""), ("b", ""), ("a", "v1")]
    assert shared_videos(split, groups) == {("a", "v1"), ("a", "v2")}


@pytest.mark.parametrize(
    "text",
    [
        "Éva Green,test\nbo_oneil,dev\n",
        "\ufeffidentity;split\r\neva_green;TEST\r\n\r\nBo_O'Neil;train\r\nSomebody;val\r\n",
        "test\tÉva_Green\ntrain\tBo_O'Neil\n",
        "Éva Green test\nBo O'Neil train\n",
    ],
)
def test_lists_of_two_columns(text, tmp_path):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8", newline="")
    assert read_split_list(tmp_path / "list.txt", ["Éva_Green", "Bo_O'Neil", "Else"]) == {
        "Éva_Green": "test",
        "Bo_O'Neil": "train",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "3 id10003/na8-QEFmj44/00003.wav\n",
            "line 1 is '3 id10003.*iden_split.txt splits clips, not people",
        ),
        ("identity,split\na,test\nb,later\n", "line 3 is 'b,later'"),
        ("a,test\nA,train\n", "line 2 puts 'a' on the side train, another line elsewhere"),
    ],
)
def test_lists_that_are_none(text, words, tmp_path):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        read_split_list(tmp_path / "list.txt", ["a", "b"])


def test_the_last_voice_of_who_has_two_is_held_out(tmp_path):
    """a: three voices, then a face alone; b: two, mixed with a's; c: one voice; d: two faces, no voice."""
    mel, face = np.ones((4, 9), np.float32), np.zeros((8, 8, 3), np.uint8)
    rows = ["a1 v", "b1 v f", "a2 v f", "c1 v f", "a3 v", "d1 f", "b2 v f", "a4 f", "d2 f"]
    with StoreWriter(tmp_path / "s", {"n_mels": 4, "hop_ms": 10}, side=8) as writer:
        for row in rows:
            name, *has = row.split()
            writer.add(Record(name, name[0]), mel if "v" in has else None, face if "f" in has else None)
        writer.finish()
    store = Store(tmp_path / "s")
    mask = held_out_clips(store)
    assert mask.dtype == bool and store.source[mask].tolist() == ["a3", "b2"]
    voices = store.select(store.has_voice)
    assert voices.source[held_out_clips(voices)].tolist() == ["a3", "b2"]
    assert not held_out_clips(store.select(~store.has_voice)).any()
    assert not held_out_clips(store.select(np.zeros(len(store), dtype=bool))).any()
