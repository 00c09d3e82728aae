"""Linear regression of parts of a face on what they change with."""

import torch
from torch import Tensor

_LEAST = 1e-9  # of a cause's square: without it faces all alike have no solution


def slopes(causes: Tensor, values: Tensor) -> Tensor:
    """How values (N, D) change with each of the causes (N, C) alone, by least squares: (C, D)."""
    causes = causes - causes.mean(dim=0)
    least = _LEAST * len(causes) * torch.eye(causes.shape[1], device=causes.device)
    return torch.linalg.solve(causes.t() @ causes + least, causes.t() @ (values - values.mean(dim=0)))
