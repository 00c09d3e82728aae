"""Data echoing: examples that take longer to make than a step are used several times.

Choi, Passos, Shallue and Dahl, "Faster neural network training with data echoing", 2019. The examples of many
batches are buffered, the oldest batch is replaced by a new one every few iterations, and each iteration draws
from the whole buffer. Its content depends on the iteration alone, so that a resumed run makes the same
examples again.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class EchoBuffer:
    """A buffer of log-mels, cropped anew at every use.

    Args:
        make: number of a batch, from 0 on -> log-mels (B, bins, frames) and labels (B, ...), always of the
            same shapes, decided by the number.
        batches: number of batches in the buffer.
        times: uses of each example, on average.
    """

    def __init__(
        self,
        make: Callable[[int], tuple[Tensor, Tensor]],
        batches: int,
        times: int,
    ):
        self.make, self.batches, self.times = make, batches, times
        self._mel = self._labels = None
        self._made = range(0)  # the numbers of the batches in the buffer

    def draw(self, iteration: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A batch for an iteration.

        Args:
            frames: of the crops, at most as many as are made.
            rng: chooses the examples, and where they are cropped.
        Returns:
            float32 (B, bins, frames) and labels (B, ...).
        """
        wanted = range(iteration // self.times, iteration // self.times + self.batches)
        for number in wanted:
            if number not in self._made:
                self._keep(number, *self.make(number))
        self._made = wanted
        examples = len(self._mel)
        chosen = torch.from_numpy(rng.integers(examples, size=examples // self.batches))
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
