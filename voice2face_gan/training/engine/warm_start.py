"""What a run starts from: its records, and the nets that it was given."""

from dataclasses import fields

import numpy as np

from voice2face_gan.data.batches.sampling import check_levels
from voice2face_gan.data.reframe import reframed_store
from voice2face_gan.data.splits import held_out_clips
from voice2face_gan.data.store import Store
from voice2face_gan.errors import CheckpointError, DataError, TrainingError
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.registry import ModelConfig, build_encoder, model_config
from voice2face_gan.training.recipe.schema import Recipe
from voice2face_gan.training.run.folder import EMBEDDER_RUN, Run, read_state
from voice2face_gan.training.stages.gan_base import identities_with_both, with_encoder_of

# Settings of the nets that make no difference to the weights' shapes, or are what came of training.
_FREE = ("noise", "trunk_channels", "zoom", "rim", "residual", "strength", "limit")


def refuse_encoder_run(run: Run) -> None:
    """
    Raises:
        TrainingError: the run is one of a voice encoder alone.
    """
    if run.settings.get("command") == EMBEDDER_RUN:
        raise TrainingError(
            f"{run.folder} trains a voice encoder alone; go on with it by v2f-gan {EMBEDDER_RUN} --resume "
            f"{run.folder}, or train on it by v2f-gan train --encoder {run.folder}."
        )


def training_records(store: Store, run: Run) -> Store:
    """The records a run trains on.

    With data.hold_out_clip the voice, not the face, of the records that `held_out_clips` names is left out.

    Raises:
        DataError: none is of the gender asked for, the training split is empty, fewer than two of its people
            have both voices and faces, or the recipe reads other log-mels.
    """
    data = run.recipe.data
    records = store.of_gender(data.gender).of_split(data.split)
    if data.hold_out_clip:
        records = _without_voices(records, held_out_clips(records))
    both = identities_with_both(records)
    if len(both) < 2:
        raise DataError(
            f"{store.folder}: {len(both)} of the people to train on have both voices and faces; "
            "training needs two or more."
        )
    bins, heard = records.about["features"]["n_mels"], run.recipe.model["mel_bins"]
    if bins != heard:
        raise DataError(f"{store.folder} holds log-mels of {bins} bins, the recipe reads {heard}.")
    side, made = records.about["side"], model_config(run.recipe.architecture, run.recipe.model).side
    if side != made:
        raise DataError(f"{store.folder} holds faces of {side} pixels, the recipe makes {made}.")
    return records


def _without_voices(records: Store, which: np.ndarray) -> Store:
    part = records.select(np.ones(len(records), dtype=bool))
    for name in ("voice_offset", "voice_frames", "speech_offset", "speech_samples"):
        if getattr(part, name, None) is not None:
            setattr(part, name, np.where(which, -1, getattr(part, name)))
    return part


def as_painted(store: Store, run: Run) -> Store:
    """The store of a run, its faces enlarged to the frame in which the checkpoint that it starts from makes
    them: fine-tuning is not to teach another framing. Faces that are nearer already stay as they are, for
    nothing beyond them is known."""
    if run.settings.get("init") is None or not len(store.faces):
        return store
    zoom = load_checkpoint(run.settings["init"]).model.zoom
    return reframed_store(store, zoom) if zoom > store.zoom else store


def held_out_people(store: Store, records: Store, run: Run) -> Store:
    """Who the image grids show: validation or test people of the same gender, else training people."""
    others = store.of_gender(run.recipe.data.gender)
    for split in ("val", "test"):
        part = others.select(others.split == split)
        if identities_with_both(part):
            return part
    return records


def given_encoder(run: Run, records: Store) -> Checkpoint | None:
    """The trained voice encoder that a run was given, None where it trains its own.

    Raises:
        CheckpointError: it cannot be read, or is of a kind that the recipe's architecture has not, so that
            checkpoints with it could not be read again.
        DataError: it does not fit the data or the recipe.
    """
    given = run.settings.get("encoder") or run.settings.get("init")
    if given is None:
        return None
    checkpoint, recipe = load_checkpoint(given, need_generator=False), run.recipe
    own = with_encoder_of(model_config(recipe.architecture, recipe.model), checkpoint.model)
    here, there = (type(net).__name__ for net in (build_encoder(own), checkpoint.encoder))
    if here != there:
        raise CheckpointError(
            f"{checkpoint.folder}: its voice encoder is a {there}, where the recipe {recipe.name} "
            f"({recipe.architecture}) has a {here}; take a recipe of the architecture "
            f"{checkpoint.architecture}, or another voice encoder."
        )
    if checkpoint.features != records.about["features"]:
        raise DataError(
            f"{records.folder}: its log-mel settings differ from the voice encoder's "
            f"({checkpoint.folder}); prepare the data again with the encoder's settings."
        )
    check_levels(records, checkpoint.encoder.levels)
    if checkpoint.model.embedding != run.recipe.model["embedding"]:
        raise DataError(
            f"{checkpoint.folder} gives {checkpoint.model.embedding} numbers a voice, "
            f"the recipe expects {run.recipe.model['embedding']}."
        )
    return checkpoint


def given_start(run: Run, records: Store) -> Checkpoint | None:
    """The voice encoder that a run of an encoder starts from; None where it starts from nothing.

    Raises:
        CheckpointError: it cannot be read, or it is not the recipe's net.
        DataError: it does not fit the data.
    """
    checkpoint = given_encoder(run, records)
    if checkpoint is not None:
        ours = model_config(run.recipe.architecture, run.recipe.model)
        _check_nets(checkpoint, with_encoder_of(ours, checkpoint.model), ours, run.recipe, "choose another.")
    return checkpoint


def given_nets(run: Run) -> tuple[Checkpoint, dict] | None:
    """The checkpoint whose nets a run's GAN starts from, and the training state beside it ({} where a
    checkpoint came without, as the shipped one does); None where the nets start from nothing.

    Raises:
        CheckpointError: it cannot be read, or its nets are not those of the recipe.
    """
    given = run.settings.get("init")
    if given is None:
        return None
    checkpoint, recipe = load_checkpoint(given), run.recipe
    # The voice encoder is the checkpoint's own, whatever the recipe says of it.
    ours = with_encoder_of(model_config(recipe.architecture, recipe.model), checkpoint.model)
    advice = "leave --recipe out to take the checkpoint's own."
    _check_nets(checkpoint, checkpoint.model, ours, recipe, advice)
    return checkpoint, read_state(checkpoint.folder, "start from another checkpoint.") or {}


def _check_nets(
    checkpoint: Checkpoint, theirs: ModelConfig, ours: ModelConfig, recipe: Recipe, advice: str
) -> None:
    """
    Raises:
        CheckpointError: the checkpoint's nets are not those of the recipe.
    """
    if checkpoint.architecture != recipe.architecture:
        raise CheckpointError(
            f"{checkpoint.folder} is of the architecture {checkpoint.architecture}, the recipe "
            f"{recipe.name} of {recipe.architecture}; {advice}"
        )
    for name in (f.name for f in fields(ours)):
        there, here = getattr(theirs, name), getattr(ours, name)
        if there != here and name not in _FREE:
            raise CheckpointError(
                f"{checkpoint.folder} does not fit the recipe {recipe.name}: its model.{name} is "
                f"{_plain(there)}, the recipe's {_plain(here)}; {advice}"
            )


def start_from(stage, checkpoint: Checkpoint, state: dict) -> list[str]:
    """Gives a new GAN stage the generator of a checkpoint, and the trunk and discriminator of the training
    state beside it where they are of the same shapes. What tells identities apart starts anew: it knew other
    people.

    Returns:
        The names of the nets that were given.
    """
    weights = checkpoint.generator.state_dict()
    stage.generator.load_state_dict(weights)
    given, stage.fine_tunes = ["generator"], True
    if stage.generator_ema is not None:
        stage.generator_ema.load_state_dict(weights)
    if checkpoint.gender_probe is not None:  # of the same voice encoder, and of more speakers as a rule
        stage.probe = checkpoint.gender_probe
    for name in ("trunk", "discriminator", "heads"):
        net = getattr(stage, name, None)
        if net is None or name not in state:
            continue
        own = {k: v for k, v in net.state_dict().items() if not k.startswith("identity.")}
        if all(k in state[name] and state[name][k].shape == v.shape for k, v in own.items()):
            net.load_state_dict({k: state[name][k] for k in own}, strict=False)
            given.append(name)
    return given


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
