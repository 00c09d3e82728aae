"""Logistic regression, by which all linear probes are fitted."""

import torch
from torch import Tensor


def fit_logistic(x: Tensor, y: Tensor, penalty: float = 1e-3) -> Tensor:
    """Weights and bias (D + 1,) of a logistic regression of y (N,) in {0, 1} on x (N, D).

    Newton's method on the mean log-loss with an L2 penalty on the weights, classes weighted equally. The
    penalty is relative to the variance of x, so that the result does not depend on its scale.
    """
    scale = x.std().clamp_min(1e-12)
    design = torch.cat([x / scale, torch.ones_like(x[:, :1])], dim=1)
    share = y.mean().clamp(1e-6, 1 - 1e-6)
    weight = torch.where(y > 0.5, 0.5 / share, 0.5 / (1 - share))
    ridge = penalty * torch.eye(design.shape[1], dtype=x.dtype)
    ridge[-1, -1] = 1e-9
    theta = x.new_zeros(design.shape[1])
    for _ in range(50):
        p = torch.sigmoid(design @ theta)
        gradient = design.t() @ (weight * (p - y)) / len(y) + ridge @ theta
        curvature = design.t() @ ((weight * p * (1 - p))[:, None] * design) / len(y) + ridge
        change = torch.linalg.solve(curvature, gradient)
        theta = theta - change
        if change.abs().max() < 1e-8:
            break
    return torch.cat([theta[:-1] / scale, theta[-1:]])
