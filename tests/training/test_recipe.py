"""Recipes load, inherit, are overridden, and say what is wrong with them."""

import json

import pytest

from voice2face_gan.errors import CheckpointError, RecipeError
from voice2face_gan.training.recipe import build_recipe, load_recipe, recipe_names


def test_every_shipped_recipe_loads():
    assert {"wen2019", "wen2019-paper", "laptop", "poster2023-female"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).name == name


def test_wen2019_is_the_released_settings():
    recipe = load_recipe("wen2019")
    assert recipe.model["kernel"] == 4 and recipe.model["noise"] == 0.05 and recipe.model["normalise"]
    assert (recipe.gan.iterations, recipe.gan.batch, recipe.gan.lr) == (50_000, 128, 2e-4)
    assert recipe.gan.betas == (0.5, 0.999) and recipe.gan.ema == 0
    weights = (recipe.gan.adversarial, recipe.gan.identity, recipe.gan.fool, recipe.gan.likeness)
    assert weights == (1, 1, 1, 1) and recipe.gan.pixel == 0 and recipe.gan.decay == 0
    assert recipe.data.crop_frames == (300, 800) and recipe.data.flip and recipe.data.split == "train"


def test_the_papers_tables():
    paper, released = load_recipe("wen2019-paper"), load_recipe("wen2019")
    assert paper.model["kernel"] == 3 and paper.model["embedder_norm_last"]
    assert not paper.model["normalise"] and paper.model["noise"] == 0
    assert paper.gan.iterations == 100_000 and paper.gan.batch == released.gan.batch
    assert paper.model["generator_channels"] == released.model["generator_channels"]


@pytest.mark.parametrize(("name", "gender"), [("general", "all"), ("female", "female"), ("male", "male")])
def test_the_poster(name, gender):
    recipe = load_recipe(f"poster2023-{name}")
    assert recipe.data.gender == gender and recipe.data.split == "all"
    assert recipe.model["generator_norm"] == "batch" and recipe.model["generator_output"] == "tanh"


def test_a_recipe_overrides_its_base_key_by_key(tmp_path):
    (tmp_path / "one.toml").write_text('base = "wen2019"\n[gan]\nbatch = 7\n[data]\nflip = false\n')
    (tmp_path / "two.toml").write_text('base = "one.toml"\n[gan]\nlr = 1e-3\n')  # beside it, wherever we are
    recipe = load_recipe(str(tmp_path / "two.toml"))
    assert recipe.name == "two" and recipe.gan.batch == 7 and recipe.gan.lr == 1e-3
    assert not recipe.data.flip and recipe.data.crop_frames == (300, 800)


def test_overrides():
    recipe = load_recipe(
        "wen2019",
        (
            "gan.batch=64",
            "data.split=all",
            "gan.lr = 1e-3",
            "embedder.crop_frames=[10, 20]",
            'data.gender="male"',
        ),
    )
    assert recipe.gan.batch == 64 and recipe.data.split == "all" and recipe.gan.lr == 1e-3
    assert recipe.embedder.crop_frames == (10, 20) and recipe.data.gender == "male"
    assert load_recipe("wen2019", ("gan.lr=1",)).gan.lr == 1.0  # a whole number is a number
    assert load_recipe("wen2019", ("gan.batch=2", "gan.batch=3")).gan.batch == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("gan.bach=64", r"unknown key 'gan.bach'; did you mean 'gan.batch'"),
        ("model.kernal=3", r"did you mean 'model.kernel'"),
        ("gann.batch=3", r"did you mean 'gan'"),
        ("gan.zzz=1", r"known are iterations"),
        ("gan.batch", r"--set gan.batch: write"),
        ("=3", r"write --set"),
        ("a.b.c=3", r"write --set"),
        ("gan=3", r"'gan' must be a section"),
        ("model=3", r"'model' must be a section"),
        ("description.x=3", r"no section"),
        ("gan.batch=large", r"'gan.batch' must be a whole number, not 'large'"),
        ("gan.batch=1.5", r"whole number"),
        ("gan.batch=true", r"whole number"),
        ("data.flip=1", r"true or false"),
        ("gan.lr=fast", r"'gan.lr' must be a number"),
        ("gan.betas=[0.5]", r"2 numbers"),
        ("gan.betas=[0.5, 1.0]", r"gan.betas"),
        ("embedder.betas=[-0.1, 0.9]", r"embedder.betas"),
        ("data.crop_frames=[300, 'x']", r"whole number"),
        ("data.crop_frames=300", r"a list"),
        ("data.crop_frames=[800, 300]", r"in order"),
        ("data.crop_frames=[0, 300]", r"1 or more"),
        ("data.gender=women", r"'female', 'male' or 'all'"),
        ("data.split=test", r"'train' or 'all'"),
        ("run.precision=fp16", r"'auto', 'bf16' or 'fp32'"),
        ("gan.batch=1", r"gan.batch must be 2 or more"),
        ("gan.iterations=0", r"gan.iterations must be 1 or more"),
        ("run.keep=0", r"run.keep"),
        ("gan.lr=0", r"gan.lr must be above 0"),
        ("gan.lr=nan", r"gan.lr must be above 0"),
        ("gan.ema=1", r"gan.ema"),
        ("embedder.weight_decay=-1", r"weight_decay"),
        ("architecture=wen2020", r"unknown architecture"),
    ],
)
def test_what_is_wrong_is_said(override, words):
    with pytest.raises(RecipeError, match=words):
        load_recipe("wen2019", (override,))


@pytest.mark.parametrize("override", ["model.kernel=5", "model.generator_channels=[8]", "model.noise=-1"])
def test_impossible_models_are_refused(override):
    with pytest.raises(CheckpointError, match="Model settings"):
        load_recipe("wen2019", (override,))


def test_a_misspelt_recipe_suggests_the_nearest():
    with pytest.raises(RecipeError, match="No recipe 'wen2018'; did you mean 'wen2019'"):
        load_recipe("wen2018")
    with pytest.raises(RecipeError, match="there are .*wen2019"):
        load_recipe("qqq")
    with pytest.raises(RecipeError, match="No recipe"):
        load_recipe("nowhere.toml")


def test_bases_that_go_round_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text('base = "b.toml"\n')
    (tmp_path / "b.toml").write_text(f'base = "../x/../{tmp_path.name}/a.toml"\n')
    (tmp_path / "self.toml").write_text('base = "self.toml"\n')
    for name in ("a.toml", "./a.toml", str(tmp_path / "a.toml"), "self.toml"):
        with pytest.raises(RecipeError, match="circle"):
            load_recipe(name)


@pytest.mark.parametrize(
    "text", ["[gan", "\xff", "base = 3", "base = ['a']", "gan = 3", "[[gan]]\nbatch=3", "[model]\nkernel=[4]"]
)
def test_files_that_are_no_recipe_are_refused(tmp_path, text):
    (tmp_path / "bad.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError):
        load_recipe(str(tmp_path / "bad.toml"))


def test_a_recipe_survives_the_run_folder():
    for name in recipe_names():
        recipe = load_recipe(name)
        assert build_recipe(name, json.loads(json.dumps(recipe.to_dict()))) == recipe
