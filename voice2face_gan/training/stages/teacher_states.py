"""Targets of a layer-wise distillation: the states of the teacher's LSTM layers, and the bands it reads."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from voice2face_gan.audio.log_mel import FeatureSettings, log_mels
from voice2face_gan.device import autocast
from voice2face_gan.errors import DataError
from voice2face_gan.models.encoders.ge2e import HOP, WINDOW, GE2EEncoder
from voice2face_gan.models.encoders.lstm import PIECE, LstmEncoder

FAINT_POWER = 0.1  # of a band, below which errors count less
MIN_POWER = 1e-8  # mean square of a signal


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
