"""A voice simulated for a face: what a voice encoder would predict of the face's own e.

    e' = e weights + offset + n noise        n standard normal

It is the linear regression from people's own e to the e predicted from their voices by an encoder that was
fitted without them, with the residual's whole covariance. Elements err together: a voice that sounds too old
is wrong about age, wrinkles and hair at once, which noise of each element by itself does not show.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

_RIDGE = 0.02  # of the variance that people have in an element of e
_LEAST = 1e-4  # variance of the noise in any direction


@dataclass(frozen=True)
class VoiceSimulation:
    """
    Attributes:
        weights: float32 (E, E). offset: (E,). noise: (E, E).
    """

    weights: Tensor
    offset: Tensor
    noise: Tensor

    def __call__(self, e: Tensor, normal: Tensor) -> Tensor:
        """e' (B, E) of faces' own e (B, E) and standard normal numbers (B, E)."""
        return e @ self.weights + self.offset + normal @ self.noise

    @classmethod
    def fit(cls, own: Tensor, predicted: Tensor) -> "VoiceSimulation":
        """
        Args:
            own: (N, E), e of each voice's speaker, read from faces.
            predicted: (N, E), e of each voice, by an encoder fitted on others.
        """
        mean, offset = own.mean(dim=0), predicted.mean(dim=0)
        x, y = own - mean, predicted - offset
        gram = x.t() @ x
        penalty = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype)
        weights = torch.linalg.solve(gram + penalty, x.t() @ y)
        residual = y - x @ weights
        covariance = residual.t() @ residual / len(x) + _LEAST * torch.eye(len(gram), dtype=x.dtype)
        noise = torch.linalg.cholesky(covariance).t().contiguous()
        return cls(*(part.float() for part in (weights, offset - mean @ weights, noise)))

    def tensors(self) -> dict[str, Tensor]:
        return {part.name: getattr(self, part.name).detach().cpu().clone() for part in fields(self)}

    def to(self, device: torch.device) -> "VoiceSimulation":
        return VoiceSimulation(**{name: part.to(device) for name, part in self.tensors().items()})

    @staticmethod
    def shapes(size: int) -> dict[str, tuple[int, ...]]:
        """Shapes of `tensors`, for e of a size."""
        return {"weights": (size, size), "offset": (size,), "noise": (size, size)}
