"""Residual blocks of the R3GAN networks, without normalisation layers: each branch starts at zero (Huang et
al., "The GAN is dead; long live the GAN!", NeurIPS 2024)."""

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky rectifiers


class Residual(nn.Module):
    """x + conv(act(gain x conv(act(x)))): two 3 x 3 convolutions, the second zero at the start.

    Args:
        channels: in and out.
        latent: size of the vector that the gain depends on; 0 for none.
    """

    def __init__(self, channels: int, latent: int = 0):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.gain = nn.Linear(latent, channels) if latent else None
        nn.init.kaiming_normal_(self.first.weight, SLOPE)
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        if self.gain is not None:
            nn.init.zeros_(self.gain.weight)
            nn.init.ones_(self.gain.bias)

    def forward(self, x: Tensor, latent: Tensor | None = None) -> Tensor:
        h = self.first(F.leaky_relu(x, SLOPE))
        if self.gain is not None:
            h = h * self.gain(latent)[:, :, None, None]
        return x + self.second(F.leaky_relu(h, SLOPE))


def one_by_one(before: int, after: int) -> nn.Module:
    """A 1 x 1 convolution between two numbers of channels; nothing where they are equal."""
    if before == after:
        return nn.Identity()
    layer = nn.Conv2d(before, after, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return layer
