"""One checkpoint of a voice encoder and a generator that were trained apart, on one face space."""

from __future__ import annotations

from dataclasses import replace

import torch

from voice2face_gan.data.face_embedding import read_face_embedding
from voice2face_gan.data.store import Store
from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import soft_clip_limits
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.probes.gender import gender_probe
from voice2face_gan.training.stages.face_embedding import KEPT

BORDER = 1  # pixels at each edge that repeat the next ones: the generator's outermost are the worst


def compose(
    encoder: Checkpoint,
    generator: Checkpoint,
    paired: Store,
    faces: Store,
    info: dict | None = None,
    head_gain: float | None = None,
) -> Checkpoint:
    """A checkpoint of both networks, with what it needs besides: gender probe, limits of e (the encoder's
    where it was composed before), the encoder's warnings and face space. Its strength is 1
    (`evaluation.strength.choose_strength` finds a better one).

    Args:
        encoder: of a voice encoder that predicts e of a face space (recipe `default-encoder`), or a composed
            one, such as the default.
        generator: trained on that space (recipe `r3gan-face-embedding`).
        paired: voices and faces; the gender probe is fitted on its training people.
        faces: what the generator was trained on, read into the space; the limits are taken from the training
            people's faces.
        info: further entries of the checkpoint's config, such as its licence.
        head_gain: of a face decoder (FaceDecoderConfig); None for its own.
    Raises:
        CheckpointError: the encoder keeps no face space, the generator takes no e of one, or head_gain is
            given to one without such a factor.
        DataError: the faces were not read into a space.
    """
    for name, part in (("encoder", encoder), ("generator", generator)):
        if "recipe" not in part.info:
            raise CheckpointError(f"{part.folder}: the {name}'s checkpoint does not say its recipe.")
    if not encoder.face_space:
        raise CheckpointError(
            f"{encoder.folder}: its voice encoder keeps no face space; train one with "
            "v2f-gan train --recipe default-encoder."
        )
    if "distillation" not in encoder.info:
        raise CheckpointError(
            f"{encoder.folder}: its voice encoder is not of the recipe default-encoder; a run of another "
            "recipe has voice encoder and generator in one checkpoint already."
        )
    config, controls = generator.generator_config, encoder.controls
    size = encoder.encoder_config.embedding
    if config is None or config.embedding != size:
        raise CheckpointError(
            f"{generator.folder} has no generator that takes the {size} numbers of the voice encoder's e."
        )
    if generator.controls.normalise_embedding != controls.normalise_embedding:
        raise CheckpointError(
            f"{generator.folder}: its generator was trained on e of length 1, not on a face space; train one "
            "with v2f-gan train --recipe r3gan-face-embedding."
        )
    if "replicate_border" in config.outside_weights:
        config = replace(config, replicate_border=BORDER)
    if head_gain is not None:
        if "head_gain" not in config.outside_weights:
            raise CheckpointError(f"{generator.folder}: no face decoder, so that it has no head gain.")
        config = replace(config, head_gain=head_gain)
    net = build_generator(config).eval().requires_grad_(False)
    net.load_state_dict(generator.generator.state_dict())
    soft_clip = controls.soft_clip or e_limits(faces)
    controls = replace(controls, strength=1.0, soft_clip=soft_clip)
    probe = gender_probe(paired.of_split("train"), encoder.encoder, controls, torch.device("cpu"))
    kept, made = encoder.info, generator.info  # where these are composed themselves, of both networks
    recipe = _with_space(kept.get("encoder_recipe", kept["recipe"]), "encoder", kept["face_space"]["name"])
    about = {
        "recipe": _with_space(made["recipe"], "face_embedding", KEPT),
        "encoder_recipe": recipe,
        "distillation": kept["distillation"],
        "face_space": kept["face_space"],
        "iterations": {
            "encoder": kept.get("iteration") or kept["iterations"]["encoder"],
            "gan": made.get("iteration") or made["iterations"]["gan"],
        },
        "gender": made["gender"],
        "data": {
            "generator": made["data"].get("generator", made["data"]),
            "encoder": kept["data"].get("encoder", kept["data"]),
        },
        **{k: kept[k] for k in ("encoder_made_by",) if k in kept},
        **(info or {}),
    }
    return replace(
        encoder, generator_config=config, generator=net, controls=controls, gender_probe=probe, info=about
    )


def e_limits(faces: Store) -> tuple[float, ...]:
    """Limits of the soft clip (`soft_clip_limits`) by the training faces of stores that were read into a
    space.

    Raises:
        DataError: the faces were not read into a face space.
    """
    train = faces.of_split("train")
    train = train.select(train.has_face)
    e = read_face_embedding(train)[0][train.face_index]
    return soft_clip_limits(e)


def _with_space(recipe: dict, section: str, space: str) -> dict:
    """A recipe with another name of its face space than the path on the machine that trained."""
    return {**recipe, section: {**recipe[section], "space": space}}
