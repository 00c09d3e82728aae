"""One checkpoint of a voice encoder and a generator that were trained apart."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from voice2face_gan.data.face_embedding import read_face_embedding
from voice2face_gan.errors import CheckpointError, DataError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.face_embedding_space import SIZE, FaceSpace
from voice2face_gan.models.registry import build_generator, generator_config
from voice2face_gan.training.compose import BORDER, compose, e_limits
from voice2face_gan.training.face_space import with_space


@pytest.fixture(scope="module")
def parts(space_encoder, space_folder):
    """A voice encoder of the small world's space, and a generator beside another encoder."""
    encoder = load_checkpoint(space_encoder, need_generator=False)
    about = {"iteration": 5, "gender": "all", "data": {"voices": 1}}
    space = FaceSpace.load(space_folder)
    encoder = with_space(replace(encoder, info={**encoder.info, **about}), space)
    encoder.info["recipe"] = {"name": "default-encoder", "encoder": {"space": "/secret/space"}}
    torch.manual_seed(1)
    small = {"type": "r3gan", "embedding": SIZE, "width": 2, "z_dim": 4, "face_scale": 1.4}
    config = generator_config(small)
    info = {
        **about,
        "iteration": 9,
        "recipe": {"name": "r3gan-face-embedding", "face_embedding": {"space": "/secret/space"}},
    }
    net = build_generator(config).eval()
    return encoder, replace(encoder, generator_config=config, generator=net, info=info)


def test_it_has_both_networks_and_what_they_need(parts, read_store, tmp_path):
    encoder, generator = parts
    made = compose(encoder, generator, read_store, read_store, {"licence": "none"})
    read = load_checkpoint(made.save(tmp_path / "composed"))
    for ours, theirs in ((read.encoder, encoder.encoder), (read.generator, generator.generator)):
        state = theirs.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())
    assert read.controls.strength == 1 and read.controls.residual_std == encoder.controls.residual_std
    assert read.generator_config.replicate_border == read.generator.border == BORDER
    assert read.generator_config.face_scale == 1.4
    assert read.gender_probe.shape == (SIZE + 1,) and read.face_space.keys() == encoder.face_space.keys()
    assert read.info["iterations"] == {"encoder": 5, "gan": 9} and read.info["licence"] == "none"
    assert read.info["recipe"]["face_embedding"]["space"] == "checkpoint"
    assert "secret" not in str(read.info), "no path of the machine that trained"


def test_the_encoder_of_a_composed_checkpoint_brings_its_limits(parts, read_store, store, tmp_path):
    """Of stores that nobody read into the space: what the default's encoder is given to."""
    encoder, generator = parts
    first = load_checkpoint(compose(encoder, generator, read_store, read_store).save(tmp_path / "first"))
    again = compose(first, replace(generator, info={**generator.info, "iteration": 20}), store, store)
    assert again.controls.soft_clip == first.controls.soft_clip and len(again.controls.soft_clip) == SIZE
    assert again.info["iterations"] == {"encoder": 5, "gan": 20}
    assert (
        again.info["data"] == first.info["data"] and again.info["encoder_recipe"]["name"] == "default-encoder"
    )


def test_a_generator_of_a_composed_checkpoint(parts, read_store, tmp_path):
    encoder, generator = parts
    first = load_checkpoint(compose(encoder, generator, read_store, read_store).save(tmp_path / "first"))
    again = compose(first, first, read_store, read_store)
    for name in ("iterations", "data", "recipe", "gender"):
        assert again.info[name] == first.info[name], name


def test_a_strength_is_that_of_validation_people_or_the_given_one(parts, read_store, cli, tmp_path):
    encoder, generator = parts
    given = [part.save(tmp_path / name) for part, name in ((encoder, "e"), (generator, "g"))]
    line = ("compose", *given, "--data", read_store.folder, "--judge", "trunk", "--json")
    chosen = json.loads(cli(*line, "-o", "a").stdout)
    other = chosen["strength"] + 0.5
    done = cli(*line, "-o", "b", "--strength", other)
    assert json.loads(done.stdout)["strength"] == other and chosen["strength"] >= 1
    assert json.loads(done.stdout)["tried"] == chosen["tried"], "what others give is said all the same"
    made = load_checkpoint(cli.here / "b")
    assert made.controls.strength == other
    assert made.info["strength_chosen_on"] == {
        "people": "validation",
        "tried": chosen["tried"],
        "given": other,
    }
    assert "given" not in load_checkpoint(cli.here / "a").info["strength_chosen_on"]


def test_limits_are_those_of_training_faces(read_store):
    limits = np.array(e_limits(read_store))
    e = read_face_embedding(read_store)[0]
    train = e[read_store.face_index[read_store.has_face & (read_store.split == "train")]]
    beyond = (np.abs(train) > limits).mean(axis=0)
    assert limits.shape == (SIZE,) and (np.abs(beyond - 0.05) < 0.03).all()


def test_what_cannot_be_composed(parts, read_store, store):
    encoder, generator = parts
    with pytest.raises(CheckpointError, match="keeps no face space"):
        compose(replace(encoder, face_space={}), generator, read_store, read_store)
    with pytest.raises(CheckpointError, match="no generator that takes the 64 numbers"):
        compose(encoder, replace(generator, generator=None), read_store, read_store)
    unit = replace(generator.controls, normalise_embedding=True)
    with pytest.raises(CheckpointError, match="trained on e of length 1, not on a face space"):
        compose(encoder, replace(generator, controls=unit), read_store, read_store)
    with pytest.raises(DataError):
        compose(encoder, generator, store, store)
