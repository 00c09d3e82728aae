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
from voice2face_gan.training.recipe.schema import ENCODER, Recipe

Values = dict[str, object]  # "section.key", "architecture" and "stages" -> value

# What serves the generator alone, but for _OF_VOICES.
_OF_GENERATOR = (
    "gan.*",
    "r3gan.*",
    "face_embedding.*",
    "data.crop_frames",
    "data.flip",
    "data.hold_out_clip",
    "run.compile",
    "model.*",
)
_OF_VOICES = ("model.mel_bins", "model.embedding", "model.voice_*", "model.encoder_norm_last")
_SIMULATED = {"model.normalise": False, "model.noise": 0.0}  # e of a face space is as it is


class Idle(NamedTuple):
    """Keys without an effect.

    Attributes:
        keys: patterns of their names.
        when: of which recipes.
        why: ends the sentence "... has no effect: ...".
        but: patterns of those among them that have an effect.
        take: what stages take for granted of such keys; the others have their defaults.
    """

    keys: tuple[str, ...]
    when: Callable[[Values], object]
    why: str
    but: tuple[str, ...] = ()
    take: Values = {}


def _alone(values: Values) -> bool:
    return values["stages"] == (ENCODER,)


def _distils(values: Values) -> bool:
    return bool(values["encoder.space"])


def _on_space(values: Values) -> bool:
    return bool(values["face_embedding.space"])


def _is_r3gan(values: Values) -> bool:
    return values["architecture"] == "r3gan"


# In order: what an earlier line has set to its default, a later one sees so.
_RULES = (
    Idle(
        ("model.strength", "model.limit", "model.residual", "model.zoom"),
        lambda v: True,
        "it is found after training, or comes with the data",
    ),
    Idle(
        _OF_GENERATOR,
        _alone,
        "with stages = ['encoder'] a voice encoder is trained alone",
        but=_OF_VOICES,
    ),
    Idle(("encoder.space",), lambda v: not _is_r3gan(v), "it needs architecture = 'r3gan'"),
    Idle(("encoder.space",), lambda v: not _alone(v), "it needs stages = ['encoder']"),
    Idle(
        (
            "model.*",
            "encoder.weight_decay",
            "encoder.crop_frames",
            "encoder.augment_speed",
        ),
        _distils,
        "with encoder.space a voice encoder is trained by a teacher whose layers and pieces it has",
        but=("model.mel_bins",),
        take={**_SIMULATED, "model.voice_pool": "recurrent", "model.voice_channels": CHANNELS},
    ),
    Idle(("encoder.teacher", "encoder.speeds"), lambda v: not _distils(v), "it needs encoder.space"),
    Idle(
        ("encoder.*", *_OF_VOICES),
        _on_space,
        "with face_embedding.space the voice encoder comes trained (--encoder)",
        but=("model.mel_bins",),
    ),
    Idle(
        ("data.crop_frames", "model.normalise", "model.noise"),
        _on_space,
        "with face_embedding.space voices are simulated",
        take=_SIMULATED,
    ),
    Idle(("r3gan.same_identity",), _on_space, "with face_embedding.space every face comes with its own e"),
    Idle(
        ("r3gan.*",),
        lambda v: not _is_r3gan(v),
        "it needs architecture = 'r3gan'",
    ),
    Idle(
        (
            "face_embedding.identity_loss",
            "face_embedding.identity_loss_from",
            "face_embedding.simulated_voices",
            "face_embedding.strength_range",
            "face_embedding.fully_visible",
        ),
        lambda v: not _on_space(v),
        "it needs face_embedding.space",
    ),
    Idle(
        ("face_embedding.identity_loss", "face_embedding.identity_loss_from"),
        lambda v: not _is_r3gan(v),
        "it needs architecture = 'r3gan'",
    ),
    Idle(
        ("encoder.augment_snr", "encoder.augment_speed"),
        lambda v: not v["encoder.augment"],
        "it needs encoder.augment above 0",
    ),
    Idle(
        ("r3gan.penalty_share",),
        lambda v: not (v["r3gan.gamma"] or v["r3gan.gamma_end"]),
        "it needs r3gan.gamma or r3gan.gamma_end above 0",
    ),
    Idle(
        ("r3gan.embedding_loss",),
        lambda v: not v["r3gan.same_identity"],
        "it needs r3gan.same_identity = true",
    ),
    Idle(
        ("face_embedding.identity_loss_from",),
        lambda v: not (v["face_embedding.identity_loss"] or v["gan.l1"]),
        "it needs face_embedding.identity_loss or gan.l1 above 0",
    ),
    Idle(
        ("face_embedding.strength_range",),
        lambda v: not v["face_embedding.simulated_voices"],
        "it needs face_embedding.simulated_voices above 0",
    ),
    Idle(
        ("model.encoder_norm_last",),
        lambda v: v.get("model.voice_pool", "mean") != "mean",
        "it needs model.voice_pool = 'mean'",
    ),
    Idle(
        ("run.grid_every",),
        lambda v: _alone(v) and v["run.tensorboard"] == "off",
        "a voice encoder makes no images, and run.tensorboard is off",
    ),
    Idle(("run.best",), lambda v: not v["run.evaluate_every"], "it needs run.evaluate_every above 0"),
)


def settle(values: Values, defaults: Values) -> dict[str, str]:
    """Gives keys without an effect the values that the stages take for granted.

    Args:
        values: all keys, of the right types; changed in place.
        defaults: of all keys.
    Returns:
        Why, for each key without an effect.
    """
    idle: dict[str, str] = {}
    for rule in _RULES:
        if not rule.when(values):
            continue
        for key in values:
            if _matches(key, rule.keys) and not _matches(key, rule.but):
                if key not in idle or key in rule.take:
                    values[key] = rule.take.get(key, defaults[key])
                idle.setdefault(key, rule.why)
    return idle


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def check_effect(name: str, idle: dict[str, str], keys) -> None:
    """
    Raises:
        RecipeError: one of the keys has no effect.
    """
    for key in keys:
        if key in idle:
            raise RecipeError(f"Recipe {name}: {key} has no effect: {idle[key]}.")


def check_encoder(recipe: Recipe, given: bool) -> None:
    """Whether a recipe fits to a voice encoder's being given.

    Raises:
        RecipeError: it trains one and nothing else, or it needs one and trains none.
    """
    if recipe.encoder_alone and given:
        raise RecipeError(
            f"Recipe {recipe.name} trains a voice encoder alone, so that --encoder has no effect; go on "
            "from a trained one with --init."
        )
    if recipe.face_embedding.space and not given:
        raise RecipeError(
            f"Recipe {recipe.name} needs a trained voice encoder (face_embedding.space): give one with "
            "--encoder, such as --encoder default, or one that v2f-gan train --recipe default-encoder made."
        )
