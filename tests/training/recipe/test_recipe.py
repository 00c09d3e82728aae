"""Recipes load, inherit, are overridden, and say what is wrong with them."""

import json
import zlib
from dataclasses import MISSING, fields

import numpy as np
import pytest

from voice2face_gan.errors import RecipeError
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.models.registry import ENCODERS, GENERATORS
from voice2face_gan.training.recipe.keys import check_encoder
from voice2face_gan.training.recipe.recipe import kept_recipe, load_recipe, recipe_names
from voice2face_gan.training.recipe.schema import (
    DataRecipe,
    EncoderRecipe,
    FaceEmbeddingRecipe,
    GanRecipe,
    R3GANRecipe,
    RunRecipe,
    Speech2FaceRecipe,
)


def test_every_shipped_recipe_loads():
    assert {"wen2019", "wen2019-paper", "wen2019-small", "poster2023-female"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).name == name


def test_wen2019_is_the_released_settings():
    recipe = load_recipe("wen2019")
    controls = recipe.model.controls
    assert recipe.model.generator.kernel == 4
    assert controls.embedding_noise_std == 0.05 and controls.normalise_embedding
    assert (recipe.gan.iterations, recipe.gan.batch, recipe.gan.lr) == (50_000, 128, 2e-4)
    assert recipe.gan.betas == (0.5, 0.999) and recipe.gan.ema_decay == 0
    assert (recipe.gan.d_identity, recipe.gan.g_adversarial, recipe.gan.g_identity) == (1, 1, 1)
    assert recipe.gan.l1 == 0 and recipe.gan.lr_decay == 0
    assert recipe.data.crop_frames == (300, 800) and recipe.data.flip and recipe.data.split == "train"


def test_the_papers_tables():
    paper, released = load_recipe("wen2019-paper"), load_recipe("wen2019")
    assert paper.model.generator.kernel == 3 and paper.model.encoder.norm_last
    controls = paper.model.controls
    assert not controls.normalise_embedding and controls.embedding_noise_std == 0
    assert paper.gan.iterations == 100_000 and paper.gan.batch == released.gan.batch
    assert paper.model.generator.channels == released.model.generator.channels


@pytest.mark.parametrize(("name", "gender"), [("general", "all"), ("female", "female"), ("male", "male")])
def test_the_poster(name, gender):
    recipe = load_recipe(f"poster2023-{name}")
    assert recipe.data.gender == gender and recipe.data.split == "all"
    assert recipe.model.generator.norm == "batch" and recipe.model.generator.output == "tanh"


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
            "encoder.crop_frames=[10, 20]",
            'data.gender="male"',
        ),
    )
    assert recipe.gan.batch == 64 and recipe.data.split == "all" and recipe.gan.lr == 1e-3
    assert recipe.encoder.crop_frames == (10, 20) and recipe.data.gender == "male"
    assert load_recipe("wen2019", ("gan.lr=1",)).gan.lr == 1.0  # a whole number is a number
    assert load_recipe("wen2019", ("gan.batch=2", "gan.batch=3")).gan.batch == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("gan.bach=64", r"unknown key 'gan.bach'; did you mean 'gan.batch'"),
        ("model.generator.kernal=3", r"did you mean 'model.generator.kernel'"),
        ("gann.batch=3", r"did you mean 'gan'"),
        ("gan.zzz=1", r"known are iterations"),
        ("lr=1e-4", r"unknown key 'lr'; did you mean 'gan.lr' or 'encoder.lr'\?"),
        (
            "simulated_voices=1",
            r"unknown key 'simulated_voices'; did you mean 'face_embedding.simulated_voices'",
        ),
        ("kernel=3", r"unknown key 'kernel'; did you mean 'model.generator.kernel'"),
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
        ("encoder.betas=[-0.1, 0.9]", r"encoder.betas"),
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
        ("gan.lr=nan", r"'gan.lr' must be a finite number, not nan"),
        ("gan.g_adversarial=inf", r"'gan.g_adversarial' must be a finite number, not inf"),
        ("gan.batch=99999999999", r"'gan.batch' must be below 2147483648"),
        (f"gan.lr=1{'0' * 400}", r"'gan.lr' must be below"),
        ("gan.g_adversarial=-1", r"gan.g_adversarial must not be negative"),
        ("base=r3gan", r"'base' is said in a recipe's file alone"),
        ("name=mine", r"unknown key 'name'"),
        ("gan.ema_decay=1", r"gan.ema_decay"),
        ("encoder.weight_decay=-1", r"weight_decay"),
        ("model.generator.type=wen2020", r"model.generator.type is 'wen2020'; known are wen2019, r3gan"),
        ("model.generator.type=[1]", r"model.generator.type is \[1\]; known are"),
        ("model.encoder.type=max", r"model.encoder.type is 'max'; known are conv, lstm"),
        ("model.generator.width=4", r"unknown key 'model.generator.width'; known are type"),
        ("model.generator=3", r"'model.generator' must be a section"),
        (
            "model.width=4",
            r"unknown key 'model.width'; did you mean 'model.encoder.width' or 'model.generator.width'",
        ),
        ("model.mel_bins=4", r"unknown key 'model.mel_bins'; did you mean 'model.encoder.mel_bins'"),
        ("model.strength=4", r"unknown key 'model.strength'; did you mean 'model.controls.strength'"),
        ("model.depth=4", r"unknown key 'model.depth'; known are encoder, generator, controls"),
        ("architecture=r3gan", r"unknown key 'architecture'"),
    ],
)
def test_what_is_wrong_is_said(override, words):
    with pytest.raises(RecipeError, match=words):
        load_recipe("wen2019", (override,))


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        ("wen2019", "model.generator.kernel=5", "model.generator.kernel must be 3 or 4"),
        ("wen2019", "model.generator.channels=[8]", "model.generator.channels must be five numbers"),
        (
            "wen2019",
            "model.generator.channels=[8,8,8,8,0]",
            "model.generator.embedding and all channels",
        ),
        (
            "wen2019",
            "model.controls.embedding_noise_std=-1",
            "model.controls.embedding_noise_std must not be negative",
        ),
        ("wen2019", "model.encoder.channels=[]", "model.encoder.channels must not be empty"),
        ("r3gan", "model.generator.side=65", "model.generator.side must be 64 or 128"),
        ("r3gan", "model.generator.width=3", "model.generator.width must be 2 or more, and even"),
        ("wen2019", "model.encoder.mel_bins=0", "model.encoder.mel_bins, embedding and all channels"),
        (
            "r3gan-face-embedding",
            "model.generator.replicate_border=9",
            "model.generator.replicate_border must be 0 to 8",
        ),
    ],
)
def test_a_wrong_value_names_recipe_and_key_in_the_model_too(name, override, words):
    with pytest.raises(RecipeError) as error:
        load_recipe(name, (override,))
    assert str(error.value).startswith(f"Recipe {name}: {words}") and "\n" not in str(error.value)


def test_a_misspelt_recipe_suggests_the_nearest():
    with pytest.raises(RecipeError, match="No recipe 'wen2018'; did you mean 'wen2019'"):
        load_recipe("wen2018")
    with pytest.raises(RecipeError, match="known are .*wen2019"):
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
    "text",
    [
        "[gan",
        "\xff",
        "base = 3",
        "base = ['a']",
        "gan = 3",
        "[[gan]]\nbatch=3",
        "[model]\nkernel=4",
        "[model.generator]\nkernel=[4]",
        "description = 3",
        "model = 3",
        "name = 'mine'",
    ],
)
def test_files_that_are_no_recipe_are_refused(tmp_path, text):
    (tmp_path / "bad.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError):
        load_recipe(str(tmp_path / "bad.toml"))


def test_a_recipe_survives_the_run_folder():
    for name in recipe_names():
        recipe = load_recipe(name)
        again = kept_recipe(json.loads(json.dumps(recipe.to_dict())))
        assert again == recipe and again.idle == recipe.idle


# Keys without an effect


@pytest.mark.parametrize(
    ("name", "override", "why"),
    [
        ("wen2019", "r3gan.gamma=1", "it needs model.generator.type = 'r3gan'"),
        ("wen2019", "encoder.space=x", "it needs model.encoder.type = 'lstm'"),
        ("wen2019", "encoder.teacher=x", "it needs encoder.space"),
        ("wen2019", "encoder.augment_snr=[0,10]", "it needs encoder.augment above 0"),
        ("wen2019", "face_embedding.simulated_voices=1", "it needs face_embedding.space"),
        ("r3gan", "face_embedding.identity_loss=1", "it needs face_embedding.space"),
        ("r3gan", "run.best=kid", "it needs run.evaluate_every above 0"),
        ("r3gan", "model.generator.face_scale=1.4", "it is found after training, or comes with the data"),
        ("r3gan", "model.controls.strength=2", "it is found after training"),
        ("r3gan-face-embedding", "encoder.lr=1", "the voice encoder comes trained (--encoder)"),
        (
            "r3gan-face-embedding",
            "model.encoder.channels=[8,8]",
            "the voice encoder comes trained (--encoder)",
        ),
        ("r3gan-face-embedding", "data.crop_frames=[8,8]", "voices are simulated"),
        ("r3gan-face-embedding", "r3gan.same_identity=false", "every face comes with its own e"),
        (
            "wen2019-face-embedding",
            "face_embedding.identity_loss=1",
            "it needs model.generator.type = 'r3gan'",
        ),
        ("voice-to-face", "encoder.lr=0.1", "fitted in closed form"),
        ("voice-to-face", "model.encoder.embedding=32", "64 numbers"),
        ("voice-to-face", "data.crop_frames=[8,8]", "voices are simulated"),
        (
            "r3gan-face-embedding",
            "face_embedding.perceptual_loss=1",
            "it needs face_embedding.space = 'classifier'",
        ),
        ("default-encoder", "gan.lr=1", "a voice encoder is trained alone"),
        ("default-encoder", "r3gan.gamma=1", "a voice encoder is trained alone"),
        ("default-encoder", "encoder.crop_frames=[100,200]", "by a teacher whose layers and pieces it has"),
        ("default-encoder", "encoder.weight_decay=0.1", "by a teacher"),
        ("default-encoder", "model.encoder.channels=[8,8,8]", "by a teacher whose layers"),
        ("default-encoder", "data.flip=false", "a voice encoder is trained alone"),
    ],
)
def test_a_key_without_an_effect_is_refused_with_the_reason(name, override, why):
    with pytest.raises(RecipeError) as error:
        load_recipe(name, (override,))
    key = override.partition("=")[0]
    assert str(error.value).startswith(f"Recipe {name}: {key} has no effect: ") and why in str(error.value)
    assert "\n" not in str(error.value)
    assert key in load_recipe(name).idle
    kept = load_recipe(name).to_dict()
    for part in key.split("."):
        kept = kept.get(part, {})
    assert kept == {}, "nor is it kept"


def test_it_is_refused_in_a_file_and_passed_over_in_its_base(tmp_path):
    (tmp_path / "mine.toml").write_text('base = "r3gan-face-embedding"\n[encoder]\nlr = 1e-3\n')
    with pytest.raises(RecipeError, match="Recipe mine: encoder.lr has no effect: with face_embedding.space"):
        load_recipe(str(tmp_path / "mine.toml"))
    (tmp_path / "base.toml").write_text('base = "r3gan"\n[encoder]\nlr = 0.5\n')
    (tmp_path / "mine.toml").write_text('base = "base.toml"\n[face_embedding]\nspace = "here"\n')
    assert load_recipe(str(tmp_path / "base.toml")).encoder.lr == 0.5
    assert load_recipe(str(tmp_path / "mine.toml")).encoder.lr == 1e-3, "the default"
    alone = ("stages=['encoder']", "model.encoder.type='lstm'", "encoder.space='there'")
    alone = load_recipe(str(tmp_path / "base.toml"), alone)
    assert alone.encoder.lr == 0.5 and "gan" not in alone.to_dict()


def test_a_distillation_does_not_become_another_training_unsaid(tmp_path):
    """encoder.space comes from the recipe's file here, and another type of encoder would drop it."""
    why = "Recipe default-encoder: encoder.space has no effect: it needs model.encoder.type = 'lstm'"
    with pytest.raises(RecipeError, match=why):
        load_recipe("default-encoder", ("model.encoder.type=conv",))
    with pytest.raises(RecipeError, match=r"encoder.space has no effect: it needs stages = \['encoder'\]"):
        load_recipe("default-encoder", ("stages=['encoder', 'gan']",))
    (tmp_path / "mine.toml").write_text('base = "default-encoder"\n[model.encoder]\ntype = "conv"\n')
    with pytest.raises(RecipeError, match="Recipe mine: encoder.space has no effect"):
        load_recipe(str(tmp_path / "mine.toml"))
    classified = load_recipe("default-encoder", ("model.encoder.type=conv", "encoder.space="))
    assert classified.model.encoder.type == "conv" and not classified.encoder.space
    assert "encoder.space" in classified.idle


def test_an_override_may_take_the_effect_of_what_a_file_says():
    recipe = load_recipe("speaker-encoder", ("encoder.augment=0",))
    assert "encoder.augment_snr" in recipe.idle and "augment_snr" not in recipe.to_dict()["encoder"]


def test_what_a_space_takes_for_granted():
    hearing, faces, wen = (
        load_recipe(name) for name in ("default-encoder", "r3gan-face-embedding", "wen2019-face-embedding")
    )
    for recipe in (hearing, faces, wen):
        controls = recipe.model.controls
        assert not controls.normalise_embedding and controls.embedding_noise_std == 0
    assert hearing.model.encoder.type == "lstm" and hearing.model.encoder.embedding == 64
    assert hearing.model.encoder.channels == (40, 256, 256, 256, 256)
    assert hearing.to_dict()["model"] == {"encoder": {"type": "lstm", "mel_bins": 64}}
    assert set(hearing.to_dict()["data"]) == {"gender", "split"}
    assert set(faces.to_dict()["model"]) == {"generator"}, "the encoder is that of its checkpoint"


def test_another_type_leaves_the_settings_of_the_first(tmp_path):
    recipe = load_recipe("wen2019", ("model.generator.width=4", "model.generator.type=r3gan"))
    assert recipe.model.generator.type == "r3gan" and recipe.model.generator.width == 4
    assert recipe.model.encoder.type == "conv" and recipe.gan.batch == 128
    same = load_recipe("wen2019-paper", ("model.generator.type=wen2019",))
    assert same.model.generator.kernel == 3, "the type that it had"
    (tmp_path / "mine.toml").write_text('base = "wen2019"\n[model.encoder]\ntype = "lstm"\nmel_bins = 40\n')
    mine = load_recipe(str(tmp_path / "mine.toml"))
    assert mine.model.encoder.type == "lstm" and mine.model.encoder.mel_bins == 40


def test_an_encoder_alone_is_given_none_and_one_of_a_space_is_given():
    for name in ("default-encoder", "speaker-encoder"):
        assert load_recipe(name).encoder_alone
        check_encoder(load_recipe(name), given=False)
        with pytest.raises(RecipeError, match="go on from a trained one with --init"):
            check_encoder(load_recipe(name), given=True)
    with pytest.raises(RecipeError, match="give one with --encoder, such as --encoder default"):
        check_encoder(load_recipe("r3gan-face-embedding"), given=False)
    check_encoder(load_recipe("r3gan-face-embedding"), given=True)
    check_encoder(load_recipe("voice-to-face"), given=False)
    with pytest.raises(RecipeError, match="needs model.encoder.type = 'statistics'"):
        check_encoder(load_recipe("voice-to-face", ("model.encoder.type=conv",)), given=False)
    for given in (True, False):
        check_encoder(load_recipe("wen2019"), given)


@pytest.mark.parametrize(
    "key", ["gan.batch=4", "r3gan.gamma=4", "model.generator.width=4", "data.flip=false"]
)
def test_an_encoder_alone_has_no_keys_of_a_generator(key):
    with pytest.raises(RecipeError, match=f"{key.partition('=')[0]} has no effect: with stages"):
        load_recipe("r3gan", ("stages=['encoder']", key))


def test_an_encoder_alone_is_measured_by_default():
    recipe = load_recipe("r3gan", ("stages=['encoder']", "model.encoder.channels=[8,8,8]"))
    assert recipe.run.evaluate_every == 500 and recipe.run.best == "eer_noisy"
    assert load_recipe("r3gan", ("stages=['encoder']", "run.evaluate_every=0")).run.evaluate_every == 0
    with pytest.raises(RecipeError, match="run.best is fid, no figure of a voice encoder"):
        load_recipe("wen2019", ("stages=['encoder']", "run.best=fid"))
    with pytest.raises(RecipeError, match=r"stages must be \['encoder', 'gan'\] or \['encoder'\], not 'gan'"):
        load_recipe("wen2019", ("stages=gan",))


# Whatever is set


_VALUES = [
    "true",
    "0",
    "-1",
    "1",
    "2",
    "7",
    "1e9",
    "-0.5",
    "0.5",
    "nan",
    "inf",
    "[]",
    "[1]",
    "[1,2]",
    "[0.5,3.0]",
]
_VALUES += [
    "[[1],[2]]",
    "['a']",
    "'x'",
    "text",
    "''",
    "1979-05-27",
    "{a=1}",
    "9" * 25,
    "9" * 400,
    "[300, 100]",
]
_VALUES += ["'lstm'", "'eer'", "[64,64,64,64,64]", "'softplus'", "'r3gan'", "'bf16'"]


def _default(field):
    return field.default if field.default is not MISSING else field.default_factory()


def _all_keys() -> dict[str, str]:
    """Key -> a value of its own type."""
    parts = {"data": DataRecipe, "encoder": EncoderRecipe, "gan": GanRecipe, "r3gan": R3GANRecipe}
    parts |= {"face_embedding": FaceEmbeddingRecipe, "speech2face": Speech2FaceRecipe, "run": RunRecipe}
    keys = {f"{s}.{f.name}": json.dumps(_default(f)) for s, kind in parts.items() for f in fields(kind)}
    kinds = [Controls, *(kind for types in (ENCODERS, GENERATORS) for kind, _ in types.values())]
    for kind in kinds:
        keys |= {f"model.{kind.table}.{f.name}": json.dumps(_default(f)) for f in fields(kind)}
    keys["model.encoder.type"] = "'conv'"
    others = ("model.generator.type", "description", "encoder.hints", "model.depth", "gan", "x.y", "base")
    return keys | dict.fromkeys(others, "'r3gan'")


@pytest.mark.parametrize("name", recipe_names())
def test_any_combination_is_a_recipe_or_refused_in_a_sentence(name):
    random, keys, made = np.random.default_rng(zlib.crc32(name.encode())), _all_keys(), 0
    for _ in range(150):
        count = int(random.integers(1, 4))
        chosen = random.choice([*keys], size=count)
        chosen = [f"{k}={keys[k] if random.random() < 0.5 else random.choice(_VALUES)}" for k in chosen]
        try:
            recipe = load_recipe(name, tuple(chosen))
        except RecipeError as error:
            text = str(error)
            assert text.startswith((f"Recipe {name}: ", "--set ")) and text.endswith((".", "?")), chosen
            assert "\n" not in text, chosen
        else:
            made += 1
            assert kept_recipe(json.loads(json.dumps(recipe.to_dict()))) == recipe, chosen
    assert made > 2


def test_the_wrong_keys_of_the_review():
    """These two once ended in a KeyError."""
    with pytest.raises(RecipeError, match="unknown key 'encoder.hints'"):
        load_recipe("wen2019", ("encoder.space=x", "encoder.hints=5"))
    with pytest.raises(RecipeError, match="encoder.space has no effect"):
        load_recipe("wen2019", ("encoder.space=x", "encoder.speeds=[1.0]"))


@pytest.mark.parametrize("key", ["r3gan.gamma=1", "gan.g_identity=1", "gan.d_lr_factor=0.1"])
def test_without_an_adversarial_loss_keys_of_the_discriminator_have_no_effect(key):
    with pytest.raises(RecipeError, match="it needs gan.g_adversarial above 0"):
        load_recipe("voice-to-face", ("gan.g_adversarial=0", key))
