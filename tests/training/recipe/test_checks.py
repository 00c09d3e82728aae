"""What recipes of a face space may hold, and what goes with what."""

import pytest

from voice2face_gan.errors import RecipeError
from voice2face_gan.training.recipe.recipe import load_recipe


def refused(name: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        load_recipe(name, overrides)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    return str(error.value)


def test_the_recipes_of_the_space():
    faces, hearing = load_recipe("faces"), load_recipe("hearing")
    for recipe in (faces, hearing):
        assert recipe.architecture == "modern" and not recipe.model["normalise"]
    assert faces.modern.space and faces.gan.identity == faces.gan.likeness == 0 and not hearing.modern.space
    assert hearing.embedder.space and hearing.embedder.augment > 0 and not faces.embedder.space
    for name in ("modern", "wen2019", "embedder"):
        assert not load_recipe(name).modern.space and not load_recipe(name).embedder.space


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("modern.read_space=-1", "modern.read_space must not be negative"),
        ("modern.read_from=-0.1", "modern.read_from must be from 0 to 0.5"),
        ("modern.read_from=0.6", "modern.read_from must be from 0 to 0.5"),
        ("modern.heard=1.5", "modern.heard must be between 0 and 1"),
        ("modern.heard=-0.5", "modern.heard must be between 0 and 1"),
        ("modern.strength=[3,1]", "modern.strength must be two numbers, not negative, in order"),
        ("modern.strength=[-1,1]", "modern.strength must be two numbers, not negative, in order"),
        ("modern.strength=[1]", "'modern.strength' must be 2 numbers, not [1]"),
        ("modern.strength=1", "'modern.strength' must be a list"),
        ("modern.space=3", "'modern.space' must be text"),
    ],
)
def test_what_the_stage_of_faces_refuses(override, words):
    assert words in refused("faces", override)


def test_what_the_stage_of_faces_takes():
    load_recipe("faces", ("modern.read_from=0.5", "modern.heard=0", "model.projection=false"))
    load_recipe("wen2019", ("modern.space=here", "modern.strength=[1,1]", "modern.whole=0.5"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("embedder.speeds=[0.4,1.0,1.1]", "from 0.5 to 2"),
        ("embedder.speeds=[1.1,1.0,0.9]", "embedder.speeds must be from 0.5 to 2, in order"),
        ("run.best=fid", "with embedder.space run.best must be 'eer' or 'eer_noisy'"),
        ("modern.space=here", "embedder.space is of recipes for train-embedder, modern.space of recipes for"),
        ("embedder.speeds=[]", "embedder.speeds must be one or more factors"),
        ("embedder.speeds=['slow']", "'embedder.speeds' must be a number"),
        ("embedder.speeds=1", "'embedder.speeds' must be a list"),
    ],
)
def test_what_the_embedder_of_a_space_refuses(override, words):
    assert words in refused("hearing", override)


@pytest.mark.parametrize("speeds", [(1.0,), (0.9, 1.1), (0.9, 1.0, 1.1)])
def test_speeds_are_one_or_more(speeds):
    assert load_recipe("hearing", (f"embedder.speeds={list(speeds)}",)).embedder.speeds == speeds


def test_unpaired_faces_need_a_discriminator_that_does_not_hear():
    assert "modern.paired = false needs model.projection = false" in refused("modern", "modern.paired=false")
    assert not load_recipe("modern", ("modern.paired=false", "model.projection=false")).modern.paired
