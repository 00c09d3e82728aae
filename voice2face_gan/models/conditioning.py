"""From the encoder's output to the embedding that a generator takes: strength, soft clip, noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.settings import Settings

LIMIT_QUANTILE = 0.95
_LINEAR = 0.6  # of an element's limit: up to there it is left alone


@dataclass(frozen=True)
class Controls(Settings):
    """How an embedding is prepared for the generator; the table `controls` of a checkpoint's config.json.

    Args:
        strength: what the generator takes is e times this, where it is not normalised; above 1 faces are
            exaggerated, for a predicted e is smaller than people's own (0 is the average face).
        soft_clip: of each element of strength x e, how large it gets: up to 0.6 of it an element is left
            alone, beyond it bends towards it. Otherwise what is predicted well, such as sex, becomes a
            caricature at a strength that what is predicted badly needs. Empty for none.
        residual_std: of each element of e, the standard deviation that the voice leaves open, sqrt(1 - R2)
            (people's own is 1); empty where that is not known. Variants differ by it, and the `default`
            recipe simulates voices by it. Of the paired regression from voice to face
            (training/ridge.py): a checkpoint of a voice encoder on a face space has it.
        normalise_embedding: the generator takes e / |e|, and e / |e| again after noise is added.
        embedding_noise_std: standard deviation of the Gaussian noise added to each element of e in training.
    """

    table: ClassVar[str] = "controls"

    strength: float = 1.0
    soft_clip: tuple[float, ...] = ()
    residual_std: tuple[float, ...] = ()
    normalise_embedding: bool = True
    embedding_noise_std: float = 0.05

    def __post_init__(self) -> None:
        self.make_tuples("soft_clip", "residual_std")
        free = not self.normalise_embedding
        self.check(
            {
                "embedding_noise_std must not be negative": self.embedding_noise_std >= 0,
                "strength must not be negative": self.strength >= 0,
                "strength other than 1 needs normalise_embedding = false": self.strength == 1 or free,
                "soft_clip must be above 0 for each element": all(x > 0 for x in self.soft_clip),
                "soft_clip needs normalise_embedding = false": not self.soft_clip or free,
                "residual_std must be from 0 to 1 for each element": all(
                    0 <= r <= 1 for r in self.residual_std
                ),
            }
        )

    def check_size(self, embedding: int) -> None:
        """
        Raises:
            CheckpointError: there are numbers for another size of e.
        """
        for name, numbers in (("soft_clip", self.soft_clip), ("residual_std", self.residual_std)):
            if numbers and len(numbers) != embedding:
                raise CheckpointError(
                    f"controls.{name} must be empty or as long as the embedding ({embedding}), "
                    f"not {len(numbers)}."
                )


def normalise_embedding(e: Tensor, controls: Controls) -> Tensor:
    """The predicted e, from the encoder's output (B, embedding): of length 1 with `normalise_embedding`, and
    in any case before strength and soft clip, which serve the image."""
    return F.normalize(e, dim=1) if controls.normalise_embedding else e


def condition(
    e: Tensor, controls: Controls, noise: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """What the generator takes, from the encoder's output.

    Args:
        e: (B, embedding), the encoder's output.
        noise: (B, embedding), standard normal; None for none.
        scale: standard deviation to give the noise; default `embedding_noise_std`. Where e is not normalised
            it is relative to |e|, so that 0.05 means the same disturbance in every variant.
    Returns:
        (B, embedding): normalise(normalise(e) + scale x noise) with `normalise_embedding`, else
        e' + scale |e'| noise with e' = soft_clip(strength x e).
    """
    scale = controls.embedding_noise_std if scale is None else scale
    e = normalise_embedding(e, controls)
    if controls.normalise_embedding:
        return e if noise is None or scale == 0 else F.normalize(e + scale * noise, dim=1)
    e = soft_clip(e * controls.strength, controls.soft_clip)
    return e if noise is None or scale == 0 else e + scale * e.norm(dim=1, keepdim=True) * noise


def soft_clip_limits(e: np.ndarray) -> tuple[float, ...]:
    """Limits of the soft clip: how large each element of faces' own e (N, embedding) is for all but one face
    in twenty."""
    return tuple(round(float(x), 3) for x in np.quantile(np.abs(e), LIMIT_QUANTILE, axis=0))


def soft_clip(e: Tensor, limit: Sequence[float] | Tensor) -> Tensor:
    """Each element of e (B, embedding) as it is up to 0.6 of its limit, then smoothly towards that limit.

    Args:
        limit: (embedding,), above 0; empty for none.
    """
    if not len(limit):
        return e
    largest = torch.as_tensor(limit, device=e.device, dtype=e.dtype)
    linear, size = _LINEAR * largest, e.abs()
    room = largest - linear
    beyond = linear + room * torch.tanh((size - linear) / room)
    return e.sign() * torch.where(size < linear, size, beyond)
