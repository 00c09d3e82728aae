"""What a teacher's layers do, told to the same layers of a pupil.

A clip's embedding is one target of some hundred frames, and a pupil that has only that learns the speakers it
hears by heart. Its layers' states are as many targets as there are frames, of any speech whatever, and who
speaks is no part of them (hints: Romero et al., "FitNets", ICLR 2015). Two parts:

1. Each LSTM layer by itself. It hears what the teacher's layer heard, starts from its state (teacher
   forcing: Williams and Zipser, 1989) and runs for one frame, later for 4, and in the end for whole pieces:
   pupils that were only ever asked for the next state run away when they are left alone.
2. The layers on top of each other, each asked for its states, the last linear layer for its answer.

The teacher hears through the pupil's ears: bands are fitted to its own (`fit_bands`) and then given to both,
for what log-mels leave out, such as rumble below the first bin, no pupil could follow. It hears speech as it
was said, the pupil the same speech distorted: what noise does is unlearned frame by frame too.

What a layer reads is correlated: some directions of it vary a thousand times as much as others. So weights
are learned for whitened inputs, in which Adam's steps are alike in all directions: state of a layer by itself
after 600 steps, share missed: 0.002, without whitening 0.007.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import nnls
from torch import Tensor, nn
from torch.func import functional_call

from voice2face_gan.audio.log_mel import FeatureSettings, log_mels
from voice2face_gan.data.batches.sampling import generator
from voice2face_gan.device import autocast
from voice2face_gan.errors import DataError
from voice2face_gan.models.encoders.ge2e import HOP, WINDOW, GE2EEncoder
from voice2face_gan.models.encoders.lstm import PIECE, LstmEncoder, without_noise
from voice2face_gan.training.augmentation.data_echoing import EchoBuffer
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.recipe.schema import EncoderRecipe

RUNS = (1, 4, 16, 40, 80, PIECE)  # frames that a layer by itself runs for, one after the other
_ALONE = 0.6  # share of the iterations
_TOGETHER = 0.35  # learning rate of the second part, as a part of the first one's
_KEPT, _TIMES = 48, 4  # batches of speech that are kept, and how often each serves: distorting takes long
_LOOKED = 6  # batches, from which bands and whitening are found
_LEAST = 1e-4  # of the mean variance of an input's directions: what is added to each
_FAINT = 0.1  # power of a band, below which errors count less
_FAINTEST = 1e-8  # mean square of a signal
_LONGEST_STEP = 1.0  # norm of a layer's gradient


class LayerwiseDistillation(nn.Module):
    """
    Args:
        encoder: its layers are as large as the teacher's; it is given what was learned after each step.
        teacher: on the same device.
        speech: number -> the part of a batch that this process hears, float32 (B, samples of PIECE frames)
            twice: as the pupil hears it, and as the teacher does.
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
        super().__init__()
        self._outside = encoder, teacher, teacher.layers()  # not this module's own
        self.speech, self.features, self.settings = speech, features, settings
        self.seed, self.echo = seed, EchoBuffer(self._made, _KEPT, _TIMES)
        self.precision, self.processes = precision, processes or SingleProcess("cpu")
        self.alone, self.begun = int(_ALONE * settings.iterations), False
        torch.manual_seed(int(generator(seed, "hints", 0).integers(2**62)))
        sizes = [layer.hidden_size for layer in encoder.layers]
        below = [encoder.bands.out_features - 1, *sizes]
        self.weights = nn.ModuleList(
            WhitenedLinear(w + size, 4 * size) for w, size in zip(below, sizes, strict=False)
        )
        self.weights.append(WhitenedLinear(sizes[-1], encoder.told.out_features))
        self.register_buffer("state_size", torch.ones(len(sizes)))  # mean squares
        for i, size in enumerate(sizes):
            self.register_buffer(f"cell_size{i}", torch.ones(size))
        self.register_buffer("answer_size", torch.ones(()))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        self.to(next(encoder.parameters()).device)
        self.optimiser = torch.optim.Adam(self.parameters(), lr=settings.lr, betas=settings.betas)

    def go_on(self) -> None:
        """Start from what the encoder's layers do, on top of each other from the first iteration on."""
        self.alone, self.begun = 0, True

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update. The losses: share of each layer's states that it misses, and of the answer."""
        encoder = self._outside[0]
        if not self.ready:
            self._prepare()
        alone, together = self.alone, max(self.settings.iterations - self.alone, 1)
        if iteration < alone:
            frames, done, lr = RUNS[len(RUNS) * iteration // alone], iteration / alone, self.settings.lr
        else:
            frames, done, lr = PIECE, (iteration - alone) / together, _TOGETHER * self.settings.lr
        for group in self.optimiser.param_groups:
            group["lr"] = lr * (1 - done) * min(1.0, (iteration + 1) / 30)
        heard, said = self._heard(iteration)
        told = self._states(said, frames)
        losses = self._alone(heard, told, frames) if iteration < alone else self._stacked(heard, told)
        self.optimiser.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        self.processes.average(self.parameters())
        for weight in self.weights:
            if not nn.utils.clip_grad_norm_(weight.parameters(), _LONGEST_STEP).isfinite():
                # Layers that ran away have gradients beyond float32; the others go on.
                weight.zero_grad(set_to_none=True)
        self.optimiser.step()
        self._give(encoder)
        return {name: loss.detach() for name, loss in losses.items()}

    def state(self) -> dict:
        return {
            "weights": self.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "alone": self.alone,
        }

    def load(self, state: dict) -> None:
        self.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.alone = state.get("alone", self.alone)

    def _alone(self, heard: Tensor, told: list["LayerStates"], frames: int) -> dict[str, Tensor]:
        losses, below = {}, heard
        for i, states in enumerate(told):
            runs = below.reshape(-1, frames, below.shape[2])
            h, c = self._run(i, runs, (states.h_before, states.c_before))
            wanted = states.h.reshape(-1, frames, states.h.shape[2])
            cell = (c - states.c_after).square().mean(dim=0) / getattr(self, f"cell_size{i}")
            # A cell that ran away would else be all that is learned from.
            losses[f"h{i + 1}_missed"] = self._missed(i, h, wanted)
            losses[f"c{i + 1}_missed"] = cell.clamp(max=10.0).mean()
            below = states.h
        losses["t_missed"] = self._answer_missed(below, below)
        return losses

    def _stacked(self, heard: Tensor, told: list["LayerStates"]) -> dict[str, Tensor]:
        losses, x = {}, heard
        for i, states in enumerate(told):
            x, _ = self._run(i, x)
            losses[f"h{i + 1}_missed"] = self._missed(i, x, states.h)
        losses["t_missed"] = self._answer_missed(x, told[-1].h)
        return losses

    def _run(self, i: int, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Layer i on (B, T, K), from (h, c) (B, H) each or from nothing: its states (B, T, H), its last cells
        (B, H)."""
        layer = self._outside[0].layers[i]
        with autocast(self.precision, x.device):
            given = (x,) if state is None else (x, tuple(s[None].contiguous() for s in state))
            h, (_, c) = functional_call(layer, self._of_layer(i), given)
        return h.float(), c[0].float()

    def _of_layer(self, i: int) -> dict[str, Tensor]:
        weight, bias = self.weights[i].folded()
        size = self._outside[0].layers[i].hidden_size
        return {
            "weight_ih_l0": weight[:, :-size],
            "weight_hh_l0": weight[:, -size:],
            "bias_ih_l0": bias,
            "bias_hh_l0": torch.zeros_like(bias),
        }

    def _missed(self, i: int, h: Tensor, wanted: Tensor) -> Tensor:
        return (h - wanted).square().mean() / self.state_size[i]

    def _answer_missed(self, h: Tensor, wanted: Tensor) -> Tensor:
        answer = F.linear(h, *self.weights[-1].folded())
        return (answer - self._outside[1].linear(wanted)).square().mean() / self.answer_size

    @torch.no_grad()
    def _give(self, encoder: LstmEncoder) -> None:
        """The encoder takes what was learned."""
        for i, layer in enumerate(encoder.layers):
            layer.load_state_dict(self._of_layer(i))
        weight, bias = self.weights[-1].folded()
        encoder.told.load_state_dict({"weight": weight, "bias": bias})

    @torch.no_grad()
    def _heard(self, iteration: int) -> tuple[Tensor, Tensor]:
        """What pupil and teacher hear in an iteration: bands (B, PIECE, K) each."""
        mels = self.echo.draw(iteration, PIECE, generator(self.seed, "echo", iteration))
        heard, said = (self._outside[0].heard(mel.to(self.ready.device)) for mel in mels)
        return without_noise(heard), said

    def _made(self, number: int) -> tuple[Tensor, Tensor]:
        """For the echo: log-mels (B, bins, PIECE) of a batch, of the pupil's speech and of the teacher's."""
        heard, said = (log_mels(x, self.features, normalised=False) for x in self.speech(number))
        return heard, said.half()

    @torch.no_grad()
    def _states(self, bands: Tensor, frames: int) -> list["LayerStates"]:
        """What the teacher's layers do, in runs of so many frames."""
        told, x = [], bands
        # The cells of short runs would be rounded often.
        precision = self.precision if frames == PIECE else "fp32"
        for layer in self._outside[2]:
            state, hs, before, after = None, [], [], []
            for run in x.split(frames, dim=1):
                size = layer.hidden_size
                state = state or (x.new_zeros(1, len(x), size), x.new_zeros(1, len(x), size))
                before.append(state)
                with autocast(precision, x.device):
                    h, state = layer(run, state)
                hs.append(h.float())
                after.append(state[1])
            x = torch.cat(hs, dim=1)
            h_before = torch.stack([h[0] for h, _ in before], dim=1).flatten(0, 1)
            c_before = torch.stack([c[0] for _, c in before], dim=1).flatten(0, 1)
            c_after = torch.stack([c[0].float() for c in after], dim=1).flatten(0, 1)
            told.append(LayerStates(x, h_before, c_before, c_after))
        return told

    @torch.no_grad()
    def _prepare(self) -> None:
        """Bands, whitening and sizes; weights, where the encoder has learned before."""
        encoder, teacher, _ = self._outside
        unused = self.settings.iterations + _KEPT  # batches before this number are learned from
        batches = [self.speech(unused + number) for number in range(_LOOKED)]
        heard, said = (torch.cat(speech) for speech in zip(*batches, strict=True))
        if not self.begun:
            fit_bands(encoder, teacher, heard, self.features)
            encoder.bands.weight.copy_(self.processes.mean(encoder.bands.weight))
        below, said = (encoder.heard(log_mels(x, self.features, normalised=False)) for x in (heard, said))
        below, told = without_noise(below), self._states(said, PIECE)
        for i, states in enumerate(told):
            read = torch.cat([below, F.pad(states.h[:, :-1], (0, 0, 1, 0))], dim=2)
            self.weights[i].whiten(read.flatten(0, 1), self.processes)
            self.state_size[i] = self.processes.mean(states.h.square().mean()[None])[0]
            size = self.processes.mean(states.c_after.square().mean(dim=0))
            getattr(self, f"cell_size{i}").copy_(size.clamp(min=_LEAST))
            below = states.h
        self.weights[-1].whiten(below.flatten(0, 1), self.processes)
        self.answer_size.copy_(self.processes.mean(teacher.linear(below).var()[None])[0])
        if self.begun:
            for layer, weight in zip(encoder.layers, self.weights[:-1], strict=True):
                joined = torch.cat([layer.weight_ih_l0, layer.weight_hh_l0], dim=1)
                weight.take(joined, layer.bias_ih_l0 + layer.bias_hh_l0)
            self.weights[-1].take(encoder.told.weight, encoder.told.bias)
        self.ready.fill_(True)


def check_frames(features: FeatureSettings) -> None:
    """
    Raises:
        DataError: the frames of log-mels lie elsewhere than the teacher's.
    """
    if (features.window, features.hop) != (WINDOW, HOP):
        raise DataError(
            f"The teacher's frames are of {WINDOW} samples every {HOP}, those of the log-mels of "
            f"{features.window} every {features.hop}: prepare the store again with features.window_ms=25 and "
            "features.hop_ms=10."
        )


class LayerStates(NamedTuple):
    """What a layer of the teacher does in runs: h (B, T, H) of every frame; of each run (B x runs, H), where
    it starts, h_before and c_before, and its cells at the end, c_after."""

    h: Tensor
    h_before: Tensor
    c_before: Tensor
    c_after: Tensor


class WhitenedLinear(nn.Module):
    """A linear layer, learned as one of whitened inputs: y = W P (x - mean) + b, P = (covariance)^(-1/2)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * 0.02)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("whitening", torch.eye(inputs))

    def whiten(self, x: Tensor, processes: SingleProcess) -> None:
        """For inputs like x (N, inputs)."""
        mean = processes.mean(x.double().mean(dim=0))
        away = x.double() - mean
        values, vectors = torch.linalg.eigh(processes.mean(away.t() @ away / len(x)))
        scale = (values.clamp(min=0) + _LEAST * values.mean()).rsqrt()
        self.mean.copy_(mean)
        self.whitening.copy_(vectors * scale @ vectors.t())

    @torch.no_grad()
    def take(self, weight: Tensor, bias: Tensor) -> None:
        """Become the layer of that weight and bias for inputs as they are."""
        self.weight.copy_(torch.linalg.solve(self.whitening.double(), weight.double(), left=False))
        self.bias.copy_(bias + weight @ self.mean)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the same layer for inputs as they are."""
        weight = self.weight @ self.whitening
        return weight, self.bias - weight @ self.mean


@torch.no_grad()
def fit_bands(encoder: LstmEncoder, teacher: GE2EEncoder, speech: Tensor, features: FeatureSettings) -> None:
    """The teacher's bands and the mean square of the signal, from the bins of our log-mels: least squares
    without negative weights, errors relative to the power.

    Args:
        speech: float32 (B, samples).
    """
    raised = speech * teacher.gain(speech)[:, None]
    ours = log_mels(raised, features, normalised=False).exp().transpose(1, 2).cpu().double()
    theirs, square = teacher.bands(speech).cpu().double(), raised.square().mean(dim=1).cpu().double()
    read = ours.flatten(0, 1)
    rows = [_positive(read, band, 1 / (band + _FAINT)) for band in theirs.flatten(0, 1).t()]
    rows.append(_positive(ours.mean(dim=1), square, 1 / square.clamp(min=_FAINTEST)))
    encoder.bands.weight.copy_(torch.from_numpy(np.stack(rows)))


def _positive(x: Tensor, y: Tensor, weight: Tensor) -> np.ndarray:
    """w >= 0 (K,) of least weighted squares of x w - y. The triangle of a QR decomposition has the same."""
    r = torch.linalg.qr(torch.cat([x, y[:, None]], dim=1) * weight[:, None], mode="r").R.numpy()
    return nnls(r[:, :-1], r[:, -1])[0]
