"""The voice encoder of statistics: shapes, values written out, and what changes nothing."""

import math

import pytest
import torch

from voice2face_gan.models.encoders.statistics import (
    OVER_BINS,
    OVER_TIME,
    StatisticsEncoder,
    StatisticsEncoderConfig,
)
from voice2face_gan.models.registry import build_encoder, encoder_config

BINS = 8


def encoder() -> StatisticsEncoder:
    return StatisticsEncoder(StatisticsEncoderConfig(mel_bins=BINS, embedding=5)).eval()


@pytest.mark.parametrize("frames", [1, 4, 5, 6, 300])
def test_a_voice_of_any_length_gives_one_embedding(frames):
    net = encoder()
    torch.nn.init.normal_(net.last.weight)
    e, features = net.with_features(torch.randn(2, BINS, frames))
    assert e.shape == (2, 5) and features.shape == (2, net.last.in_features) and e.isfinite().all()
    assert net.last.in_features == len(OVER_TIME) * len(OVER_BINS) * BINS


def test_a_statistic_is_the_log_power_of_a_difference_in_loud_frames():
    """Of the difference of neighbouring frames and next bins, in the bin 3: written out with loops."""
    x = torch.randn(1, BINS, 40)
    kernel = OVER_BINS.index((0, 1, -1, 0, 0)) * len(OVER_TIME) + OVER_TIME.index((0, 1, -1, 0, 0))
    total, count = 0.0, 1
    for t in range(2, 38):
        if x[0, :, t].mean() > 0:
            d = (x[0, 2, t - 1] - x[0, 3, t - 1]) - (x[0, 2, t] - x[0, 3, t])
            total, count = total + float(d) ** 2, count + 1
    found = float(encoder().statistics(x)[0, kernel * BINS + 3])
    assert found == pytest.approx(math.log(total / count + 1e-3), rel=1e-4)


def test_the_order_of_far_frames_changes_nothing_but_the_seam():
    """Long pieces in another order hold the same differences."""
    a, b = torch.randn(1, BINS, 4000), torch.randn(1, BINS, 4000)
    one, other = (encoder().statistics(torch.cat(parts, dim=2)) for parts in ((a, b), (b, a)))
    assert (one - other).abs().max() < 0.01


def test_it_is_made_from_plain_settings():
    config = encoder_config({"type": "statistics", "mel_bins": BINS, "embedding": 5})
    assert build_encoder(config)(torch.randn(1, BINS, 9)).shape == (1, 5)
    assert config.to_dict() == {"type": "statistics", "mel_bins": BINS, "embedding": 5}
