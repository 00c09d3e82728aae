"""The voice encoder alone: its stage of a run, with figures on held-out speakers, for `train --encoder`."""

import math
import time

import torch

from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.engine.trainer import (
    Evaluate,
    Reporter,
    Stage,
    Trainer,
    TrainResult,
    patient_interrupt,
)
from voice2face_gan.training.engine.warm_start import given_start
from voice2face_gan.training.run.folder import EMBEDDER_RUN, Run
from voice2face_gan.training.stages.distillation import DistillationStage
from voice2face_gan.training.stages.speaker_classification import SpeakerClassificationStage


def encoder_records(store: Store, run: Run) -> Store:
    """The records an encoder trains on: those with voices, whether or not there are faces.

    Raises:
        DataError: none is of the gender asked for, the training split is empty, fewer than two speakers, or
            the recipe reads other log-mels.
    """
    data = run.recipe.data
    records = store.of_gender(data.gender).of_split(data.split)
    records = records.select(records.has_voice)
    speakers = len(set(records.identity.tolist()))
    if speakers < 2:
        raise DataError(
            f"{store.folder}: {speakers} of the people to train on have voices; a voice encoder needs "
            "two or more."
        )
    bins, heard = records.about["features"]["n_mels"], run.recipe.model.encoder.mel_bins
    if bins != heard:
        raise DataError(f"{store.folder} holds log-mels of {bins} bins, the recipe reads {heard}.")
    return records


def train_encoder(
    run: Run,
    store: Store,
    device: torch.device,
    reporter: Reporter | None = None,
    minutes: float | None = None,
    iterations: int | None = None,
    evaluate: Evaluate | None = None,
    processes: SingleProcess | None = None,
) -> TrainResult:
    """Train, or go on with, a run of a voice encoder; the arguments and errors are those of `loop.train`.

    A new run with settings["init"] starts from that checkpoint's voice encoder. Figures are wanted every
    `run.evaluate_every` iterations. When it has finished, the encoder also lies in the run's folder
    encoder/.
    """
    processes = processes or SingleProcess(device)
    reporter = reporter if reporter and processes.is_main else Reporter()
    limit = iterations or run.settings.get("iterations")
    deadline = time.monotonic() + 60 * minutes if minutes else math.inf
    records = encoder_records(store, run)
    processes.on_main(run.tidy)
    state = processes.on_all_ranks(run.load_state)
    with patient_interrupt() as asked:
        course = EncoderTrainer(run, reporter, limit, deadline, asked, evaluate, processes)
        kind = DistillationStage if run.recipe.encoder.space else SpeakerClassificationStage
        stage = kind(records, run.recipe, run.settings["seed"], device, processes)
        if state is None:
            start = processes.on_all_ranks(lambda: given_start(run, records))
            if start is not None:
                stage.start_from(start.encoder)
        outcome = course.go(stage, state, held_out=None)
        if outcome.finished:
            course.save_encoder(stage.checkpoint(outcome.iteration), records)
    return outcome


class EncoderTrainer(Trainer):
    def is_due(self, stage: Stage, done: int, total: int) -> bool:
        every = self.run.recipe.run.evaluate_every
        return bool(every) and self.evaluate is not None and (done % every == 0 or done == total)


def new_settings(data: str, gender: str, seed: int, iterations: int | None, init: str | None = None) -> dict:
    """The settings of a run of a voice encoder alone, for `Run.create`."""
    return {
        "command": EMBEDDER_RUN,
        "data": data,
        "gender": gender,
        "seed": seed,
        "iterations": iterations,
        "encoder": None,
        "init": init,
    }
