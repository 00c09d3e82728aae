"""Batches depend on seed and step alone, cover everything, and cut voices right."""

import numpy as np
import pytest
import torch

from voice2face_gan.audio.encoder_input import LOG_MEL, RAW_LOG_MEL
from voice2face_gan.audio.log_mel import normalise, normalise_with_stats
from voice2face_gan.data.batches.sampling import (
    STREAMS,
    EpochSampler,
    FaceBank,
    VoiceBank,
    classes,
    gaussian,
    random_source,
)
from voice2face_gan.data.join import join_stores
from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import DataError

FEATURES = {"n_mels": 4, "hop_ms": 10, "min_frames": 20}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Voices of 7, 30 and 12 frames whose numbers say where they come from: voice + frame / 100; and three
    faces, the last record without a voice, the first without a gender."""
    folder = tmp_path_factory.mktemp("store") / "small"
    rng = np.random.default_rng(0)
    with StoreWriter(folder, FEATURES, side=8) as writer:
        for i, frames in enumerate((7, 30, 12)):
            mel = np.tile(i + 1 + np.arange(frames) / 64, (4, 1)) * np.array([1, -1, 1, -1])[:, None]
            face = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            who, gender = ("b", "a", "b")[i], ("", "female", "")[i]
            writer.add(Record(f"r{i}", who, gender=gender), mel.astype(np.float32), face if i else None)
        writer.add(Record("r3", "c", gender="male"), None, rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        writer.finish()
    return Store(folder)


@pytest.mark.parametrize(("count", "batch"), [(10, 3), (7, 7), (3, 10), (1, 4), (100, 1)])
def test_every_item_comes_once_before_any_comes_again(count, batch):
    sampler = EpochSampler(count, seed=5, stream="voices")
    drawn = np.concatenate([sampler.draw(step, batch) for step in range(-(-4 * count // batch))])
    for epoch in range(4):
        assert sorted(drawn[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


def test_a_batch_depends_on_seed_and_step_alone():
    forward, backward = (EpochSampler(23, 1, "faces") for _ in range(2))
    steps = {step: forward.draw(step, 8) for step in range(12)}
    for step in reversed(range(12)):
        assert np.array_equal(backward.draw(step, 8), steps[step])
    assert not np.array_equal(EpochSampler(23, 2, "faces").draw(0, 8), steps[0])
    assert not np.array_equal(EpochSampler(23, 1, "voices").draw(0, 8), steps[0])


def test_epochs_are_shuffled_anew():
    sampler = EpochSampler(50, 0, "voices")
    assert not np.array_equal(sampler.draw(0, 50), sampler.draw(1, 50))


def test_streams_are_independent_and_repeatable():
    draws = {name: random_source(3, name, 7).random(4).tolist() for name in STREAMS}
    assert len({tuple(d) for d in draws.values()}) == len(STREAMS)
    assert random_source(3, "crops", 7).random(4).tolist() == draws["crops"]
    noise = gaussian((20_000,), 0, "noise", 0)
    assert noise.dtype == torch.float32
    assert abs(float(noise.mean())) < 0.03 and abs(float(noise.std()) - 1) < 0.03


def test_crops_are_pieces_of_the_voice_itself(small):
    voices = small.select(small.has_voice)
    bank = VoiceBank(voices, classes(voices)[1], min_frames=20)
    mel, labels = bank.crops(np.array([0, 1, 2, 1] * 20), 9, np.random.default_rng(0))
    assert mel.shape == (80, 4, 9) and mel.dtype == torch.float32 and mel.is_contiguous()
    assert labels.tolist() == [1, 0, 1, 0] * 20  # a, b in sorted order
    for piece, item in zip(mel, [0, 1, 2, 1] * 20, strict=True):
        length = (7, 30, 12)[item]
        frames = ((piece[0] - (item + 1)) * 64).round().long()
        assert torch.equal(piece[1], -piece[0])
        assert torch.equal(frames, (frames[0] + torch.arange(9)) % length)  # goes round in a short voice
        if length >= 20:
            assert frames[0] + 9 <= length  # and never in one that is long enough


def test_crops_reach_every_place(small):
    voices = small.select(small.has_voice)
    bank = VoiceBank(voices, np.zeros(3, dtype=np.int64), min_frames=20)
    mel, _ = bank.crops(np.ones(2000, dtype=np.int64), 9, np.random.default_rng(0))
    assert set(((mel[:, 0, 0] - 2) * 64).round().int().tolist()) == set(range(30 - 9 + 1))


def test_a_crop_longer_than_everything_repeats(small):
    voices = small.select(small.has_voice)
    bank = VoiceBank(voices, np.zeros(3, dtype=np.int64), min_frames=20)
    mel, _ = bank.crops(np.array([1]), 70, np.random.default_rng(0))
    frames = ((mel[0, 0] - 2) * 64).round().long()
    assert torch.equal(frames, torch.arange(70) % 30)


def test_a_whole_voice_is_repeated_to_the_least_length_only(small):
    voices = small.select(small.has_voice)
    bank = VoiceBank(voices, np.zeros(3, dtype=np.int64), min_frames=20)
    assert [bank.whole(i).shape for i in range(3)] == [(4, 20), (4, 30), (4, 20)]
    assert torch.equal(bank.whole(0)[:, 7:14], bank.whole(0)[:, :7])


def test_faces_are_in_range_and_mirrored_where_asked(small):
    faces = small.select(small.has_face)
    bank = FaceBank(faces, classes(faces)[1])
    plain, labels = bank.batch(np.array([0, 1, 2]))
    assert plain.shape == (3, 3, 8, 8) and plain.min() >= -1 and plain.max() <= 1
    assert labels.tolist() == [0, 1, 2]
    flipped, _ = bank.batch(np.array([0, 1, 2]), np.array([False, True, False]))
    assert torch.equal(flipped[0], plain[0]) and torch.equal(flipped[2], plain[2])
    assert torch.equal(flipped[1], plain[1].flip(-1)) and not torch.equal(flipped[1], plain[1])
    expected = torch.from_numpy(np.array(faces.faces[faces.face_index[2]])).permute(2, 0, 1)
    assert torch.allclose(plain[2], (expected.float() - 127.5) / 127.5)


def test_parts_beyond_an_image_s_edges_are_missing_where_asked(tmp_path):
    face = np.full((8, 8, 3), 200, dtype=np.uint8)
    with StoreWriter(tmp_path / "s", FEATURES, side=8) as writer:
        for name, inside in (("a", (2, 1, 8, 7)), ("b", None)):
            writer.add(Record(name, name), face=face, visible_box=inside)
        writer.finish()
    store = Store(tmp_path / "s")
    filled, _ = FaceBank(store, np.zeros(2, dtype=np.int64)).batch(np.array([0, 1]))
    assert filled.isfinite().all()
    bank = FaceBank(store, np.zeros(2, dtype=np.int64), missing=True)
    faces, _ = bank.batch(np.array([0, 1, 0]), np.array([False, False, True]))
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[1:7, 2:8] = True
    assert torch.equal(faces[0].isfinite(), known.expand(3, 8, 8)) and faces[1].isfinite().all()
    assert torch.equal(faces[2].isfinite(), known.flip(-1).expand(3, 8, 8))
    assert torch.equal(faces.nan_to_num(), torch.where(faces.isfinite(), filled[[0, 1, 0]], 0))


def test_a_random_face_of_each_identity(store):
    faces = store.select(store.has_face)
    labels = classes(faces)[1]
    bank = FaceBank(faces, labels)
    asked = torch.arange(20).repeat(50)
    drawn = bank.of_identities(asked, np.random.default_rng(0))
    assert np.array_equal(labels[drawn], asked.numpy())
    assert len(set(drawn.tolist())) == 120  # each of six faces comes in fifty draws
    assert np.array_equal(drawn, bank.of_identities(asked, np.random.default_rng(0)))


def test_gender_filters_by_the_metadata_alone(small):
    assert small.of_gender("female").identity.tolist() == ["a"]
    assert small.of_gender("male").identity.tolist() == ["c"]
    assert len(small.of_gender("all")) == 4  # unknown ones included
    assert small.summary()["identities_by_gender"] == {"unknown": 1, "female": 1, "male": 1}
    with pytest.raises(DataError, match="gender 'female'"):
        small.of_gender("male").of_gender("female")
    with pytest.raises(DataError, match="female, male or all"):
        small.of_gender("women")


def test_an_empty_split_is_refused(small):
    with pytest.raises(DataError, match="split 'train' is empty"):
        small.of_split("train")
    assert len(small.of_split("all")) == 4


def test_gender_of_the_synthetic_world(store):
    parts = [store.of_gender(g) for g in ("female", "male")]
    assert len(parts[0]) + len(parts[1]) == len(store)
    assert not set(parts[0].identity.tolist()) & set(parts[1].identity.tolist())


@pytest.fixture(scope="module")
def levelled(tmp_path_factory):
    """Two voices with what normalisation took away from them, and those log-mels as they were."""
    folder, mels = tmp_path_factory.mktemp("store") / "levelled", []
    with StoreWriter(folder, FEATURES, side=8) as writer:
        for i, frames in enumerate((25, 40)):
            mels.append(torch.from_numpy(np.random.default_rng(i).normal(-5 + i, 1 + i, (4, frames))).float())
            level = normalise_with_stats(mels[i])[1].numpy()
            writer.add(Record(f"r{i}", "ab"[i]), normalise(mels[i]).numpy(), None, None, level)
        writer.finish()
    return Store(folder), mels


def test_raw_log_mels_come_back_for_encoders_that_take_them(levelled):
    store, mels = levelled
    assert store.has_raw_log_mel and store.voice_frames.tolist() == [25, 40]
    bank, plain = (
        VoiceBank(store, np.zeros(2, dtype=np.int64), 20, takes=wanted) for wanted in (RAW_LOG_MEL, LOG_MEL)
    )
    for i, mel in enumerate(mels):
        torch.testing.assert_close(bank.whole(i), mel, atol=2e-2, rtol=2e-3)
        torch.testing.assert_close(plain.whole(i), normalise(mel), atol=2e-3, rtol=2e-3)
    items, rng = np.array([0, 1, 1]), np.random.default_rng
    cut, normal = bank.crops(items, 9, rng(4))[0], plain.crops(items, 9, rng(4))[0]
    mean, std = torch.stack([normalise_with_stats(mels[i])[1] for i in items], dim=1)[..., None]
    torch.testing.assert_close(cut, normal * std + mean, atol=2e-2, rtol=2e-3)


def test_stores_without_raw_log_mels_are_refused_in_a_sentence(small, levelled, tmp_path):
    voices = small.select(small.has_voice)
    assert not voices.has_raw_log_mel
    with pytest.raises(DataError, match="small: was prepared without raw log-mels.*prepare it"):
        VoiceBank(voices, np.zeros(3, dtype=np.int64), takes=RAW_LOG_MEL)
    with StoreWriter(tmp_path / "foreign", FEATURES, side=8) as writer:
        writer.add(Record("r", "a"), np.zeros((4, 9), np.float32), level=np.full((2, 4), np.nan))
        writer.finish()
    assert not Store(tmp_path / "foreign").has_raw_log_mel
    store, mels = levelled
    joined = join_stores([store, store])
    assert joined.has_raw_log_mel and not join_stores([store, small]).has_raw_log_mel
    bank = VoiceBank(joined, np.zeros(4, dtype=np.int64), 20, takes=RAW_LOG_MEL)
    torch.testing.assert_close(bank.whole(3), mels[1], atol=2e-2, rtol=2e-3)
