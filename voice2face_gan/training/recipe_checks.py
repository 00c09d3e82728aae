"""What a recipe may hold: its keys, the types of their values, their ranges. Each error is one sentence."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from voice2face_gan.data.records import GENDERS
from voice2face_gan.errors import RecipeError
from voice2face_gan.training.figures import MEASURES

if TYPE_CHECKING:
    from voice2face_gan.training.recipe import Recipe

_ANY_LENGTH = ("model", "embedder.speeds")  # sections and keys whose lists may be longer or shorter
_E = 64  # numbers that a face space's e has (models/face_space.py), which recipes are read without


def check_keys(name: str, tree: dict, known, prefix: str) -> None:
    """
    Raises:
        RecipeError: it is no section, or has an unknown key; the nearest known one is suggested.
    """
    if not isinstance(tree, dict):
        raise RecipeError(f"Recipe {name}: '{prefix.rstrip('.')}' must be a section with keys.")
    for key in tree:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known are {', '.join(known)}."
            raise RecipeError(f"Recipe {name}: unknown key '{prefix}{key}'; {hint}")


def typed(name: str, key: str, value, default):
    """`value` in the type of the key's default; whole numbers pass as floats, lists as tuples.

    Raises:
        RecipeError: it is of another type, or a list of another length.
    """
    wanted = type(default)
    if default == "auto" and type(value) is bool:
        return "on" if value else "off"
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is tuple and isinstance(value, (list, tuple)):
        if not (len(value) == len(default) or key in _ANY_LENGTH or key.split(".")[0] in _ANY_LENGTH):
            raise RecipeError(f"Recipe {name}: '{key}' must be {len(default)} numbers, not {list(value)}.")
        # A list that is empty by default (model.residual) is one of numbers.
        return tuple(typed(name, key, item, default[0] if default else 0.0) for item in value)
    if type(value) is not wanted:
        kinds = {
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            str: "text",
            tuple: "a list",
        }
        raise RecipeError(f"Recipe {name}: '{key}' must be {kinds[wanted]}, not {value!r}.")
    return value


def check_values(recipe: Recipe) -> None:
    """
    Raises:
        RecipeError: a value is outside its range, or does not go with another.
    """
    best = recipe.run.best
    if best not in MEASURES:
        near = difflib.get_close_matches(best, MEASURES, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(MEASURES)}."
        raise RecipeError(f"Recipe {recipe.name}: run.best names no figure, '{best}'; {hint}")
    checks = {**_data(recipe), **_embedder(recipe), **_gan(recipe), **_modern(recipe), **_run(recipe)}
    checks |= {**_hearing(recipe), **_space(recipe)}
    for sentence, holds in checks.items():
        if not holds:
            raise RecipeError(f"Recipe {recipe.name}: {sentence}.")


def _data(recipe: Recipe) -> dict[str, bool]:
    data = recipe.data
    return {
        "data.gender must be 'female', 'male' or 'all'": data.gender in (*GENDERS, "all"),
        "data.split must be 'train' or 'all'": data.split in ("train", "all"),
        "data.crop_frames must be two numbers, 1 or more, in order": _rising(data.crop_frames, 1),
    }


def _embedder(recipe: Recipe) -> dict[str, bool]:
    embedder, speeds = recipe.embedder, recipe.embedder.speeds
    middle = len(speeds) % 2 == 1 and speeds[len(speeds) // 2] == 1
    return {
        "embedder.crop_frames must be two numbers, 1 or more, in order": _rising(embedder.crop_frames, 1),
        "embedder.iterations must be 1 or more": embedder.iterations >= 1,
        "embedder.batch must be 2 or more": embedder.batch >= 2,  # batch normalisation needs two
        "embedder.lr must be above 0": embedder.lr > 0,
        "embedder.betas must be at least 0 and below 1": all(0 <= b < 1 for b in embedder.betas),
        "embedder.weight_decay must not be negative": embedder.weight_decay >= 0,
        "embedder.scale must not be negative": embedder.scale >= 0,
        "embedder.margin must be from 0 to below pi / 2": 0 <= embedder.margin < 1.57,
        "embedder.margin needs an embedder.scale above 0": embedder.scale > 0 or embedder.margin == 0,
        "embedder.augment must be between 0 and 1": 0 <= embedder.augment <= 1,
        "embedder.augment_snr must be two numbers, in order": _rising(embedder.augment_snr),
        "embedder.augment_speed must be at least 0 and below 0.5": 0 <= embedder.augment_speed < 0.5,
        "embedder.speeds must be an odd number of factors from 0.5 to 2, in order, the middle one 1": middle
        and all(0.5 <= speed <= 2 for speed in speeds)
        and list(speeds) == sorted(speeds),
        "embedder.guises must be 0 or more": embedder.guises >= 0,
        "embedder.guises above 0 needs embedder.space": embedder.guises == 0 or bool(embedder.space),
        "embedder.hints must be from 0 to embedder.iterations": 0 <= embedder.hints <= embedder.iterations,
        "embedder.hints above 0 needs embedder.space": embedder.hints == 0 or bool(embedder.space),
        "embedder.hints_lr must be two numbers above 0": min(embedder.hints_lr) > 0,
        "embedder.echo must be 1 or more": embedder.echo >= 1,
        "embedder.echo above 1 needs embedder.space": embedder.echo == 1 or bool(embedder.space),
        "embedder.echo_kept must be embedder.batch or more": embedder.echo_kept >= embedder.batch,
    }


def _gan(recipe: Recipe) -> dict[str, bool]:
    gan = recipe.gan
    return {
        "gan.iterations must be 1 or more": gan.iterations >= 1,
        "gan.batch must be 2 or more": gan.batch >= 2,
        "gan.lr must be above 0": gan.lr > 0,
        "gan.betas must be at least 0 and below 1": all(0 <= b < 1 for b in gan.betas),
        "gan.decay must be between 0 and 1": 0 <= gan.decay <= 1,
        "gan.embedder_lr must not be negative": gan.embedder_lr >= 0,
        "gan.ema must be at least 0 and below 1": 0 <= gan.ema < 1,
    }


def _modern(recipe: Recipe) -> dict[str, bool]:
    modern = recipe.modern
    weights = modern.gamma, modern.gamma_end, modern.read
    unpaired = not (recipe.model.get("projection") or modern.silent)
    return {
        "modern.loss must be 'relativistic' or 'softplus'": modern.loss in ("relativistic", "softplus"),
        "modern.silent must be 0 or more and below 1": 0 <= modern.silent < 1,
        "modern.paired = false needs model.projection = false and modern.silent = 0": modern.paired
        or unpaired,
        "modern.penalty_share must be above 0 and at most 1": 0 < modern.penalty_share <= 1,
        "modern.augment must be between 0 and 1": 0 <= modern.augment <= 1,
        "modern.gamma, gamma_end and read must not be negative": min(weights) >= 0,
        "modern.read_space must not be negative": modern.read_space >= 0,
        # The reading sets in over as many iterations again, and is to be there in full at the end.
        "modern.read_from must be from 0 to 0.5": 0 <= modern.read_from <= 0.5,
        "modern.heard must be between 0 and 1": 0 <= modern.heard <= 1,
        "modern.whole must be 0 or more and below 1": 0 <= modern.whole < 1,
        "modern.plain must be between 0 and 1": 0 <= modern.plain <= 1,
        "modern.strength must be two numbers, not negative, in order": _rising(modern.strength, 0),
        "modern.soften must be two numbers from 0 to 1, in order": _rising(modern.soften, 0)
        and modern.soften[1] <= 1,
        "modern.limit must be at least 0 and below 1": 0 <= modern.limit < 1,
    }


def _run(recipe: Recipe) -> dict[str, bool]:
    run = recipe.run
    often = {k: getattr(run, k) for k in ("checkpoint_every", "grid_every", "log_every", "keep")}
    return {
        "run.precision must be 'auto', 'bf16' or 'fp32'": run.precision in ("auto", "bf16", "fp32"),
        "run.tensorboard must be 'auto', true or false": run.tensorboard in ("auto", "on", "off"),
        "run.evaluate_every must be 0 or more": run.evaluate_every >= 0,
        **{f"run.{name} must be 1 or more": count >= 1 for name, count in often.items()},
    }


def _hearing(recipe: Recipe) -> dict[str, bool]:
    """What the embedder of a face space (training/hearing.py) takes for granted."""
    if not recipe.embedder.space:
        return {}
    model = recipe.model
    return {
        "embedder.space needs architecture = 'modern'": recipe.architecture == "modern",
        "embedder.space needs model.normalise = false": not model["normalise"],
        f"embedder.space needs model.embedding = {_E}": model["embedding"] == _E,
        "embedder.hints above 0 needs model.voice_pool = 'recurrent'": recipe.embedder.hints == 0
        or model["voice_pool"] == "recurrent",
        # A line cannot be multiplied into a convolution with a rectifier behind it.
        "embedder.space needs model.embedder_norm_last = false": not model["embedder_norm_last"],
        "embedder.space needs an embedder.augment above 0": recipe.embedder.augment > 0,
        # A distorted clip at another speed would be another's voice with this one's e; `speeds` asks anew.
        "embedder.space needs embedder.augment_speed = 0": recipe.embedder.augment_speed == 0,
    }


def _space(recipe: Recipe) -> dict[str, bool]:
    """What the adversarial stage on a face space (training/space.py) takes for granted."""
    modern, gan = recipe.modern, recipe.gan
    if not modern.space:
        return {}
    return {
        "modern.space needs model.normalise = false": not recipe.model["normalise"],
        "modern.space needs modern.paired = true": modern.paired,  # every face comes with its own e
        "modern.space needs modern.silent = 0, for all faces teach": not modern.silent,
        # Its voices are simulated.
        "modern.space needs gan.embedder_lr = 0": not gan.embedder_lr,
    }


def _rising(pair: tuple, least: float = float("-inf")) -> bool:
    return least <= pair[0] <= pair[1]
