"""What a recipe may hold: its keys, the types of their values, their ranges. Each error is one sentence."""

from __future__ import annotations

from collections.abc import Iterator

from voice2face_gan.data.records import GENDERS
from voice2face_gan.errors import RecipeError
from voice2face_gan.overrides import nearest, typed
from voice2face_gan.training.recipe.schema import PAIRINGS, PARTS, Recipe
from voice2face_gan.training.run.tracked_metrics import MEASURES

_ANY_LENGTH = ("model", "encoder.speeds")  # sections and keys whose lists may be longer or shorter


def check_keys(name: str, tree: dict, known, prefix: str) -> None:
    """
    Raises:
        RecipeError: it is no section, or has an unknown key; the nearest known one is suggested.
    """
    if not isinstance(tree, dict):
        raise RecipeError(f"Recipe {name}: '{prefix.rstrip('.')}' must be a section with keys.")
    for key in tree:
        if key not in known:
            raise RecipeError(f"Recipe {name}: unknown key '{prefix}{key}'; {nearest(key, known, prefix)}")


def checked(name: str, key: str, value, default):
    """`value` in the type of the key's default (overrides.py); true and false pass as "on" and "off" where
    the default is "auto".

    Raises:
        RecipeError: it is of another type, or a list of another length.
    """
    if default == "auto" and type(value) is bool:
        return "on" if value else "off"
    try:
        return typed(value, default, key in _ANY_LENGTH or key.split(".")[0] in _ANY_LENGTH)
    except ValueError as error:
        raise RecipeError(f"Recipe {name}: '{key}' {error}.") from error


def check_values(recipe: Recipe) -> None:
    """
    Raises:
        RecipeError: a value is outside its range, or does not go with another.
    """
    best = recipe.run.best
    if best not in MEASURES:
        hint = nearest(best, MEASURES)
        raise RecipeError(f"Recipe {recipe.name}: run.best names no figure, '{best}'; {hint}")
    for part in (
        _data,
        _no_encoder,
        _encoder,
        _gan,
        _r3gan,
        _face_embedding,
        _face_decoder,
        _appearance_model,
        _speech2face,
        _run,
    ):
        for sentence, holds in part(recipe):
            if not holds:
                raise RecipeError(f"Recipe {recipe.name}: {sentence}.")


# Each yields sentences, and whether they hold; a later one is only asked for where the earlier hold.
_Checks = Iterator[tuple[str, bool]]


def _data(recipe: Recipe) -> _Checks:
    data = recipe.data
    yield "data.gender must be 'female', 'male' or 'all'", data.gender in (*GENDERS, "all")
    yield "data.split must be 'train' or 'all'", data.split in ("train", "all")
    yield "data.crop_frames must be two numbers, 1 or more, in order", _rising(data.crop_frames, 1)


def _no_encoder(recipe: Recipe) -> _Checks:
    decodes = recipe.model.generator.type == "face_decoder" and bool(recipe.face_embedding.space)
    yield (
        "model.encoder.type = 'none' needs model.generator.type = 'face_decoder' and face_embedding.space",
        recipe.model.encoder.type != "none" or decodes and not recipe.encoder_alone,
    )


def _encoder(recipe: Recipe) -> _Checks:
    encoder, speeds = recipe.encoder, recipe.encoder.speeds
    yield "encoder.crop_frames must be two numbers, 1 or more, in order", _rising(encoder.crop_frames, 1)
    yield "encoder.iterations must be 1 or more", encoder.iterations >= 1
    yield "encoder.batch must be 2 or more", encoder.batch >= 2  # batch normalisation needs two
    yield "encoder.lr must be above 0", encoder.lr > 0
    yield "encoder.betas must be at least 0 and below 1", all(0 <= b < 1 for b in encoder.betas)
    yield "encoder.weight_decay must not be negative", encoder.weight_decay >= 0
    yield "encoder.augment must be between 0 and 1", 0 <= encoder.augment <= 1
    yield "encoder.augment_snr must be two numbers, in order", _rising(encoder.augment_snr)
    yield "encoder.augment_speed must be at least 0 and below 0.5", 0 <= encoder.augment_speed < 0.5
    yield "encoder.speeds must be one or more factors", len(speeds) > 0
    yield (
        "encoder.speeds must be from 0.5 to 2, in order",
        all(0.5 <= speed <= 2 for speed in speeds) and list(speeds) == sorted(speeds),
    )


def _gan(recipe: Recipe) -> _Checks:
    gan = recipe.gan
    yield "gan.iterations must be 1 or more", gan.iterations >= 1
    yield "gan.batch must be 2 or more", gan.batch >= 2
    yield "gan.lr must be above 0", gan.lr > 0
    yield "gan.d_lr_factor must be above 0", gan.d_lr_factor > 0
    yield "gan.betas must be at least 0 and below 1", all(0 <= b < 1 for b in gan.betas)
    for name in ("d_identity", "g_adversarial", "g_identity", "l1"):
        yield f"gan.{name} must not be negative", getattr(gan, name) >= 0
    yield "gan.lr_decay must be between 0 and 1", 0 <= gan.lr_decay <= 1
    yield "gan.ema_decay must be at least 0 and below 1", 0 <= gan.ema_decay < 1


def _r3gan(recipe: Recipe) -> _Checks:
    r3gan = recipe.r3gan
    yield "r3gan.loss must be 'relativistic' or 'softplus'", r3gan.loss in ("relativistic", "softplus")
    yield (
        "r3gan.same_identity = false needs model.generator.projection = false",
        r3gan.same_identity
        or recipe.model.generator.type != "r3gan"
        or not recipe.model.generator.projection,
    )
    yield "r3gan.penalty_share must be above 0 and at most 1", 0 < r3gan.penalty_share <= 1
    yield "r3gan.augment must be between 0 and 1", 0 <= r3gan.augment <= 1
    for name in ("gamma", "gamma_end", "embedding_loss"):
        yield f"r3gan.{name} must not be negative", getattr(r3gan, name) >= 0


def _face_embedding(recipe: Recipe) -> _Checks:
    face_embedding = recipe.face_embedding
    yield "face_embedding.identity_loss must not be negative", face_embedding.identity_loss >= 0
    # The reading sets in over as many iterations again, and is to be there in full at the end.
    yield (
        "face_embedding.identity_loss_from must be from 0 to 0.5",
        0 <= face_embedding.identity_loss_from <= 0.5,
    )
    yield "face_embedding.perceptual_loss must not be negative", face_embedding.perceptual_loss >= 0
    for name in ("l1_left", "simulated_l1"):
        yield f"face_embedding.{name} must be between 0 and 1", 0 <= getattr(face_embedding, name) <= 1
    yield "face_embedding.simulated_voices must be between 0 and 1", 0 <= face_embedding.simulated_voices <= 1
    yield "face_embedding.fully_visible must be 0 or more and below 1", 0 <= face_embedding.fully_visible < 1
    yield (
        "face_embedding.strength_range must be two numbers, not negative, in order",
        _rising(face_embedding.strength_range, 0),
    )


def _face_decoder(recipe: Recipe) -> _Checks:
    for name in ("texture_loss", "landmark_loss", "embedding_loss"):
        yield f"face_decoder.{name} must not be negative", getattr(recipe.face_decoder, name) >= 0
    share = recipe.face_decoder.embedding_share
    yield "face_decoder.embedding_share must be above 0 and at most 1", 0 < share <= 1


def _appearance_model(recipe: Recipe) -> _Checks:
    own = recipe.appearance_model
    weights = ("embedding_loss", "attribute_loss", "image_loss", "fine_loss")
    for name in ("feature_matching", "coarse_loss", *weights):
        yield f"appearance_model.{name} must not be negative", getattr(own, name) >= 0
    yield "appearance_model.flow_iterations must be 1 or more", own.flow_iterations >= 1
    share = own.embedding_share
    yield "appearance_model.embedding_share must be above 0 and at most 1", 0 < share <= 1
    yield (
        "appearance_model.window must be a multiple of 32 pixels, such as 64",
        own.window > 0 and own.window % 32 == 0,
    )
    models = recipe.model.generator.type == "appearance_model" and not recipe.encoder_alone
    yield f"appearance_model.part must be {', '.join(PARTS)}", own.part in PARTS
    details = models and own.part in ("detail", "distillation")
    distils = models and own.part == "distillation"
    yield (
        "model.generator.type = 'appearance_model' needs gan.g_adversarial above 0",
        not models or own.part != "refiner" or recipe.gan.g_adversarial > 0,
    )
    yield (
        "appearance_model.part = 'calibration' needs appearance_model.embedding_loss above 0",
        not models or own.part != "calibration" or own.embedding_loss > 0,
    )
    yield (
        f"appearance_model.part = '{own.part}' needs model.generator.detail_channels",
        not details or bool(recipe.model.generator.detail_channels),
    )
    yield (
        "appearance_model.part = 'distillation' needs model.generator.detail_steps of 1 or 2, and "
        "detail_guidance of 1",
        not distils
        or (recipe.model.generator.detail_steps <= 2 and recipe.model.generator.detail_guidance == 1),
    )
    yield "appearance_model.portraits must be above 0 and at most 1", 0 < own.portraits <= 1
    yield "appearance_model.head_weight must be above 0", own.head_weight > 0
    yield "appearance_model.teacher_steps must be 1 or more", own.teacher_steps >= 1
    yield "appearance_model.teacher_guidance must be 1 or more", own.teacher_guidance >= 1
    yield (
        "model.generator.type = 'appearance_model' needs face_embedding.space",
        not models or bool(recipe.face_embedding.space),
    )
    side = recipe.model.generator.side
    yield (
        "model.generator.side of an appearance model that is trained must be a multiple of 32",
        not models or side % 32 == 0,
    )


def _speech2face(recipe: Recipe) -> _Checks:
    own = recipe.speech2face
    yield f"speech2face.pairing must be {', '.join(PAIRINGS)} or empty", own.pairing in ("", *PAIRINGS)
    for name in ("layer_loss", "feature_loss", "classes_loss", "head_iterations"):
        yield f"speech2face.{name} must not be negative", getattr(own, name) >= 0
    for name in ("temperature", "head_lr"):
        yield f"speech2face.{name} must be above 0", getattr(own, name) > 0
    yield "speech2face.lr_decay must be above 0 and at most 1", 0 < own.lr_decay <= 1
    yield "speech2face.lr_decay_every must be 1 or more", own.lr_decay_every >= 1


def _run(recipe: Recipe) -> _Checks:
    run = recipe.run
    yield "run.precision must be 'auto', 'bf16' or 'fp32'", run.precision in ("auto", "bf16", "fp32")
    yield "run.tensorboard must be 'auto', true or false", run.tensorboard in ("auto", "on", "off")
    yield "run.evaluate_every must be 0 or more", run.evaluate_every >= 0
    for name in ("checkpoint_every", "grid_every", "log_every", "keep"):
        yield f"run.{name} must be 1 or more", getattr(run, name) >= 1
    of_voices = MEASURES[run.best].metric == "equal_error_rate"
    yield (
        f"run.best is {run.best}, no figure of a voice encoder; take eer or eer_noisy",
        of_voices or not recipe.encoder_alone or recipe.pairs or not run.evaluate_every,
    )


def _rising(pair: tuple, least: float = float("-inf")) -> bool:
    return least <= pair[0] <= pair[1]
