"""Which keys of a recipe have an effect, given its other keys.

A key without an effect is refused where it is set, and not kept with a run or a checkpoint. A key that a
recipe inherits from its base may lose its effect: it is left out then. So is a key of the recipe itself where
`--set` takes its effect. The exception is encoder.space: without it a distillation would become another kind
of training, so it is refused wherever it has no effect and is not empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from voice2face_gan.errors import RecipeError
from voice2face_gan.models.classifier_space import CLASSIFIER
from voice2face_gan.training.recipe.schema import ENCODER, Recipe

Values = dict[str, object]  # "stages", "section.key" or "model.table.key" -> value

TYPES = ("model.encoder.type", "model.generator.type")
_SPACE = "encoder.space"
# Keys of the generator alone, but for _OF_VOICES.
_OF_GENERATOR = (
    "gan.*",
    "r3gan.*",
    "face_embedding.*",
    "face_decoder.*",
    "appearance_model.*",
    "data.crop_frames",
    "data.flip",
    "data.hold_out_clip",
    "run.compile",
    "model.*",
)
_OF_VOICES = ("model.encoder.*",)
# What an appearance model's parts begin with that are not fitted from nothing.
BEGINS = {
    "distillation": "a run of the recipe face-detail, face-detail-portraits or face-detail-distilled",
    "calibration": "default, or a run of the recipe face-detail-one-step,",
}
_READING = tuple(f"face_embedding.{name}" for name in ("perceptual_loss", "l1_left", "simulated_l1"))
# e of a face space is as it is
_SIMULATED = {"model.controls.normalise_embedding": False, "model.controls.embedding_noise_std": 0.0}


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


def _pairs(values: Values) -> bool:
    return bool(values["speech2face.pairing"])


def _fits_space(values: Values) -> bool:
    return values["face_embedding.space"] == CLASSIFIER


def _is_fitted(values: Values) -> bool:
    return values["model.encoder.type"] == "statistics"


def _without_voices(values: Values) -> bool:
    return values["model.encoder.type"] == "none"


def _is_r3gan(values: Values) -> bool:
    return values["model.generator.type"] == "r3gan"


def _decodes(values: Values) -> bool:
    return values["model.generator.type"] == "face_decoder"


def _part(values: Values) -> str:
    """What is trained of an appearance model; empty for other generators."""
    return values["appearance_model.part"] if _models_appearance(values) else ""


def _models_appearance(values: Values) -> bool:
    return values["model.generator.type"] == "appearance_model"


# In order: what an earlier line has set to its default, a later one sees so.
_RULES = (
    Idle(
        (
            "model.controls.strength",
            "model.controls.soft_clip",
            "model.controls.residual_std",
            "model.generator.face_scale",
            "model.generator.embedding",
        ),
        lambda v: True,
        "it is found after training, or comes with the data or the voice encoder",
    ),
    Idle(
        ("encoder.space",),
        lambda v: v["model.encoder.type"] != "lstm",
        "it needs model.encoder.type = 'lstm' (the distillation is layer by layer); with encoder.space = '' "
        "another encoder is trained by speaker classification",
    ),
    Idle(
        _OF_GENERATOR,
        _alone,
        "with stages = ['encoder'] a voice encoder is trained alone",
        but=_OF_VOICES,
    ),
    Idle(("encoder.space",), lambda v: not _alone(v), "it needs stages = ['encoder']"),
    Idle(("speech2face.*",), lambda v: not _alone(v), "it needs stages = ['encoder']"),
    Idle(("speech2face.*",), _distils, "with encoder.space a teacher trains the voice encoder"),
    Idle(("speech2face.*",), _is_fitted, "an encoder of statistics is fitted in closed form"),
    Idle(
        ("speech2face.*",),
        lambda v: not _pairs(v),
        "it needs speech2face.pairing",
        but=("speech2face.pairing",),
    ),
    Idle(("model.encoder.embedding",), _pairs, "e is as large as the face decoder of --init takes it"),
    Idle(
        ("speech2face.pretrained", "speech2face.head_iterations"),
        lambda v: v["model.encoder.type"] != "ast",
        "it needs model.encoder.type = 'ast'",
    ),
    Idle(
        ("model.encoder.ast",),
        lambda v: v["speech2face.pretrained"],
        "speech2face.pretrained brings the AST's settings",
    ),
    Idle(
        ("speech2face.head_lr",),
        lambda v: not v["speech2face.head_iterations"],
        "it needs speech2face.head_iterations above 0",
    ),
    Idle(
        ("speech2face.temperature",),
        lambda v: not v["speech2face.classes_loss"],
        "it needs speech2face.classes_loss above 0",
    ),
    Idle(
        ("speech2face.lr_decay_every",),
        lambda v: v["speech2face.lr_decay"] == 1,
        "it needs speech2face.lr_decay below 1",
    ),
    Idle(
        (
            "model.*",
            "encoder.weight_decay",
            "encoder.crop_frames",
            "encoder.augment_speed",
        ),
        _distils,
        "with encoder.space a voice encoder is trained by a teacher whose layers and pieces it has",
        but=("model.encoder.type", "model.encoder.mel_bins"),
        take=_SIMULATED,
    ),
    Idle(("model.encoder.embedding",), _is_fitted, "e of a face space has 64 numbers"),
    Idle(
        ("encoder.*", "model.controls.*"),
        _is_fitted,
        "an encoder of statistics is fitted in closed form, to e as it is",
        take=_SIMULATED,
    ),
    Idle(("encoder.teacher", "encoder.speeds"), lambda v: not _distils(v), "it needs encoder.space"),
    Idle(
        ("encoder.*", *_OF_VOICES),
        lambda v: _on_space(v) and not _fits_space(v) and not _without_voices(v),
        "with face_embedding.space the voice encoder comes trained (--encoder)",
    ),
    Idle(
        ("encoder.*", "model.encoder.embedding", "data.hold_out_clip", "run.evaluate_every", "run.best"),
        _without_voices,
        "there is no voice encoder (model.encoder.type = 'none'), and e has the size of the face space",
    ),
    Idle(
        (
            "face_embedding.simulated_voices",
            "face_embedding.simulated_l1",
            "face_embedding.strength_range",
        ),
        _without_voices,
        "voices are simulated as a voice encoder predicts e, and none is given (--encoder)",
        take={"face_embedding.simulated_voices": 0.0},
    ),
    Idle(
        ("data.crop_frames", *_SIMULATED),
        _on_space,
        "with face_embedding.space voices are simulated",
        take=_SIMULATED,
    ),
    Idle(("r3gan.same_identity",), _on_space, "with face_embedding.space every face comes with its own e"),
    Idle(
        ("r3gan.*",),
        lambda v: not _is_r3gan(v) and not _models_appearance(v),
        "it needs model.generator.type = 'r3gan' or 'appearance_model'",
    ),
    Idle(
        ("r3gan.embedding_loss", "r3gan.same_identity", "gan.d_identity", "gan.g_identity"),
        _models_appearance,
        "an appearance model's discriminator has no such head",
        take={"r3gan.embedding_loss": 0.0, "gan.d_identity": 0.0, "gan.g_identity": 0.0},
    ),
    Idle(
        (
            "gan.g_adversarial",
            "gan.d_*",
            "gan.l1",
            "r3gan.*",
            *(f"appearance_model.{name}" for name in ("feature_matching", "coarse_loss", "window")),
            "appearance_model.embedding_share",
        ),
        lambda v: _part(v) not in ("", "refiner"),
        "of an appearance model only the refiner learns against a discriminator",
        take={
            "gan.g_adversarial": 0.0,
            "gan.d_identity": 0.0,
            "gan.l1": 0.0,
            "appearance_model.feature_matching": 0.0,
        },
    ),
    Idle(
        ("appearance_model.embedding_loss",),
        lambda v: _part(v) in ("detail", "distillation"),
        "the diffusion of an appearance model has one loss",
        take={"appearance_model.embedding_loss": 0.0},
    ),
    Idle(
        tuple(f"appearance_model.{name}_loss" for name in ("attribute", "image", "fine")),
        lambda v: _part(v) not in ("", "calibration"),
        "it needs appearance_model.part = 'calibration'",
    ),
    Idle(
        ("face_embedding.simulated_voices",),
        lambda v: _part(v) == "detail",
        "with appearance_model.part = 'detail' faces are trained on by themselves",
        take={"face_embedding.simulated_voices": 0.0},
    ),
    Idle(
        ("appearance_model.decoder", "appearance_model.flow_iterations"),
        lambda v: _part(v) == "calibration",
        "a model that is calibrated is fitted already",
    ),
    Idle(
        ("face_embedding.simulated_voices", "face_embedding.fully_visible", "data.flip"),
        lambda v: _part(v) == "calibration",
        "with appearance_model.part = 'calibration' e is that of the data's voices",
        take={"face_embedding.simulated_voices": 0.0},
    ),
    Idle(
        ("appearance_model.portraits",),
        lambda v: _part(v) in ("refiner", "calibration"),
        "only a diffusion learns from portraits",
    ),
    Idle(
        ("appearance_model.head_weight",),
        lambda v: _part(v) not in ("", "detail"),
        "it needs appearance_model.part = 'detail'",
    ),
    Idle(
        ("appearance_model.teacher_*",),
        lambda v: _part(v) not in ("", "distillation"),
        "it needs appearance_model.part = 'distillation'",
    ),
    Idle(("run.compile",), _models_appearance, "the networks of an appearance model are not compiled"),
    Idle(
        ("appearance_model.coarse_loss",),
        lambda v: _models_appearance(v) and not v["face_embedding.simulated_voices"],
        "it needs face_embedding.simulated_voices above 0",
    ),
    Idle(
        ("gan.l1", "appearance_model.feature_matching"),
        lambda v: _models_appearance(v) and v["face_embedding.simulated_voices"] == 1,
        "it needs face_embedding.simulated_voices below 1",
        take={"gan.l1": 0.0, "appearance_model.feature_matching": 0.0},
    ),
    Idle(
        ("appearance_model.*",),
        lambda v: not _models_appearance(v),
        "it needs model.generator.type = 'appearance_model'",
    ),
    Idle(
        ("appearance_model.embedding_share",),
        lambda v: _models_appearance(v) and not v["appearance_model.embedding_loss"],
        "it needs appearance_model.embedding_loss",
    ),
    Idle(
        ("face_decoder.*",),
        lambda v: not _decodes(v),
        "it needs model.generator.type = 'face_decoder'",
    ),
    Idle(
        ("face_decoder.embedding_share",),
        lambda v: _decodes(v) and not v["face_decoder.embedding_loss"],
        "it needs face_decoder.embedding_loss",
    ),
    Idle(
        ("gan.d_*", "gan.g_*", "gan.l1", "run.compile"),
        _decodes,
        "a face decoder has no discriminator, and its losses are those of [face_decoder]",
        take={"gan.d_identity": 0.0, "gan.g_identity": 0.0, "gan.g_adversarial": 0.0, "gan.l1": 0.0},
    ),
    Idle(
        (
            "face_embedding.identity_loss",
            "face_embedding.identity_loss_from",
            "face_embedding.simulated_voices",
            "face_embedding.strength_range",
            "face_embedding.fully_visible",
            *_READING,
        ),
        lambda v: not _on_space(v),
        "it needs face_embedding.space",
    ),
    Idle(
        ("face_embedding.identity_loss", "face_embedding.identity_loss_from", *_READING),
        lambda v: not _is_r3gan(v),
        "it needs model.generator.type = 'r3gan'",
        but=("face_embedding.simulated_l1",),
    ),
    Idle(
        ("face_embedding.simulated_l1",),
        lambda v: not _is_r3gan(v) and not _decodes(v),
        "it needs model.generator.type = 'r3gan' or 'face_decoder'",
    ),
    Idle(
        ("face_embedding.perceptual_loss",),
        lambda v: not _fits_space(v),
        "it needs face_embedding.space = 'classifier'",
    ),
    Idle(
        ("gan.d_identity", "gan.g_identity", "gan.d_lr_factor", "r3gan.*"),
        lambda v: _is_r3gan(v) and not v["gan.g_adversarial"],
        "it needs gan.g_adversarial above 0",
        take={"gan.d_identity": 0.0, "gan.g_identity": 0.0, "r3gan.embedding_loss": 0.0},
    ),
    Idle(("face_embedding.l1_left",), lambda v: not v["gan.l1"], "it needs gan.l1 above 0"),
    Idle(
        ("face_embedding.simulated_l1",),
        lambda v: (
            not v["face_embedding.simulated_voices"]
            or not (v["gan.l1"] or v["face_embedding.perceptual_loss"] or _decodes(v))
        ),
        "it needs simulated voices, and gan.l1 or face_embedding.perceptual_loss above 0",
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
        lambda v: (
            not any(
                v[key] for key in ("face_embedding.identity_loss", "face_embedding.perceptual_loss", "gan.l1")
            )
        ),
        "it needs face_embedding.identity_loss, face_embedding.perceptual_loss or gan.l1 above 0",
    ),
    Idle(
        ("face_embedding.strength_range",),
        lambda v: not v["face_embedding.simulated_voices"] and _part(v) != "calibration",
        "it needs face_embedding.simulated_voices above 0",
    ),
    Idle(
        ("run.grid_every",),
        lambda v: _alone(v) and not _pairs(v) and v["run.tensorboard"] == "off",
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
                # A type says which other keys there are: without an effect it stays as it is.
                if (key not in idle or key in rule.take) and key not in TYPES:
                    values[key] = rule.take.get(key, defaults[key])
                idle.setdefault(key, rule.why)
    return idle


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def with_effect(values: Values, keys: Iterable[str]) -> list[str]:
    """Keys that must have an effect: those set, and encoder.space where it is not empty.

    Args:
        values: all keys, before `settle`.
        keys: those that a recipe's file or an override sets.
    """
    kept = [key for key in keys if key != _SPACE or values[_SPACE]]
    return [*kept, _SPACE] if values[_SPACE] and _SPACE not in kept else kept


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
    if recipe.model.encoder.type == "none" and given:
        raise RecipeError(
            f"Recipe {recipe.name} has no voice encoder (model.encoder.type = 'none'), so that --encoder has "
            "no effect."
        )
    if recipe.model.encoder.type == "none":
        return
    if recipe.face_embedding.space == CLASSIFIER and not given:
        if recipe.model.encoder.type != "statistics":
            raise RecipeError(
                f"Recipe {recipe.name}: face_embedding.space = 'classifier' needs model.encoder.type = "
                "'statistics', whose stage fits that space, or a voice encoder of it (--encoder)."
            )
        return
    if recipe.face_embedding.space and not given:
        models = recipe.model.generator.type == "appearance_model"
        begins = BEGINS.get(recipe.appearance_model.part) if models else None
        if begins:
            raise RecipeError(
                f"Recipe {recipe.name} goes on with a trained model: give {begins} with --init."
            )
        decodes = recipe.model.generator.type == "face_decoder"
        alone = (
            " Or name a face space or a face reader with --set face_embedding.space=FOLDER."
            if decodes
            else ""
        )
        raise RecipeError(
            f"Recipe {recipe.name} needs a trained voice encoder (face_embedding.space): give one with "
            "--encoder, such as --encoder default, or one that v2f-gan train --recipe default-encoder made."
            + alone
        )
