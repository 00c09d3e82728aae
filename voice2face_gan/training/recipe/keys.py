"""Which keys of a recipe have an effect, given its other keys.

A key without an effect is refused where it is set, and not kept with a run or a checkpoint. What a recipe
inherits from its base may lose its effect: it is left out then. So is what the base of `--set`, the recipe
itself, says.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import NamedTuple

from voice2face_gan.errors import RecipeError
from voice2face_gan.models.encoders.ge2e import CHANNELS
from voice2face_gan.training.recipe.schema import Recipe

Values = dict[str, object]  # "section.key", and "architecture" -> value

# What serves the generator alone, of recipes that train both.
_OF_GENERATOR = ("gan.*", "modern.*", "data.crop_frames", "data.flip", "data.hold_out_clip", "run.compile")
_OF_VOICES = ("model.mel_bins", "model.embedding", "model.voice_*", "model.embedder_norm_last")
_SIMULATED = {"model.normalise": False, "model.noise": 0.0}  # e of a face space is as it is


class Idle(NamedTuple):
    """Keys without an effect.

    Attributes:
        keys: patterns of their names.
        when: of which recipes.
        why: ends the sentence "... has no effect: ...".
        but: keys that are meant by a pattern and have an effect.
        take: what stages take for granted of such keys; the others have their defaults.
    """

    keys: tuple[str, ...]
    when: Callable[[Values], object]
    why: str
    but: tuple[str, ...] = ()
    take: Values = {}


def _distils(values: Values) -> bool:
    return bool(values["embedder.space"])


def _on_space(values: Values) -> bool:
    return bool(values["modern.space"])


def _is_modern(values: Values) -> bool:
    return values["architecture"] == "modern"


# In order: what an earlier line has set to its default, a later one sees so.
_RULES = (
    Idle(
        ("model.strength", "model.limit", "model.residual", "model.zoom"),
        lambda v: True,
        "it is found after training, or comes with the data",
    ),
    Idle(("embedder.space",), lambda v: not _is_modern(v), "it needs architecture = 'modern'"),
    Idle(
        (
            *_OF_GENERATOR,
            "model.*",
            "embedder.weight_decay",
            "embedder.crop_frames",
            "embedder.augment_speed",
        ),
        _distils,
        "with embedder.space a voice embedder is trained alone, by a teacher whose layers and pieces it has",
        but=("model.mel_bins",),
        take={**_SIMULATED, "model.voice_pool": "recurrent", "model.voice_channels": CHANNELS},
    ),
    Idle(("embedder.teacher", "embedder.speeds"), lambda v: not _distils(v), "it needs embedder.space"),
    Idle(
        ("embedder.*", *_OF_VOICES),
        _on_space,
        "with modern.space the voice embedder comes trained (--embedder)",
        but=("model.mel_bins",),
    ),
    Idle(
        ("data.crop_frames", "model.normalise", "model.noise"),
        _on_space,
        "with modern.space voices are simulated",
        take=_SIMULATED,
    ),
    Idle(("modern.paired",), _on_space, "with modern.space every face comes with its own e"),
    Idle(
        ("modern.*",),
        lambda v: not _is_modern(v),
        "it needs architecture = 'modern'",
        but=("modern.space", "modern.heard", "modern.strength", "modern.whole"),
    ),
    Idle(
        ("modern.read_space", "modern.read_from", "modern.heard", "modern.strength", "modern.whole"),
        lambda v: not _on_space(v),
        "it needs modern.space",
    ),
    Idle(
        ("embedder.augment_snr", "embedder.augment_speed"),
        lambda v: not v["embedder.augment"],
        "it needs embedder.augment above 0",
    ),
    Idle(
        ("modern.penalty_share",),
        lambda v: not (v["modern.gamma"] or v["modern.gamma_end"]),
        "it needs modern.gamma or modern.gamma_end above 0",
    ),
    Idle(("modern.read",), lambda v: not v["modern.paired"], "it needs modern.paired = true"),
    Idle(
        ("modern.read_from",),
        lambda v: not (v["modern.read_space"] or v["gan.pixel"]),
        "it needs modern.read_space or gan.pixel above 0",
    ),
    Idle(("modern.strength",), lambda v: not v["modern.heard"], "it needs modern.heard above 0"),
    Idle(
        ("model.embedder_norm_last",),
        lambda v: v.get("model.voice_pool", "mean") != "mean",
        "it needs model.voice_pool = 'mean'",
    ),
    Idle(
        ("run.grid_every",),
        lambda v: _distils(v) and v["run.tensorboard"] == "off",
        "a voice embedder makes no pictures, and run.tensorboard is off",
    ),
    Idle(("run.best",), lambda v: not v["run.evaluate_every"], "it needs run.evaluate_every above 0"),
)


def settle(name: str, values: Values, defaults: Values) -> dict[str, str]:
    """Gives keys without an effect the values that the stages take for granted.

    Args:
        name: of the recipe.
        values: all keys, of the right types; changed in place.
        defaults: of all keys.
    Returns:
        Why, for each key without an effect.
    Raises:
        RecipeError: two keys are of two kinds of recipe.
    """
    if _distils(values) and _on_space(values):
        raise RecipeError(
            f"Recipe {name}: embedder.space is of recipes for train-embedder, modern.space of recipes for "
            "train; set one of them."
        )
    idle: dict[str, str] = {}
    for rule in _RULES:
        if not rule.when(values):
            continue
        for key in values:
            if key not in rule.but and any(fnmatchcase(key, pattern) for pattern in rule.keys):
                if key not in idle or key in rule.take:
                    values[key] = rule.take.get(key, defaults[key])
                idle.setdefault(key, rule.why)
    return idle


def check_effect(name: str, idle: dict[str, str], keys) -> None:
    """
    Raises:
        RecipeError: one of the keys has no effect.
    """
    for key in keys:
        if key in idle:
            raise RecipeError(f"Recipe {name}: {key} has no effect: {idle[key]}.")


def check_command(recipe: Recipe, command: str, keys=(), embedder: bool = True) -> None:
    """Whether a command does what a recipe is for.

    Args:
        command: "train" or "train-embedder".
        keys: overridden ones.
        embedder: a trained voice embedder is given to `train`.
    Raises:
        RecipeError: it does not, or one of the keys has no effect in it.
    """
    name = recipe.name
    if command == "train":
        if recipe.embedder.space:
            raise RecipeError(
                f"Recipe {name} is for a voice embedder alone (embedder.space): v2f-gan train-embedder "
                f"--recipe {name}."
            )
        if recipe.modern.space and not embedder:
            raise RecipeError(
                f"Recipe {name} needs a voice embedder of its face space (modern.space): train one by "
                "v2f-gan train-embedder --recipe hearing, and give it with --embedder."
            )
        return
    if recipe.modern.space:
        raise RecipeError(
            f"Recipe {name} trains no voice embedder, it is given one (modern.space); take --recipe hearing."
        )
    for key in keys:
        of_generator = any(fnmatchcase(key, pattern) for pattern in _OF_GENERATOR)
        of_voices = any(fnmatchcase(key, pattern) for pattern in _OF_VOICES)
        if of_generator or key.startswith("model.") and not of_voices:
            raise RecipeError(f"--set {key} has no effect: train-embedder trains a voice embedder alone.")
    if recipe.run.evaluate_every and not recipe.run.best.startswith("eer"):
        raise RecipeError(
            f"run.best is {recipe.run.best}, no figure of a voice embedder; take eer or eer_noisy."
        )
