"""A run: its voice encoder, then the GAN on it. What happens in a stage is in trainer.py."""

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
    as_painted,
    given_encoder,
    given_nets,
    held_out_people,
    start_from,
    training_records,
)
from voice2face_gan.training.recipe.schema import Recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.gan_base import DISCRIMINATOR_FIRST
from voice2face_gan.training.stages.r3gan import R3GANStage
from voice2face_gan.training.stages.speaker_classification import SpeakerClassificationStage
from voice2face_gan.training.stages.wen2019 import Wen2019Stage

__all__ = ["Evaluate", "TrainResult", "Reporter", "check_shares", "train"]

STAGES = {"wen2019": Wen2019Stage, "r3gan": R3GANStage}  # of an architecture, after the voice encoder


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
    """Train, or go on with, a run: first its voice encoder, then the GAN.

    Args:
        run: a new or an earlier run.
        store: the data named in its settings.
        device: where it computes.
        reporter: told what happens; in the main process alone.
        minutes: stop and save after so long; None for no limit.
        iterations: do at most so many iterations of each stage, instead of the run's own number.
        evaluate: figures of a checkpoint, wanted every `run.evaluate_every` iterations of the GAN stage; they
            decide which checkpoint is the best. Called in the main process alone.
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
    seed = run.settings["seed"]
    check_shares(run.recipe, processes)
    store = as_painted(store, run)
    records = training_records(store, run)
    processes.on_main(run.tidy)
    state = processes.on_all_ranks(run.load_state)
    # Around both stages, so that a Ctrl-C during the last iteration of the first is not lost.
    with patient_interrupt() as asked:
        course = Trainer(run, reporter, limit, deadline, asked, evaluate, processes)
        if not run.encoder_folder.is_dir():
            given = processes.on_all_ranks(lambda: given_encoder(run, records))
            if given is not None:
                # A copy of its own: the run it came from may drop that checkpoint.
                course.save_encoder(replace(given, generator=None, gender_probe=None))
            else:
                stage = SpeakerClassificationStage(records, run.recipe, seed, device, processes)
                outcome = course.go(stage, state, held_out=None)
                if not outcome.finished:
                    return outcome
                course.save_encoder(stage.checkpoint(outcome.iteration), records)
                if processes.max(len(asked)):
                    return replace(outcome, finished=False, reason="interrupted")
        encoder = load_checkpoint(run.encoder_folder, need_generator=False)
        held_out = held_out_people(store, records, run)
        kind = STAGES[run.recipe.architecture]
        stage = kind(records, held_out, encoder, run.recipe, seed, device, processes)
        if state is None or state["stage"] == "encoder":
            nets = processes.on_all_ranks(lambda: given_nets(run))
            if nets is not None:
                given = start_from(stage, *nets)
                if not {"discriminator", "heads"} & set(given):
                    total = min(stage.iterations, limit or stage.iterations)
                    stage.discriminator_first = min(DISCRIMINATOR_FIRST, total // 5)
                course.save(stage, 0)  # what it started from, whatever becomes of that checkpoint
        return course.go(stage, state, held_out)


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
