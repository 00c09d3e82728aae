"""Layer-wise distillation: each LSTM layer of a student is trained on the states of the teacher's same layer.

A clip's embedding is one target of some hundred frames, and a student with that target alone memorises the
training speakers. The layers' states are as many targets as there are frames, of any speech whatever, and
do not depend on speaker labels (hints: Romero et al., "FitNets", ICLR 2015). Two parts:

1. Each LSTM layer by itself. It reads what the teacher's layer read, starts from its state (teacher forcing:
   Williams and Zipser, 1989) and runs over segments of one frame, later of 4, and in the end of whole pieces:
   students that were only trained on the next state diverge over longer ones.
2. The layers on top of each other, each trained on its states, the projection on the teacher's answer.

The teacher reads bands reconstructed from our log-mels (`fit_bands`), so that its states depend only on what
the student has too; rumble below the first bin, for example, is left out. It reads clean speech, the student
the same speech augmented: the student learns to ignore noise frame by frame too.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from voice2face_gan.audio.log_mel import FeatureSettings, log_mels
from voice2face_gan.data.batches.sampling import random_source
from voice2face_gan.device import autocast
from voice2face_gan.models.encoders.ge2e import GE2EEncoder
from voice2face_gan.models.encoders.lstm import PIECE, LstmEncoder, without_noise
from voice2face_gan.training.augmentation.data_echoing import EchoBuffer
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.recipe.schema import EncoderRecipe
from voice2face_gan.training.stages.distilled_layers import (
    LayerStates,
    StudentLayers,
    fit_bands,
    teacher_states,
)
from voice2face_gan.training.stages.losses import detached

SEGMENT_FRAMES = (1, 4, 16, 40, 80, PIECE)  # of a layer by itself, one after the other
SEPARATE_SHARE = 0.6  # of the iterations: each layer by itself
STACKED_LR = 0.35  # learning rate of the second part, as a share of the first one's
WARM_UP = 30  # iterations until the whole learning rate
# Batches of speech that are kept, and how often each is used: augmentation takes long.
ECHO_BATCHES, ECHO_FACTOR = 48, 4
PREPARATION_BATCHES = 6  # from which bands and whitening are found
MAX_CELL_LOSS = 10.0  # of a channel
MAX_GRADIENT_NORM = 1.0  # of a layer


class LayerwiseDistillation:
    """
    Args:
        encoder: the student; its layers are as large as the teacher's. Its weights are set after each step.
        teacher: on the same device.
        speech: number -> this process's part of a batch, float32 (B, samples of PIECE frames) twice: as the
            student reads it, and as the teacher does.
        features: of log-mels.
        settings: iterations, all in all; lr, of the first part, in each of which it falls evenly to zero;
            betas of Adam.
        seed: of weights and batches.
        precision: as in `device.autocast`.
        processes: those that train together.
    """

    def __init__(
        self,
        encoder: LstmEncoder,
        teacher: GE2EEncoder,
        speech: Callable[[int], tuple[Tensor, Tensor]],
        features: FeatureSettings,
        settings: EncoderRecipe,
        seed: int = 0,
        precision: str = "fp32",
        processes: SingleProcess | None = None,
    ):
        self.encoder, self.teacher, self.teacher_layers = encoder, teacher, teacher.layers()
        self.speech, self.features, self.settings, self.seed = speech, features, settings, seed
        self.precision, self.processes = precision, processes or SingleProcess("cpu")
        self.buffer = EchoBuffer(self._log_mels, ECHO_BATCHES, ECHO_FACTOR)
        self.separate_iterations = int(SEPARATE_SHARE * settings.iterations)
        self.warm_started = False
        torch.manual_seed(int(random_source(seed, "student weights", 0).integers(2**62)))
        self.student = StudentLayers(encoder).to(next(encoder.parameters()).device)
        self.optimiser = torch.optim.Adam(self.student.parameters(), lr=settings.lr, betas=settings.betas)

    def warm_start(self) -> None:
        """Starts from the encoder's layers as they are, on top of each other from the first iteration on."""
        self.separate_iterations, self.warm_started = 0, True

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update. The losses: squared error of each layer's states, and of the answer, as a share of the
        target's."""
        if not self.student.ready:
            self._prepare()
        frames, lr = self._schedule(iteration)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        student_bands, teacher_bands = self._bands(iteration)
        targets = teacher_states(self.teacher_layers, teacher_bands, frames, self.precision)
        if iteration < self.separate_iterations:
            losses = self._separate_losses(student_bands, targets, frames)
        else:
            losses = self._stacked_losses(student_bands, targets)
        self.optimiser.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        self.processes.average(self.student.parameters())
        for weight in self.student.weights:
            if not nn.utils.clip_grad_norm_(weight.parameters(), MAX_GRADIENT_NORM).isfinite():
                # Layers that diverged have gradients beyond float32; the others go on.
                weight.zero_grad(set_to_none=True)
        self.optimiser.step()
        self.student.copy_to(self.encoder)
        return detached(losses)

    def state(self) -> dict:
        return {
            "student": self.student.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "separate_iterations": self.separate_iterations,
        }

    def load(self, state: dict) -> None:
        self.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.separate_iterations = state["separate_iterations"]

    def _schedule(self, iteration: int) -> tuple[int, float]:
        """Frames of a segment, and learning rate."""
        separate, lr = self.separate_iterations, self.settings.lr
        if iteration < separate:
            frames, done = SEGMENT_FRAMES[len(SEGMENT_FRAMES) * iteration // separate], iteration / separate
        else:
            stacked = max(self.settings.iterations - separate, 1)
            frames, done, lr = PIECE, (iteration - separate) / stacked, STACKED_LR * lr
        return frames, lr * (1 - done) * min(1.0, (iteration + 1) / WARM_UP)

    def _separate_losses(self, bands: Tensor, targets: list[LayerStates], frames: int) -> dict[str, Tensor]:
        """Each layer by itself, on segments of the teacher's states below it."""
        losses, below = {}, bands
        for i, states in enumerate(targets):
            segments = below.reshape(-1, frames, below.shape[2])
            h, c = self._run(i, segments, (states.h_before, states.c_before))
            wanted = states.h.reshape(-1, frames, states.h.shape[2])
            cell = (c - states.c_after).square().mean(dim=0) / self.student.cell_power(i)
            losses[f"h{i + 1}_missed"] = self._state_loss(i, h, wanted)
            # A cell that diverged would dominate the gradient.
            losses[f"c{i + 1}_missed"] = cell.clamp(max=MAX_CELL_LOSS).mean()
            below = states.h
        losses["t_missed"] = self._answer_loss(below, below)
        return losses

    def _stacked_losses(self, bands: Tensor, targets: list[LayerStates]) -> dict[str, Tensor]:
        """The layers on top of each other."""
        losses, x = {}, bands
        for i, states in enumerate(targets):
            x, _ = self._run(i, x)
            losses[f"h{i + 1}_missed"] = self._state_loss(i, x, states.h)
        losses["t_missed"] = self._answer_loss(x, targets[-1].h)
        return losses

    def _run(self, i: int, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Layer i on (B, T, K), from (h, c) (B, H) each or from zeros: its states (B, T, H), its last cells
        (B, H)."""
        inputs = (x,) if state is None else (x, tuple(s[None].contiguous() for s in state))
        with autocast(self.precision, x.device):
            h, (_, c) = functional_call(self.encoder.layers[i], self.student.lstm_weights(i), inputs)
        return h.float(), c[0].float()

    def _state_loss(self, i: int, h: Tensor, wanted: Tensor) -> Tensor:
        return (h - wanted).square().mean() / self.student.state_power[i]

    def _answer_loss(self, h: Tensor, wanted: Tensor) -> Tensor:
        error = self.student.project(h) - self.teacher.linear(wanted)
        return error.square().mean() / self.student.answer_variance

    @torch.no_grad()
    def _bands(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Inputs of student and teacher: bands (B, PIECE, K) each."""
        mels = self.buffer.draw(iteration, PIECE, random_source(self.seed, "echo", iteration))
        device = self.student.ready.device
        student, teacher = (self.encoder.band_power(mel.to(device)) for mel in mels)
        return without_noise(student), teacher

    def _log_mels(self, number: int) -> tuple[Tensor, Tensor]:
        """For the buffer: log-mels (B, bins, PIECE) of a batch, of the student's speech and the teacher's."""
        student, teacher = (log_mels(x, self.features, normalised=False) for x in self.speech(number))
        return student, teacher.half()

    @torch.no_grad()
    def _prepare(self) -> None:
        """Fits bands and whitening; takes the encoder's weights after a warm start."""
        unused = self.settings.iterations + ECHO_BATCHES  # batches before this number are trained on
        batches = [self.speech(unused + number) for number in range(PREPARATION_BATCHES)]
        augmented, clean = (torch.cat(speech) for speech in zip(*batches, strict=True))
        encoder = self.encoder
        if not self.warm_started:
            fit_bands(encoder, self.teacher, augmented, self.features)
            encoder.bands.weight.copy_(self.processes.mean(encoder.bands.weight))
        student, teacher = (
            encoder.band_power(log_mels(x, self.features, normalised=False)) for x in (augmented, clean)
        )
        targets = teacher_states(self.teacher_layers, teacher, PIECE, self.precision)
        self.student.prepare(without_noise(student), targets, self.teacher.linear, self.processes)
        if self.warm_started:
            self.student.copy_from(encoder)
