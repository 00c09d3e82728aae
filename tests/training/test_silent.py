"""Faces without voices: the e they get is distributed as voices', and batches hold the share asked for."""

import numpy as np
import pytest
import torch

from voice2face_gan.data.face_embedding import read_face_embedding, write_face_embedding
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError, RecipeError
from voice2face_gan.training.gan import NOBODY
from voice2face_gan.training.recipe import load_recipe
from voice2face_gan.training.silent import SilentFaces


@pytest.fixture
def half_silent(store, tmp_path):
    """The small built-in world, whose training people of odd number have lost their voices, with embeddings
    in which the first number says who it is."""
    import shutil

    folder = shutil.copytree(store.folder, tmp_path / "half.store")
    half = Store(folder)
    person = np.zeros(len(half.faces))
    number = np.array([int(name[3:]) for name in half.identity.tolist()])
    person[half.face_index[half.has_face]] = number[half.has_face]
    embedding = np.stack([np.cos(person), np.sin(person), np.cos(2 * person), np.ones_like(person)], 1)
    write_face_embedding(half, embedding, "by-number")
    odd = (number % 2 == 1) & (half.split == "train")
    half.voice_offset = np.where(odd, -1, half.voice_offset)
    return half


def test_embeddings_are_kept_in_the_store(half_silent):
    embedding, name = read_face_embedding(half_silent)
    assert name == "by-number" and embedding.shape == (len(half_silent.faces), 4)
    both, _ = read_face_embedding(Store.join([Store(half_silent.folder)] * 2))
    assert np.array_equal(both, np.concatenate([embedding] * 2))


def test_missing_or_foreign_embeddings_are_named(half_silent, store):
    with pytest.raises(DataError, match="embed --faces"):
        read_face_embedding(store)
    half_silent.faces = np.array(half_silent.faces)
    half_silent.faces[0] ^= 255
    with pytest.raises(DataError, match="of other faces"):
        read_face_embedding(half_silent)
    with pytest.raises(DataError, match="3 embeddings for"):
        write_face_embedding(half_silent, np.zeros((3, 2)), "x")


def test_the_e_of_a_silent_face_is_that_of_such_voices(half_silent):
    """e = M f + noise of a known size: the fit finds both."""
    part = half_silent.of_split("train")
    f, _ = read_face_embedding(part)
    f = f / np.linalg.norm(f, axis=1, keepdims=True)
    random = np.random.default_rng(0)
    m = random.standard_normal((4, 64)).astype(np.float32)
    spoken = np.isin(part.identity, part.identity[part.has_voice])
    e, clean = {}, {}
    for name in np.unique(part.identity).tolist():
        row = f[part.face_index[(part.identity == name) & part.has_face][0]]
        clean[name] = torch.from_numpy(row @ m)
        # Clips differ by 0.3 from the person's mean, in each of the 64 numbers.
        e[name] = clean[name] + 0.3 * torch.from_numpy(random.standard_normal((200, 64)).astype(np.float32))
    faces = SilentFaces(part, spoken, e, normalise=False, seed=0)
    drawn, pictures = faces.draw(0, 4, None)
    assert drawn.shape == (4, 64) and pictures.shape == (4, 3, 64, 64)
    silent = part.select(~spoken & part.has_face)
    wanted = torch.stack([clean[name] for name in silent.identity.tolist()])
    # Seven people say where the other seven lie: the embedding has three free numbers.
    assert (faces.predicted - wanted).std() < 0.25 * wanted.std()
    spread = (faces.spread.T @ faces.spread).diagonal().sqrt().mean()
    assert float(spread) == pytest.approx(0.3, rel=0.15)
    unit = SilentFaces(part, spoken, e, normalise=True, seed=0).draw(1, 4, None)[0]
    assert torch.allclose(unit.norm(dim=1), torch.ones(4), atol=1e-5)


def test_who_cannot_be_fitted_is_said(half_silent):
    part = half_silent.of_split("train")
    spoken = np.isin(part.identity, part.identity[part.has_voice])
    e = {name: torch.zeros(2, 64) for name in np.unique(part.identity).tolist()}
    with pytest.raises(DataError, match=r"modern.silent=0"):
        SilentFaces(part, np.ones(len(part), dtype=bool), e, True, 0)
    with pytest.raises(DataError, match="too few"):
        one = part.identity == part.identity[spoken][0]
        SilentFaces(part, one, e, True, 0)


def test_a_batch_holds_its_share(half_silent, make_stage):
    overrides = ("modern.silent=0.25", "gan.likeness=0.1", "gan.identity=0.1")
    stage = make_stage(*overrides, data=half_silent)
    e, voice, real, face = stage._batch(0)
    assert (voice[:6] != NOBODY).all() and (voice[6:] == NOBODY).all() and torch.equal(voice, face)
    assert torch.isfinite(e).all() and torch.allclose(e.norm(dim=1), torch.ones(8), atol=1e-4)
    without = make_stage("modern.silent=0", data=half_silent)
    same = without._batch(0)
    assert torch.equal(same[0][:6], e[:6]) and torch.equal(same[2][:6], real[:6])
    assert not torch.equal(same[2][6:], real[6:])
    losses = stage.step(0)
    assert all(torch.isfinite(v) for v in losses.values())


def test_pairs_are_needed_for_projection():
    with pytest.raises(RecipeError, match="modern.paired"):
        load_recipe("modern", ("modern.paired=false",))
    load_recipe("modern", ("modern.paired=false", "model.projection=false"))
    with pytest.raises(RecipeError, match="modern.silent"):
        load_recipe("modern", ("modern.silent=1",))


def test_the_command(cli, half_silent, judge_folder):
    result = cli("embed", "--faces", half_silent.folder, "--judge", judge_folder, "--json")
    assert result.code == 0, result.stderr
    _, name = read_face_embedding(half_silent)
    assert name.startswith("judge-random-") and "numbers each" in result.stderr
    assert cli("embed", "--faces", half_silent.folder, "--judge", "nobody").code == 2
