"""`v2f-gan face-space` from the outside."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch

from voice2face_gan.data.face_embedding import read_face_embedding
from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.data.synthetic import synthetic_store
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.faces.reframe import reframed
from voice2face_gan.models.face_embedding_space import SEX, SIZE, FaceSpace
from voice2face_gan.models.face_readers.dlib_resnet import DIMENSIONS, FEATURES
from voice2face_gan.training.face_space import gather_faces

needs_dlib = pytest.mark.skipif(
    not all(importlib.util.find_spec(n) for n in ("dlib", "face_recognition_models")),
    reason="the extra faces is not installed",
)


@pytest.fixture(scope="module")
def _world(own_cache):
    return synthetic_store("synthetic:45", clips=0)


@pytest.fixture
def world(_world, tmp_path):
    """270 faces of 45 people, 36 of them no test people; no voices."""
    return Store(shutil.copytree(_world.folder, tmp_path / "world.store"))


@pytest.fixture
def voices(world, tmp_path):
    """A store without a face."""
    with StoreWriter(tmp_path / "voices.store", world.about["features"]) as writer:
        writer.add(Record("v", "v", split="train"), np.zeros((64, 9), np.float32))
        writer.finish()
    return Store(tmp_path / "voices.store")


@needs_dlib
def test_from_stores_to_a_space_and_back(cli, world, voices):
    result = cli("face-space", world.folder, voices.folder, "-o", "space", "--json")
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    space = FaceSpace.load(cli.here / "space")
    assert told["name"] == space.name and told["space"] == "space"
    assert told["faces"] == space.about["faces"] == int((world.split != "test").sum()) < len(world)
    assert "components keep" in result.stderr and told["variance"] > 0.95
    assert space.about["trained_on"]["stores"] == [str(world.folder)]
    assert not (voices.folder / "face_embedding.npy").exists()
    e, name = read_face_embedding(world)
    assert name == space.name and e.shape == (len(world.faces), SIZE)
    with torch.inference_mode():
        faces = to_unit(torch.from_numpy(np.array(world.faces[:3])))
        np.testing.assert_allclose(space(faces).numpy(), e[:3], atol=0.01, rtol=0.01)
        # dlib's network, on chips where dlib would cut them: its embeddings are about 1.4 long.
        assert 1 < space.read(faces)[0].norm(dim=1).mean() < 2
    unseen = world.split == "test"
    female = np.where(world.gender[unseen] == "female", 1, -1)
    assert np.corrcoef(e[world.face_index[unseen], SEX], female)[0, 1] > 0.5


@needs_dlib
def test_what_it_refuses(cli, voices, tmp_path):
    few = Store(shutil.copytree(synthetic_store("synthetic:10", clips=0).folder, tmp_path / "few.store"))
    for stores, words in (
        ((voices.folder,), "There are no faces in these stores."),
        ((few.folder, voices.folder), "48 faces (48 with sex, 48 with age) are too few for a face space"),
        ((tmp_path / "none",), "does not exist"),
    ):
        result = cli("face-space", *stores, "-o", "space")
        assert result.code == 2 and words in " ".join(result.stderr.split()), result.stderr
    assert not (cli.here / "space").exists() and not (few.folder / "face_embedding.npy").exists()


def test_people_with_a_voice_make_the_centre(store):
    """Each face with a voice by one over the root of its person's faces; test people are left out."""
    rows = torch.arange(len(store.faces)).float()
    read = rows[:, None].expand(-1, DIMENSIONS), rows[:, None].expand(-1, FEATURES)
    kept = store.select(store.split != "test")
    faces = gather_faces([store], [read])
    count = len(faces.weight)
    assert count == len(kept) and faces.embedding[:, 0].tolist() == kept.face_index.tolist()
    assert faces.features.shape == (count, FEATURES) and faces.embedding.shape == (count, DIMENSIONS)
    assert faces.female.tolist() == (kept.gender == "female").astype(float).tolist()
    np.testing.assert_allclose(faces.age, kept.age)
    per_person = {name: int((kept.identity == name).sum()) for name in kept.identity.tolist()}
    roots = np.array([per_person[n] ** -0.5 for n in kept.identity.tolist()], dtype=np.float32)
    np.testing.assert_allclose(faces.weight, np.where(kept.has_voice, roots, 0))

    half = store.select(np.ones(len(store), dtype=bool))
    silent = half.identity == kept.identity[0]
    half.voice_offset = np.where(silent, -1, half.voice_offset)
    half.gender = np.where(silent, "", half.gender)
    faces = gather_faces([half, store], [read, read])
    assert len(faces.weight) == 2 * count
    gone = torch.from_numpy(silent[half.split != "test"])
    assert (faces.weight[:count][gone] == 0).all() and (faces.weight[count:][gone] > 0).any()
    assert torch.equal(faces.weight[:count][~gone], faces.weight[count:][~gone])
    assert faces.female[:count][gone].isnan().all() and not faces.female[count:].isnan().any()


def test_without_voices_all_faces_count_alike(world):
    read = torch.zeros(len(world.faces), DIMENSIONS), torch.zeros(len(world.faces), FEATURES)
    faces = gather_faces([world], [read])
    assert (faces.weight == 1).all()


@needs_dlib
def test_faces_of_another_zoom_are_refused_and_nearer_ones_have_nearer_landmarks(cli, world, tmp_path):
    near = Store(shutil.copytree(world.folder, tmp_path / "near.store"))
    about = {**near.about, "zoom": 1.4}
    (near.folder / "store.json").write_text(json.dumps(about))
    result = cli("face-space", world.folder, near.folder, "-o", "space")
    assert result.code == 2 and "taken at zoom 1.4" in result.stderr
    assert not (cli.here / "space").exists() and not (near.folder / "face_embedding.npy").exists()
    faces = np.stack(
        [np.asarray(reframed(torch.from_numpy(f[None]), 1.0, 1.4)[0]) for f in np.array(world.faces)]
    )
    np.save(near.folder / "faces.npy", faces)
    zooms = []
    for store in (world, near):
        result = cli("face-space", store.folder, "-o", f"space-{store.zoom:g}")
        assert result.code == 0, result.stderr
        zooms.append(float(FaceSpace.load(cli.here / f"space-{store.zoom:g}").chip[0]))
    assert zooms[1] / zooms[0] == pytest.approx(1.4, rel=0.03)  # a chip takes up as much more of the image
