"""A run: its voice encoder, then the GAN on it. What happens in a stage is in trainer.py."""

import contextlib
import math
import time
from dataclasses import replace

import torch

from voice2face_gan.data.store import Store
from voice2face_gan.errors import TrainingError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.engine.trainer import Evaluate, Reporter, Trainer, TrainResult, patient_interrupt
from voice2face_gan.training.engine.warm_start import (
    framed_store,
    given_decoder,
    given_encoder,
    given_nets,
    given_start,
    held_out_people,
    start_from,
    training_records,
)
from voice2face_gan.training.recipe.schema import Recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.appearance_model import AppearanceModelStage
from voice2face_gan.training.stages.calibration import CalibrationStage
from voice2face_gan.training.stages.detail import DetailDistillationStage, DetailStage
from voice2face_gan.training.stages.distillation import DistillationStage
from voice2face_gan.training.stages.encoder_base import EncoderStage
from voice2face_gan.training.stages.face_decoder import FaceDecoderStage
from voice2face_gan.training.stages.gan_base import DISCRIMINATOR_FIRST
from voice2face_gan.training.stages.r3gan import R3GANStage
from voice2face_gan.training.stages.ridge_encoder import RidgeEncoderStage
from voice2face_gan.training.stages.speaker_classification import SpeakerClassificationStage
from voice2face_gan.training.stages.speech2face import Speech2FaceStage
from voice2face_gan.training.stages.wen2019 import Wen2019Stage

__all__ = ["Evaluate", "TrainResult", "Reporter", "check_shares", "train"]

# Of a type of generator, after the voice encoder.
GAN_STAGES = {
    "wen2019": Wen2019Stage,
    "r3gan": R3GANStage,
    "face_decoder": FaceDecoderStage,
    "appearance_model": AppearanceModelStage,
}

# Of an appearance model by appearance_model.part.
_PARTS = {
    "refiner": AppearanceModelStage,
    "detail": DetailStage,
    "distillation": DetailDistillationStage,
    "calibration": CalibrationStage,
}


def train(
    run: Run,
    store: Store,
    device: torch.device,
    reporter: Reporter | None = None,
    minutes: float | None = None,
    iterations: int | None = None,
    evaluate: Evaluate | None = None,
    processes: SingleProcess | None = None,
) -> TrainResult:
    """Train, or go on with, a run: the stages of its recipe, a voice encoder and the GAN on it or the encoder
    alone.

    A new run with settings["encoder"] takes that checkpoint's voice encoder instead of training one. With
    settings["init"] its last stage starts from the networks of that checkpoint. The finished encoder lies in
    the run's folder encoder/.

    Args:
        run: a new or an earlier run.
        store: the data named in its settings.
        device: where it computes.
        reporter: told what happens; in the main process alone.
        minutes: time limit, None for none. The schedule of a stage whose learning rate decays is fitted to
            it; others stop and are saved.
        iterations: do at most so many iterations of each stage, instead of the run's own number.
        evaluate: figures of a checkpoint, wanted every `run.evaluate_every` iterations of the last stage;
            they decide which checkpoint is the best. Called in the main process alone.
        processes: those that train together; default: this one alone.
    Raises:
        TrainingError: a loss or weight is not finite, a file cannot be written, memory runs out, or a batch
            cannot be shared evenly; earlier checkpoints are kept.
        DataError: the data lack what the stages need.
        CheckpointError: nets that were given do not fit.
    """
    processes = processes or SingleProcess(device)
    reporter = reporter if reporter and processes.is_main else Reporter()
    limit = iterations or run.settings.get("iterations")
    deadline = time.monotonic() + 60 * minutes if minutes else math.inf
    check_shares(run.recipe, processes)
    store = framed_store(store, run)
    records = training_records(store, run)
    with contextlib.ExitStack() as held:
        processes.on_main(lambda: held.enter_context(run.alone()))
        processes.on_main(run.tidy)
        state = processes.on_all_ranks(run.load_state)
        # Around both stages, so that a Ctrl-C during the last iteration of the first is not lost.
        asked = held.enter_context(patient_interrupt())
        trainer = Trainer(run, reporter, limit, deadline, asked, evaluate, processes)
        if run.recipe.encoder_alone:
            return _train_encoder(trainer, store, records, state, device)
        if not run.encoder_folder.is_dir():
            given = processes.on_all_ranks(lambda: given_encoder(run, records))
            if given is not None:
                # A copy of its own: the run it came from may drop that checkpoint.
                trainer.save_encoder(replace(given, generator=None, gender_probe=None))
            else:
                outcome = _train_encoder(trainer, store, records, state, device)
                if not outcome.finished:
                    return outcome
                if processes.max(len(asked)):
                    return replace(outcome, finished=False, reason="interrupted")
        return _train_gan(trainer, store, records, state, device)


def _train_encoder(trainer: Trainer, store: Store, records: Store, state: dict | None, device) -> TrainResult:
    """The stage of the voice encoder, which is kept in the run folder once it has finished."""
    run, processes = trainer.run, trainer.processes
    kind, held_out, beside = encoder_stage(run.recipe), None, {}
    if kind.pairs:
        held_out = held_out_people(store, records, run)
        beside = {
            "decoder": processes.on_all_ranks(lambda: given_decoder(run, state)),
            "people": store.of_gender(run.recipe.data.gender),
            "held_out": held_out,
        }
    stage = kind(records, run.recipe, run.settings["seed"], device, processes, **beside)
    if state is None and kind.pairs:
        trainer.save(stage, 0)  # with the decoder, whatever becomes of the checkpoint that it came from
    elif state is None and run.recipe.encoder_alone:
        start = processes.on_all_ranks(lambda: given_start(run, records))
        if start is not None:
            stage.start_from(start.encoder)
    outcome = trainer.go(stage, state, held_out)
    if outcome.finished:
        trainer.save_encoder(stage.checkpoint(outcome.iteration), records)
    return outcome


def encoder_stage(recipe: Recipe) -> type[EncoderStage]:
    """The kind of stage that trains a recipe's voice encoder."""
    if recipe.model.encoder.type == "statistics":
        return RidgeEncoderStage
    if recipe.pairs:
        return Speech2FaceStage
    return DistillationStage if recipe.encoder.space else SpeakerClassificationStage


def _train_gan(trainer: Trainer, store: Store, records: Store, state: dict | None, device) -> TrainResult:
    """The stage of the generator, on the voice encoder in the run folder."""
    run, processes = trainer.run, trainer.processes
    encoder = load_checkpoint(run.encoder_folder, need_generator=False)
    held_out = held_out_people(store, records, run)
    kind = GAN_STAGES[run.recipe.model.generator.type]
    if kind is AppearanceModelStage:
        kind = _PARTS[run.recipe.appearance_model.part]
    stage = kind(
        records, held_out, encoder, run.recipe, run.settings["seed"], device, processes, trainer.reporter.note
    )
    if state is None or state["stage"] == "encoder":
        nets = processes.on_all_ranks(lambda: given_nets(run))
        if nets is not None:
            given = start_from(stage, *nets)
            if stage.discriminator_parameters and not {"discriminator", "heads"} & set(given):
                total = min(stage.iterations, trainer.limit or stage.iterations)
                stage.discriminator_first = min(DISCRIMINATOR_FIRST, total // 5)
            trainer.save(stage, 0)  # what it started from, whatever becomes of that checkpoint
    return trainer.go(stage, state, held_out)


def check_shares(recipe: Recipe, processes: SingleProcess) -> None:
    """Whether the processes can share the recipe's batches.

    Raises:
        TrainingError: not evenly.
    """
    size = processes.size
    for key, batch in (("encoder.batch", recipe.encoder.batch), ("gan.batch", recipe.gan.batch)):
        if key not in recipe.idle and (batch % size or batch // size < 2):
            raise TrainingError(
                f"{key} is {batch}, which {size} processes cannot share evenly, two samples or more to each; "
                f"choose a multiple of {size}, for example --set {key}={max(2, -(-batch // size)) * size}."
            )
