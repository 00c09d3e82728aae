"""Examples that take longer to make than to learn from serve several times.

"Data echoing": Choi, Passos, Shallue and Dahl, "Faster neural network training with data echoing", 2019. The
examples of many batches are kept, the oldest batch gives way to a new one every few iterations, and each
iteration draws from all that are there. What is there depends on the iteration alone, so that a resumed run
makes the same examples again.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class EchoBuffer:
    """Log-mels, cut anew at every use.

    Args:
        make: number of a batch, from 0 on -> log-mels (B, bins, frames) and labels (B, ...), always of the
            same shapes, decided by the number.
        batches: kept at a time.
        times: each example serves on average.
    """

    def __init__(
        self,
        make: Callable[[int], tuple[Tensor, Tensor]],
        batches: int,
        times: int,
    ):
        self.make, self.batches, self.times = make, batches, times
        self._mel = self._labels = None
        self._made = range(0)  # the numbers of the batches that are there

    def draw(self, iteration: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A batch for an iteration.

        Args:
            frames: wanted, at most as many as are made.
            rng: chooses the examples, and the place where they are cut.
        Returns:
            float32 (B, bins, frames) and labels (B, ...).
        """
        wanted = range(iteration // self.times, iteration // self.times + self.batches)
        for number in wanted:
            if number not in self._made:
                self._keep(number, *self.make(number))
        self._made = wanted
        batch, there = len(self._mel) // self.batches, len(self._mel)
        chosen = torch.from_numpy(rng.integers(there, size=batch))
        start = int(rng.integers(self._mel.shape[2] - frames + 1))
        return self._mel[chosen, :, start : start + frames].float(), self._labels[chosen]

    def _keep(self, number: int, mel: Tensor, labels: Tensor) -> None:
        if self._mel is None:
            many = self.batches * len(mel)
            self._mel = torch.empty((many, *mel.shape[1:]), dtype=torch.float16)
            self._labels = torch.empty((many, *labels.shape[1:]), dtype=labels.dtype)
        start = number % self.batches * len(mel)
        self._mel[start : start + len(mel)] = mel
        self._labels[start : start + len(mel)] = labels
