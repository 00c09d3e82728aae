"""A folded encoder gives what the encoder gives."""

import pytest
import torch
from torch import nn

from voice2face_gan.models.inference import FusedEncoder
from voice2face_gan.models.r3gan import R3GANConfig
from voice2face_gan.models.registry import build_encoder
from voice2face_gan.models.wen2019 import Wen2019Config

SIZES = {"voice_channels": (16, 24, 16, 8), "embedding": 12}
CONFIGS = [
    Wen2019Config(**SIZES),
    Wen2019Config(**SIZES, encoder_norm_last=True),
    R3GANConfig(**SIZES),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_it_is_the_same_function(config, dtype, error):
    torch.manual_seed(0)
    encoder = build_encoder(config).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):  # as after training, each channel its own
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    folded = FusedEncoder(encoder, dtype)
    for frames in (1, 7, 300, 333):
        log_mel = torch.randn(3, 64, frames)
        with torch.no_grad():
            expected = encoder(log_mel)
        e = folded(log_mel)
        assert e.dtype == torch.float32 and e.shape == (3, 12)
        assert float((e - expected).norm() / expected.norm()) < error
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
