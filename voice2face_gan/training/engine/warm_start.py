"""What a run starts from: its records, and the nets that it was given."""

from dataclasses import replace

import numpy as np

from voice2face_gan.data.batches.people import identities_with_both, identities_with_faces
from voice2face_gan.data.batches.sampling import check_takes
from voice2face_gan.data.reframe import reframed_store
from voice2face_gan.data.splits import held_out_clips
from voice2face_gan.data.store import Store
from voice2face_gan.errors import CheckpointError, DataError
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.classifier_space import CLASSIFIER
from voice2face_gan.models.encoders.ge2e import GE2EEncoder
from voice2face_gan.models.encoders.none import NoEncoder, NoEncoderConfig
from voice2face_gan.models.face_embedding_space import FaceSpace
from voice2face_gan.models.registry import (
    ENCODERS,
    EncoderConfig,
    GeneratorConfig,
    check_takes_voices,
    learns_landmarks,
    takes_voices,
)
from voice2face_gan.training.recipe.keys import BEGINS
from voice2face_gan.training.recipe.schema import Recipe
from voice2face_gan.training.run.folder import Run, read_state
from voice2face_gan.training.stages.face_decoder import check_landmarks
from voice2face_gan.training.stages.face_embedding import KEPT, open_space
from voice2face_gan.training.stages.speech2face import check_decoder


def training_records(store: Store, run: Run) -> Store:
    """The records a run trains on. For a voice encoder alone, those with voices, faces or not.

    With data.hold_out_clip the voice, not the face, of the records that `held_out_clips` names is left out.

    Raises:
        DataError: none is of the gender asked for, the training split is empty, fewer than two of its people
            have voices or, where there is a generator, both voices and faces, or the recipe reads other
            log-mels or makes faces of another size.
    """
    recipe, data = run.recipe, run.recipe.data
    records = store.of_gender(data.gender).of_split(data.split)
    without_voices = recipe.model.encoder.type == NoEncoderConfig.type
    if recipe.encoder_alone and not recipe.pairs:
        records = records.select(records.has_voice)
        identities, needed = set(records.identity.tolist()), "voices"
    elif without_voices:
        records = records.select(records.has_face)
        identities, needed = identities_with_faces(records), "faces"
    else:
        if data.hold_out_clip and not recipe.encoder_alone:
            records = _without_voices(records, held_out_clips(records))
        identities, needed = identities_with_both(records), "both voices and faces"
    if len(identities) < 2:
        raise DataError(
            f"{store.folder}: {len(identities)} of the people to train on have {needed}; "
            "training needs two or more."
        )
    bins, taken = records.about["features"]["n_mels"], recipe.model.encoder.mel_bins
    if taken not in (bins, None) and (recipe.pairs or not _given(run)) and not without_voices:
        raise DataError(f"{store.folder} holds log-mels of {bins} bins, the recipe takes {taken}.")
    if recipe.encoder_alone:
        return records
    side, made = records.about["side"], recipe.model.generator.side
    if side != made:
        raise DataError(f"{store.folder} holds faces of {side} pixels, the recipe makes {made}.")
    if learns_landmarks(recipe.model.generator):
        check_landmarks(store.has_landmarks)
    return records


def _without_voices(records: Store, which: np.ndarray) -> Store:
    part = records.select(np.ones(len(records), dtype=bool))
    for name in ("voice_offset", "voice_frames", "speech_offset", "speech_samples"):
        if getattr(part, name, None) is not None:
            setattr(part, name, np.where(which, -1, getattr(part, name)))
    return part


def framed_store(store: Store, run: Run) -> Store:
    """The store of a run, its faces enlarged to the zoom of the checkpoint that it starts from, or of the
    face space that its voice encoder keeps. Faces that are larger already stay as they are, for nothing
    beyond their edges is known."""
    init, encoder = run.settings.get("init"), run.settings.get("encoder")
    whole = learns_landmarks(run.recipe.model.generator)  # such nets learn the whole head
    if run.recipe.encoder_alone or whole or not len(store.faces):
        return store
    if init is not None:
        zoom = load_checkpoint(init).generator_config.face_scale
    elif encoder is not None and run.recipe.face_embedding.space in (KEPT, CLASSIFIER):
        space = load_checkpoint(encoder, need_generator=False).info.get("face_space") or {}
        zoom = space.get("zoom", store.zoom)
    else:
        return store
    return reframed_store(store, zoom) if zoom > store.zoom else store


def held_out_people(store: Store, records: Store, run: Run) -> Store:
    """Who the image grids show: validation or test people of the same gender, else training people."""
    others = store.of_gender(run.recipe.data.gender)
    for split in ("val", "test"):
        part = others.select(others.split == split)
        without_voices = run.recipe.model.encoder.type == NoEncoderConfig.type
        if (identities_with_faces if without_voices else identities_with_both)(part):
            return part
    return records


def given_encoder(run: Run, records: Store) -> Checkpoint | None:
    """The trained voice encoder that a run was given, or the stand-in of a decoder without one; None where
    it trains its own.

    Raises:
        CheckpointError: it cannot be read, or has no voice encoder although the recipe wants one.
        DataError: it does not fit the data.
    """
    given = _given(run)
    if given is None:
        return _no_encoder(run, records)
    checkpoint = load_checkpoint(given, need_generator=False)
    if not takes_voices(checkpoint.encoder_config):
        if not run.recipe.encoder_alone and run.recipe.model.encoder.type != NoEncoderConfig.type:
            check_takes_voices(checkpoint.encoder_config, f"The checkpoint {checkpoint.folder}")
        return checkpoint
    if checkpoint.features != records.about["features"]:
        raise DataError(
            f"{records.folder}: its log-mel settings differ from the voice encoder's "
            f"({checkpoint.folder}); prepare the data again with the encoder's settings."
        )
    check_takes(records, checkpoint.encoder.takes)
    return checkpoint


def _no_encoder(run: Run, records: Store) -> Checkpoint | None:
    """A checkpoint without a voice encoder, of the size of the recipe's face space; None where the recipe has
    one."""
    recipe = run.recipe
    if recipe.model.encoder.type != NoEncoderConfig.type:
        return None
    if recipe.face_embedding.space in (KEPT, CLASSIFIER):
        raise CheckpointError(
            f"Recipe {recipe.name} has no voice encoder (model.encoder.type = 'none') that keeps a face "
            "space; name a space with --set face_embedding.space=FOLDER."
        )
    config = NoEncoderConfig(open_space(recipe.face_embedding.space, None).size)
    controls, features = recipe.model.controls, records.about["features"]
    return Checkpoint(config, NoEncoder(config), controls=controls, features=features)


def decodes_alone(recipe: Recipe, encoder: str | None, init: str | None) -> bool:
    """A run trains a face decoder without a voice encoder: none is given, and the recipe names its face space
    by a folder or a reader; or it starts from such a decoder.

    Args:
        encoder, init: checkpoints that the run is given.
    """
    if recipe.model.generator.type != "face_decoder" or recipe.encoder_alone or encoder is not None:
        return False
    if init is not None:
        return not takes_voices(load_checkpoint(init).encoder_config)
    return recipe.face_embedding.space not in ("", KEPT, CLASSIFIER)


def _given(run: Run) -> str | None:
    """The name of the checkpoint whose voice encoder the run takes; None where it trains its own."""
    return run.settings.get("encoder") or run.settings.get("init")


def given_start(run: Run, records: Store) -> Checkpoint | None:
    """The voice encoder that a run of an encoder alone starts from; None where it starts from nothing.

    Raises:
        CheckpointError: it cannot be read, or it is not the recipe's net.
        DataError: it does not fit the data.
    """
    checkpoint = given_encoder(run, records)
    if checkpoint is not None:
        theirs, recipe = checkpoint.encoder_config, run.recipe
        _check_same(checkpoint, theirs, recipe.model.encoder, recipe, "choose another.")
    return checkpoint


def given_decoder(run: Run, state: dict | None = None) -> Checkpoint:
    """The checkpoint whose face decoder and face space a voice encoder is trained with: --init, or of a run
    that goes on its own newest.

    Raises:
        CheckpointError: there is none, it cannot be read, or it has no face decoder.
    """
    given = run.settings.get("init")
    if state is not None:
        given = run.checkpoint_folder(state["stage"], state["iteration"])
    if given is None:
        raise CheckpointError(
            f"Recipe {run.recipe.name} trains a voice encoder beside a face decoder: give a checkpoint with "
            "one, such as a run of v2f-gan train --recipe face-decoder, with --init."
        )
    checkpoint = load_checkpoint(given, need_generator=False)
    check_decoder(checkpoint)
    return checkpoint


def check_given(run: Run, store: Store) -> None:
    """Whether a run can start: its data, the checkpoints that it was given, teacher and face space.

    Raises:
        DataError, CheckpointError: as `training_records`, `given_encoder`, `given_start`, `given_nets`,
            `given_decoder`, `open_space` and `GE2EEncoder`.
    """
    records, recipe = training_records(store, run), run.recipe
    if recipe.pairs:
        open_space(KEPT, given_decoder(run))
        check_takes(records, ENCODERS[recipe.model.encoder.type][1].takes)
    elif recipe.encoder_alone:
        given_start(run, records)
        if recipe.encoder.space:
            GE2EEncoder(recipe.encoder.teacher or None)
            FaceSpace.load(recipe.encoder.space)
    else:
        encoder = given_encoder(run, records)
        given = given_nets(run)
        if given is not None:
            check_zoom(given[0], store)
        if recipe.face_embedding.space and encoder is not None:
            open_space(recipe.face_embedding.space, encoder)


def check_zoom(checkpoint: Checkpoint, store: Store) -> None:
    """Whether faces are as large as those that an appearance model was fitted on; others are enlarged, or
    learned.

    Raises:
        DataError: they are not.
    """
    config = checkpoint.generator_config
    if config.type == "appearance_model" and config.face_scale != store.zoom:
        raise DataError(
            f"{store.folder}: its faces were taken at zoom {store.zoom:g}, and {checkpoint.folder} was "
            f"fitted on faces at {config.face_scale:g}; prepare them again with "
            f"--set faces.zoom={config.face_scale:g}."
        )


def given_nets(run: Run) -> tuple[Checkpoint, dict] | None:
    """The checkpoint whose nets a run's GAN starts from, and the training state beside it ({} where a
    checkpoint came without, as the shipped one does); None where the nets start from nothing.

    Raises:
        CheckpointError: it cannot be read, or its nets are not those of the recipe; or there is none, and the
            recipe distils or calibrates it.
    """
    given, recipe = run.settings.get("init"), run.recipe
    checkpoint = None if given is None else load_checkpoint(given)
    _check_teacher(recipe, checkpoint)
    if checkpoint is None:
        return None
    # The voice encoder is the checkpoint's own, whatever the recipe says of it.
    theirs = checkpoint.generator_config
    ours = replace(recipe.model.generator, embedding=theirs.embedding)
    advice = "leave --recipe out to take the checkpoint's own."
    _check_same(checkpoint, theirs, ours, recipe, advice, theirs.may_differ)
    _check_normalised(checkpoint, recipe, advice)
    return checkpoint, read_state(checkpoint.folder, "start from another checkpoint.") or {}


def _check_teacher(recipe: Recipe, checkpoint: Checkpoint | None) -> None:
    """
    Raises:
        CheckpointError: the recipe distils a diffusion, and the checkpoint has none, or one that was
            distilled into as few evaluations; or as `_check_calibrated`.
    """
    if recipe.model.generator.type != "appearance_model":
        return
    if recipe.appearance_model.part == "calibration":
        return _check_calibrated(recipe, checkpoint)
    if recipe.appearance_model.part != "distillation":
        return
    steps = recipe.model.generator.detail_steps
    teacher = "face-detail-distilled" if steps == 1 else "face-detail or face-detail-portraits"
    advice = f"give a run of the recipe {teacher} with --init."
    if checkpoint is None:
        raise CheckpointError(f"The recipe {recipe.name} distils a trained diffusion: {advice}")
    config = checkpoint.generator_config
    if config.type != recipe.model.generator.type:  # refused as one of another type
        return
    if not config.detail_channels:
        raise CheckpointError(f"{checkpoint.folder} has no diffusion to distil: {advice}")
    if config.distilled and config.detail_steps <= steps:
        raise CheckpointError(
            f"The diffusion of {checkpoint.folder} is distilled already "
            f"(detail_steps = {config.detail_steps}), and the recipe {recipe.name} asks for {steps}: {advice}"
        )


def _check_calibrated(recipe: Recipe, checkpoint: Checkpoint | None) -> None:
    """
    Raises:
        CheckpointError: the recipe calibrates a model, and there is none, or one of another kind, or its
            detail is drawn otherwise than the recipe says.
    """
    advice = f"give {BEGINS['calibration']} with --init."
    if checkpoint is None:
        raise CheckpointError(f"The recipe {recipe.name} calibrates a trained model: {advice}")
    theirs, ours = checkpoint.generator_config, recipe.model.generator
    if theirs.type != ours.type:
        raise CheckpointError(f"{checkpoint.folder} has no appearance model to calibrate: {advice}")
    for name in ("detail_channels", "detail_steps", "detail_smallest"):
        if (there := getattr(theirs, name)) != (here := getattr(ours, name)):
            raise CheckpointError(
                f"The detail of {checkpoint.folder} is drawn with model.generator.{name} = {there}, and the "
                f"recipe {recipe.name} says {here}: {advice}"
            )


def _check_same(
    checkpoint: Checkpoint,
    theirs: EncoderConfig | GeneratorConfig,
    ours: EncoderConfig | GeneratorConfig,
    recipe: Recipe,
    advice: str,
    but: tuple[str, ...] = (),
) -> None:
    """
    Args:
        theirs, ours: tables of the same name of the checkpoint and of the recipe.
        but: settings that may differ.
    Raises:
        CheckpointError: another setting differs.
    """
    there, here = theirs.to_dict(), ours.to_dict()  # the types first
    for name, value in there.items():
        if name not in but and value != here.get(name):
            raise CheckpointError(
                f"{checkpoint.folder} does not fit the recipe {recipe.name}: its "
                f"model.{ours.table}.{name} is {value}, the recipe's {here[name]}; {advice}"
            )


def _check_normalised(checkpoint: Checkpoint, recipe: Recipe, advice: str) -> None:
    """
    Raises:
        CheckpointError: its generator takes e of length 1 and the recipe's does not, or the other way.
    """
    there = checkpoint.controls.normalise_embedding
    here = recipe.model.controls.normalise_embedding
    if there != here:
        raise CheckpointError(
            f"{checkpoint.folder} does not fit the recipe {recipe.name}: its "
            f"model.controls.normalise_embedding is {there}, the recipe's {here}; {advice}"
        )


def start_from(stage, checkpoint: Checkpoint, state: dict) -> list[str]:
    """Gives a new GAN stage the generator of a checkpoint, and the trunk and discriminator of the training
    state beside it where they are of the same shapes. What tells identities apart starts anew: it knew other
    people.

    Returns:
        The names of the nets that were given.
    """
    weights = checkpoint.generator.state_dict()
    given, stage.fine_tunes = ["generator"], stage.take_generator(weights, checkpoint.generator_config)
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
