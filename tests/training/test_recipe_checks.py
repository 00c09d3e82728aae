"""What recipes of a face space may hold, and what goes with what."""

import pytest

from voice2face_gan.errors import RecipeError
from voice2face_gan.training.recipe import build_recipe, load_recipe


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
        ("modern.plain=2", "modern.plain must be between 0 and 1"),
        ("modern.strength=[3,1]", "modern.strength must be two numbers, not negative, in order"),
        ("modern.strength=[-1,1]", "modern.strength must be two numbers, not negative, in order"),
        ("modern.strength=[1]", "'modern.strength' must be 2 numbers, not [1]"),
        ("modern.strength=1", "'modern.strength' must be a list"),
        ("modern.space=3", "'modern.space' must be text"),
        ("model.normalise=true", "modern.space needs model.normalise = false"),
        ("modern.silent=0.5", "modern.space needs modern.silent = 0"),
        ("gan.embedder_lr=1e-4", "modern.space needs gan.embedder_lr = 0"),
    ],
)
def test_what_the_stage_of_faces_refuses(override, words):
    assert words in refused("faces", override)


def test_faces_are_of_pairs_and_e_is_not_normalised():
    unpaired = refused("faces", "modern.paired=false", "model.projection=false")
    assert "modern.space needs modern.paired = true" in unpaired
    assert "modern.space needs model.normalise = false" in refused("wen2019", "modern.space=here")
    assert load_recipe("faces-wen").modern.space
    load_recipe(
        "faces", ("modern.read_from=0.5", "modern.heard=0", "modern.plain=1", "modern.strength=[1,1]")
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.normalise=true", "embedder.space needs model.normalise = false"),
        ("model.embedding=32", "embedder.space needs model.embedding = 64"),
        ("embedder.augment=0", "embedder.space needs an embedder.augment above 0"),
        ("embedder.augment_speed=0.03", "embedder.space needs embedder.augment_speed = 0"),
        ("embedder.speeds=[0.9,1.1]", "embedder.speeds must be an odd number of factors"),
        ("embedder.speeds=[0.9,1.0,1.1,1.2,1.3]", "embedder.speeds must be an odd number of factors"),
        ("embedder.speeds=[0.4,1.0,1.1]", "from 0.5 to 2"),
        ("embedder.speeds=[1.1,1.0,0.9]", "in order, the middle one 1"),
        ("embedder.echo=0", "embedder.echo must be 1 or more"),
        ("embedder.echo_kept=10", "embedder.echo_kept must be embedder.batch or more"),
        ("embedder.hints=5000", "embedder.hints must be from 0 to embedder.iterations"),
        ("embedder.hints_lr=[0,1]", "embedder.hints_lr must be two numbers above 0"),
        ("model.voice_pool='statistics'", "embedder.hints above 0 needs model.voice_pool = 'recurrent'"),
        ("embedder.speeds=[]", "embedder.speeds must be an odd number of factors"),
        ("embedder.speeds=['slow']", "'embedder.speeds' must be a number"),
        ("embedder.speeds=1", "'embedder.speeds' must be a list"),
    ],
)
def test_what_the_embedder_of_a_space_refuses(override, words):
    assert words in refused("hearing", override)


def test_what_a_space_bends_and_softens():
    assert load_recipe("faces", ("modern.soften=[0.5,1]",)).modern.soften == (0.5, 1.0)
    for wrong in ("[1,0.5]", "[0.5,1.5]", "[-1,1]"):
        assert "modern.soften must be two numbers from 0 to 1" in refused("faces", f"modern.soften={wrong}")
    assert "modern.limit must be at least 0 and below 1" in refused("faces", "modern.limit=1")


def test_an_embedder_of_a_space_has_a_plain_last_layer():
    with pytest.raises(RecipeError, match="embedder.space needs model.embedder_norm_last = false"):
        plain = ("model.voice_pool='mean'", "model.voice_levels=false", "embedder.hints=0")
        load_recipe("hearing", (*plain, "model.embedder_norm_last=true"))


def test_an_embedder_of_a_space_is_of_the_modern_architecture():
    assert "embedder.echo above 1 needs embedder.space" in refused("embedder", "embedder.echo=2")
    assert "embedder.hints above 0 needs embedder.space" in refused("embedder", "embedder.hints=2")
    assert "embedder.space needs architecture = 'modern'" in refused("embedder", "embedder.space=here")
    for speeds in ((1.0,), (0.9, 1.0, 1.1)):
        recipe = load_recipe("hearing", (f"embedder.speeds={list(speeds)}",))
        assert recipe.embedder.speeds == speeds


def test_a_residual_is_a_list_of_numbers_though_it_is_empty_by_default():
    recipe = load_recipe("faces", (f"model.residual={[0.5] * 64}", "model.strength=2"))
    assert recipe.model["residual"] == [0.5] * 64 and recipe.model["strength"] == 2.0
    assert build_recipe("faces", recipe.to_dict()) == recipe
    assert "'model.residual' must be a number" in refused("faces", "model.residual=['x']")
