"""What a layer-wise distillation compares: states of the teacher's LSTM layers, with the bands it reads, and
the student's layers.

The inputs of a layer are correlated: some directions of them vary a thousand times as much as others.
Weights for whitened inputs make Adam's steps alike in all directions. Error of a separate layer's states
after 600 steps, as a share of their variance: 0.002, without whitening 0.007.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import nnls
from torch import Tensor, nn

from voice2face_gan.audio.log_mel import FeatureSettings, log_mels
from voice2face_gan.device import autocast
from voice2face_gan.errors import DataError
from voice2face_gan.models.encoders.ge2e import HOP, WINDOW, GE2EEncoder
from voice2face_gan.models.encoders.lstm import PIECE, LstmEncoder
from voice2face_gan.training.engine.distributed import SingleProcess

FAINT_POWER = 0.1  # of a band, below which errors count less
MIN_POWER = 1e-8  # mean square of a signal
MIN_VARIANCE = 1e-4  # of the mean variance of an input's directions, added to each; of a cell, at least


class LayerStates(NamedTuple):
    """States of one layer of the teacher on pieces that are cut into segments.

    Attributes:
        h: (B, T, H), the state after each frame.
        h_before, c_before: (B x segments, H), state and cell at the start of each segment.
        c_after: (B x segments, H), the cell at its end.
    """

    h: Tensor
    h_before: Tensor
    c_before: Tensor
    c_after: Tensor


@torch.no_grad()
def teacher_states(
    layers: Sequence[nn.LSTM], bands: Tensor, frames: int, precision: str
) -> list[LayerStates]:
    """The states of the teacher's layers.

    Args:
        layers: of one LSTM layer each.
        bands: float32 (B, T, K).
        frames: of a segment; T is a multiple of it.
        precision: as in `device.autocast`.
    """
    targets, x = [], bands
    # The cells of short segments would be rounded often.
    precision = precision if frames == PIECE else "fp32"
    for layer in layers:
        state, hs, before, after = None, [], [], []
        for segment in x.split(frames, dim=1):
            size = layer.hidden_size
            state = state or (x.new_zeros(1, len(x), size), x.new_zeros(1, len(x), size))
            before.append(state)
            with autocast(precision, x.device):
                h, state = layer(segment, state)
            hs.append(h.float())
            after.append(state[1])
        x = torch.cat(hs, dim=1)
        h_before = torch.stack([h[0] for h, _ in before], dim=1).flatten(0, 1)
        c_before = torch.stack([c[0] for _, c in before], dim=1).flatten(0, 1)
        c_after = torch.stack([c[0].float() for c in after], dim=1).flatten(0, 1)
        targets.append(LayerStates(x, h_before, c_before, c_after))
    return targets


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


@torch.no_grad()
def fit_bands(encoder: LstmEncoder, teacher: GE2EEncoder, speech: Tensor, features: FeatureSettings) -> None:
    """Fits the encoder's band filter: the teacher's bands and the mean square of the signal, from the bins of
    our log-mels. Least squares without negative weights, errors relative to the power.

    Args:
        speech: float32 (B, samples).
    """
    raised = speech * teacher.gain(speech)[:, None]
    ours = log_mels(raised, features, normalised=False).exp().transpose(1, 2).cpu().double()
    theirs, square = teacher.bands(speech).cpu().double(), raised.square().mean(dim=1).cpu().double()
    bins = ours.flatten(0, 1)
    rows = [_nonnegative_fit(bins, band, 1 / (band + FAINT_POWER)) for band in theirs.flatten(0, 1).t()]
    rows.append(_nonnegative_fit(ours.mean(dim=1), square, 1 / square.clamp(min=MIN_POWER)))
    encoder.bands.weight.copy_(torch.from_numpy(np.stack(rows)))


def _nonnegative_fit(x: Tensor, y: Tensor, weight: Tensor) -> np.ndarray:
    """w >= 0 (K,) of least weighted squares of x w - y. The triangle of a QR decomposition has the same."""
    r = torch.linalg.qr(torch.cat([x, y[:, None]], dim=1) * weight[:, None], mode="r").R.numpy()
    return nnls(r[:, :-1], r[:, -1])[0]


class WhitenedLinear(nn.Module):
    """A linear layer, trained as one of whitened inputs: y = W P (x - mean) + b, P = (covariance)^(-1/2)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * 0.02)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("whitening", torch.eye(inputs))

    def whiten(self, x: Tensor, processes: SingleProcess) -> None:
        """Sets mean and P from inputs x (N, inputs)."""
        mean = processes.mean(x.double().mean(dim=0))
        centred = x.double() - mean
        values, vectors = torch.linalg.eigh(processes.mean(centred.t() @ centred / len(x)))
        scale = (values.clamp(min=0) + MIN_VARIANCE * values.mean()).rsqrt()
        self.mean.copy_(mean)
        self.whitening.copy_(vectors * scale @ vectors.t())

    @torch.no_grad()
    def set_plain(self, weight: Tensor, bias: Tensor) -> None:
        """Sets W and b such that the layer has that weight and bias for inputs as they are."""
        self.weight.copy_(torch.linalg.solve(self.whitening.double(), weight.double(), left=False))
        self.bias.copy_(bias + weight @ self.mean)

    def plain(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the same layer for inputs as they are."""
        weight = self.weight @ self.whitening
        return weight, self.bias - weight @ self.mean


class StudentLayers(nn.Module):
    """The weights that are trained: of each LSTM layer of an encoder, and of its projection to t.

    Attributes:
        weights: a WhitenedLinear of each LSTM layer, from its input and its last state to its four gates;
            then one of the projection.
        state_power: (layers,), cell_power0, cell_power1, ...: (H,) each: mean squares of the targets.
        answer_variance: variance of t before its last nonlinearity.
        ready: whether these are known.
    """

    def __init__(self, encoder: LstmEncoder):
        super().__init__()
        sizes = [layer.hidden_size for layer in encoder.layers]
        inputs = [encoder.bands.out_features - 1, *sizes]
        self.weights = nn.ModuleList(
            WhitenedLinear(below + size, 4 * size) for below, size in zip(inputs, sizes, strict=False)
        )
        self.weights.append(WhitenedLinear(sizes[-1], encoder.projection.out_features))
        self.register_buffer("state_power", torch.ones(len(sizes)))
        for i, size in enumerate(sizes):
            self.register_buffer(f"cell_power{i}", torch.ones(size))
        self.register_buffer("answer_variance", torch.ones(()))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def prepare(
        self, bands: Tensor, targets: list[LayerStates], projection: nn.Linear, processes: SingleProcess
    ) -> None:
        """Whitening and mean squares, from the student's bands, the teacher's states in whole pieces, and the
        teacher's projection."""
        below = bands
        for i, states in enumerate(targets):
            inputs = torch.cat([below, F.pad(states.h[:, :-1], (0, 0, 1, 0))], dim=2)
            self.weights[i].whiten(inputs.flatten(0, 1), processes)
            self.state_power[i] = processes.mean(states.h.square().mean()[None])[0]
            power = processes.mean(states.c_after.square().mean(dim=0))
            self.cell_power(i).copy_(power.clamp(min=MIN_VARIANCE))
            below = states.h
        self.weights[-1].whiten(below.flatten(0, 1), processes)
        self.answer_variance.copy_(processes.mean(projection(below).var()[None])[0])
        self.ready.fill_(True)

    def cell_power(self, i: int) -> Tensor:
        return getattr(self, f"cell_power{i}")

    def lstm_weights(self, i: int) -> dict[str, Tensor]:
        """Layer i's weights as nn.LSTM names them."""
        weight, bias = self.weights[i].plain()
        size = len(bias) // 4
        return {
            "weight_ih_l0": weight[:, :-size],
            "weight_hh_l0": weight[:, -size:],
            "bias_ih_l0": bias,
            "bias_hh_l0": torch.zeros_like(bias),
        }

    def project(self, h: Tensor) -> Tensor:
        return F.linear(h, *self.weights[-1].plain())

    def copy_from(self, encoder: LstmEncoder) -> None:
        """Takes an encoder's weights."""
        for layer, weight in zip(encoder.layers, self.weights[:-1], strict=True):
            joined = torch.cat([layer.weight_ih_l0, layer.weight_hh_l0], dim=1)
            weight.set_plain(joined, layer.bias_ih_l0 + layer.bias_hh_l0)
        self.weights[-1].set_plain(encoder.projection.weight, encoder.projection.bias)

    @torch.no_grad()
    def copy_to(self, encoder: LstmEncoder) -> None:
        """Gives an encoder these weights."""
        for i, layer in enumerate(encoder.layers):
            layer.load_state_dict(self.lstm_weights(i))
        weight, bias = self.weights[-1].plain()
        encoder.projection.load_state_dict({"weight": weight, "bias": bias})
