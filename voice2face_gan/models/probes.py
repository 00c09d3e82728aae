"""What a checkpoint tells of a voice beside its e: logistic regressions on what its encoder makes of it.

    speech    somebody speaks, rather than noise, machines, music or animals being heard
    child     a child younger than 13 speaks, rather than an adult
    several   more than one person is heard, one after the other

The first two read what the encoder's last layer reads, (features + 1,); the last reads how far the pieces of
a clip agree, (2,), which a recurrent encoder alone knows. Weights, then bias.
training/probes/input_quality.py fits them.
"""

import torch
from torch import Tensor, nn

SEVERAL = "several"
PROBES = ("speech", "child", SEVERAL)


def check_probe(name: str, probe: Tensor, features: int) -> None:
    """
    Raises:
        ValueError: there is no such probe, or it is not of that shape.
    """
    if name not in PROBES:
        raise ValueError(f"this version knows no probe.{name}")
    if probe.shape != (2 if name == SEVERAL else features + 1,):
        raise ValueError(f"probe.{name} has the shape {tuple(probe.shape)}")


def read_voice(
    encoder: nn.Module, probes: dict[str, Tensor], voice: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """
    Args:
        encoder, probes: of a checkpoint.
        voice: what the encoder takes, (B, mel_bins, T) or (B, samples), on the encoder's device.
    Returns:
        (B, embedding) as the encoder gives it, and the probability (B,) of each probe.
    """
    if not probes:
        return encoder(voice), {}
    if SEVERAL in probes:
        e, features, agreement = encoder.with_agreement(voice)
    else:
        (e, features), agreement = encoder.with_features(voice), None
    told = {}
    for name in (n for n in PROBES if n in probes):
        probe = probes[name].to(features.device)
        read = agreement[:, None] if name == SEVERAL else features
        told[name] = torch.sigmoid(read @ probe[:-1] + probe[-1])
    return e, told
