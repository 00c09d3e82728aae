"""The distribution of the coefficients that e leaves open, as a rectified flow.

    x_0 = noise,  dx/dt = v(x, t, e),  x_1 = coefficients        t from 0 to 1

v is trained to be x_1 - x_0 on the straight ways between noise and the coefficients of real faces (Liu et
al., "Flow Straight and Fast", ICLR 2023; Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023).
The same noise gives the same coefficients. A normal distribution in their place gives every woman a share of
a
beard: coefficients depend on each other and on e in other ways than covariances.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FREQUENCIES = 16  # of t
_FASTEST = 150.0  # radians per unit of t
_CONDITION = 128  # numbers of (t, e) that each block sees
DROPOUT = 0.1


class CoefficientFlow(nn.Module):
    """forward: the velocity (B, coefficients) at x (B, coefficients), t (B,) in [0, 1] and e (B, embedding).

    Args:
        embedding, coefficients: sizes of e and of x.
        width: of the hidden layers.
        blocks: residual blocks; each is scaled and shifted by (t, e).
        steps: of Euler's method, when coefficients are drawn.
    """

    def __init__(self, embedding: int, coefficients: int, width: int, blocks: int, steps: int):
        super().__init__()
        self.steps = steps
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            rates = _FASTEST ** (torch.arange(_FREQUENCIES) / (_FREQUENCIES - 1))
        self.register_buffer("frequencies", rates, persistent=False)
        self.condition = nn.Sequential(
            nn.Linear(embedding + 2 * _FREQUENCIES, width),
            nn.SiLU(),
            nn.Linear(width, _CONDITION),
            nn.SiLU(),
        )
        self.first = nn.Linear(coefficients, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.last = nn.Linear(width, coefficients)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor, e: Tensor) -> Tensor:
        angle = t[:, None] * self.frequencies
        condition = self.condition(torch.cat([e, angle.sin(), angle.cos()], dim=1))
        h = self.first(x)
        for block in self.blocks:
            h = block(h, condition)
        return self.last(F.layer_norm(h, h.shape[1:]))

    def draw(self, e: Tensor, noise: Tensor) -> Tensor:
        """Coefficients (B, coefficients) of e (B, embedding) and standard normal noise (B, coefficients)."""
        x = noise
        for step in range(self.steps):
            t = torch.full_like(x[:, 0], step / self.steps)
            x = x + self(x, t, e) / self.steps
        return x

    def loss(self, coefficients: Tensor, e: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Mean square of the velocity's error on the straight ways from noise to coefficients.

        Args:
            coefficients, noise: (B, coefficients).
            e: (B, embedding).
            t: (B,) in [0, 1].
        """
        place = torch.lerp(noise, coefficients, t[:, None])
        return F.mse_loss(self(place, t, e), coefficients - noise)


class _Block(nn.Module):
    """h + linear(SiLU(linear(scaled and shifted h))), the second linear layer 0 at the start."""

    def __init__(self, width: int):
        super().__init__()
        self.scale_shift = nn.Linear(_CONDITION, 2 * width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.scale_shift(condition).chunk(2, dim=1)
        inner = F.silu(self.first(F.layer_norm(h, h.shape[1:]) * (1 + scale) + shift))
        return h + self.second(F.dropout(inner, DROPOUT, self.training))
