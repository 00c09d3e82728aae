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
    faces, hearing = load_recipe("r3gan-face-embedding"), load_recipe("default-encoder")
    for recipe in (faces, hearing):
        assert not recipe.model.controls.normalise_embedding
    assert (
        faces.face_embedding.space
        and faces.gan.d_identity == faces.gan.g_identity == 0
        and not hearing.face_embedding.space
    )
    assert hearing.encoder.space and hearing.encoder.augment > 0 and not faces.encoder.space
    for name in ("r3gan", "wen2019", "speaker-encoder"):
        assert not load_recipe(name).face_embedding.space and not load_recipe(name).encoder.space


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("face_embedding.identity_loss=-1", "face_embedding.identity_loss must not be negative"),
        ("face_embedding.identity_loss_from=-0.1", "face_embedding.identity_loss_from must be from 0 to 0.5"),
        ("face_embedding.identity_loss_from=0.6", "face_embedding.identity_loss_from must be from 0 to 0.5"),
        ("face_embedding.simulated_voices=1.5", "face_embedding.simulated_voices must be between 0 and 1"),
        ("face_embedding.simulated_voices=-0.5", "face_embedding.simulated_voices must be between 0 and 1"),
        (
            "face_embedding.strength_range=[3,1]",
            "face_embedding.strength_range must be two numbers, not negative, in order",
        ),
        (
            "face_embedding.strength_range=[-1,1]",
            "face_embedding.strength_range must be two numbers, not negative, in order",
        ),
        ("face_embedding.strength_range=[1]", "'face_embedding.strength_range' must be 2 numbers, not [1]"),
        ("face_embedding.strength_range=1", "'face_embedding.strength_range' must be a list"),
        ("face_embedding.space=3", "'face_embedding.space' must be text"),
    ],
)
def test_what_the_stage_of_faces_refuses(override, words):
    assert words in refused("r3gan-face-embedding", override)


def test_what_the_stage_of_faces_takes():
    load_recipe(
        "r3gan-face-embedding",
        (
            "face_embedding.identity_loss_from=0.5",
            "face_embedding.simulated_voices=0",
            "model.generator.projection=false",
        ),
    )
    load_recipe(
        "wen2019",
        (
            "face_embedding.space=here",
            "face_embedding.strength_range=[1,1]",
            "face_embedding.fully_visible=0.5",
        ),
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("encoder.speeds=[0.4,1.0,1.1]", "from 0.5 to 2"),
        ("encoder.speeds=[1.1,1.0,0.9]", "encoder.speeds must be from 0.5 to 2, in order"),
        ("run.best=fid", "run.best is fid, no figure of a voice encoder; take eer or eer_noisy"),
        (
            "face_embedding.space=here",
            "face_embedding.space has no effect: with stages = ['encoder'] a voice encoder is trained alone",
        ),
        ("encoder.speeds=[]", "encoder.speeds must be one or more factors"),
        ("encoder.speeds=['slow']", "'encoder.speeds' must be a number"),
        ("encoder.speeds=1", "'encoder.speeds' must be a list"),
    ],
)
def test_what_the_encoder_of_a_space_refuses(override, words):
    assert words in refused("default-encoder", override)


@pytest.mark.parametrize("speeds", [(1.0,), (0.9, 1.1), (0.9, 1.0, 1.1)])
def test_speeds_are_one_or_more(speeds):
    assert load_recipe("default-encoder", (f"encoder.speeds={list(speeds)}",)).encoder.speeds == speeds


def test_unpaired_faces_need_a_discriminator_that_does_not_hear():
    assert "r3gan.same_identity = false needs model.generator.projection = false" in refused(
        "r3gan", "r3gan.same_identity=false"
    )
    assert not load_recipe(
        "r3gan", ("r3gan.same_identity=false", "model.generator.projection=false")
    ).r3gan.same_identity
