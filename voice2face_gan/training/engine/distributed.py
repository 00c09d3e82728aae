"""Several processes that train one model, by Hugging Face Accelerate; and the same for one process alone.

    torchrun --nproc_per_node=2 -m voice2face_gan train ...
    accelerate launch --num_processes 2 -m voice2face_gan train ...

Every process holds the whole model. Batches depend on seed and step alone (data/batches/sampling.py), so
each process draws the indices, crops and noise of the step's whole batch and takes its own slice of them;
gradients are averaged in one piece before each optimiser's step. As every loss is a mean over the batch,
or over places of the whole batch, the weights move as those of one process with the whole batch would, up
to the order of additions.

Batch normalisation is the exception: on GPUs it is made synchronous; on CPUs, where PyTorch has no
synchronous one, each process normalises by its own slice. The running averages that a checkpoint keeps are
those of the first process.

The run folder and the data must be on a disk that all processes see.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from voice2face_gan.device import choose_device
from voice2face_gan.errors import DeviceError, TrainingError, VoiceToFaceError

T = TypeVar("T")


class LostProcessError(TrainingError):
    """Another process of the run has ended; it has said why itself, if it could."""


class RankError(TrainingError):
    """What happened to one process alone, which must say so itself."""


class SingleProcess:
    """One process: all of the batch is its own, and nothing is to be agreed on.

    Attributes:
        rank, size: this process's number, and how many there are.
        device: where it computes.
    """

    rank, size = 0, 1

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def shard(self, batch: int) -> slice:
        """The part of a batch that is this process's: every `size`-th place, so that what is done at the
        first places alone, or at the last, is shared too."""
        return slice(self.rank, batch // self.size * self.size, self.size)

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Makes every gradient the mean of the processes' own."""

    def mean(self, values: Tensor) -> Tensor:
        """The mean of the processes' values, any shape."""
        return values

    def masked_mean(self, total: Tensor, count: Tensor) -> Tensor:
        """This process's share of a mean over counted places of the whole batch: the mean of the processes'
        shares is that mean, also where one has more such places than another. 0 where there is none.

        Args:
            total, count: sum of these places' values, and their number, in this process's part; scalars.
        """
        return total / self.mean(count.float()).clamp(min=1 / self.size)

    def max(self, value: int) -> int:
        """The largest of the processes' values (0 or more)."""
        return value

    def on_all_ranks(self, function: Callable[[], T]) -> T:
        """Calls it in every process. Where it fails in one of them, every process raises that error."""
        return function()

    def on_main(self, function: Callable[[], T]) -> T:
        """Calls it in the main process alone; all processes get what it returned or raise what it raised."""
        return function()

    def sync_batchnorm(self, net: nn.Module) -> nn.Module:
        """The net with batch normalisation over all processes, where there are several, with GPUs."""
        return net

    def close(self) -> None:
        """Ends the connection, once nothing is to be said any more."""

    @contextlib.contextmanager
    def error_boundary(self):
        """Around all that a command does: of an error that ends every process the main one alone speaks; the
        others leave with code 2."""
        try:
            yield
        except (VoiceToFaceError, OSError) as error:
            if self.is_main or isinstance(error, RankError):
                raise
            raise SystemExit(2) from None
        self.close()


class MultiProcess(SingleProcess):
    """One of several processes.

    Args:
        device: "auto", "cpu" or "cuda"; of the GPUs of a machine each process takes its own.
    """

    def __init__(self, device: str = "auto"):
        if device not in ("auto", "cpu", "cuda"):
            raise DeviceError(
                f"--device {device}: with several processes each takes its own GPU; use auto, cpu or cuda."
            )
        if device == "cuda":
            choose_device(device)  # says so where there is none
        try:
            from accelerate import Accelerator
        except ImportError:
            raise TrainingError(
                "Training in several processes needs Accelerate: pip install 'voice2face-gan[distributed]'."
            ) from None
        try:
            self._accelerator = Accelerator(cpu=device == "cpu" or not torch.cuda.is_available())
        except (RuntimeError, ValueError) as error:  # the others cannot be reached
            raise TrainingError(f"The processes of this run cannot reach each other ({error}).") from error
        own = self._accelerator.device
        super().__init__(own if own.type == "cuda" else "cpu")  # Accelerate says "cpu:0"
        self.rank, self.size = self._accelerator.process_index, self._accelerator.num_processes

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        flat = self.mean(torch.cat([g.reshape(-1) for g in gradients]))
        parts = flat.split([g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])

    def mean(self, values: Tensor) -> Tensor:
        return self._talk(lambda: self._accelerator.reduce(values, "mean"))

    def max(self, value: int) -> int:
        mine = torch.tensor([value], device=self.device)
        return int(self._talk(lambda: self._accelerator.gather(mine)).max())

    def on_all_ranks(self, function: Callable[[], T]) -> T:
        from accelerate.utils import gather_object

        result, error = _try(function)
        errors = self._talk(lambda: gather_object([error]))
        _raise_first(errors, error)
        return result

    def on_main(self, function: Callable[[], T]) -> T:
        from accelerate.utils import broadcast_object_list

        told = [*(_try(function) if self.is_main else (None, None))]
        error = told[1]
        self._talk(lambda: broadcast_object_list(told))
        _raise_first([told[1]], error)
        return told[0]

    def sync_batchnorm(self, net: nn.Module) -> nn.Module:
        return nn.SyncBatchNorm.convert_sync_batchnorm(net) if self.device.type == "cuda" else net

    def close(self) -> None:
        if torch.distributed.is_initialized():
            # MultiProcess: a process that leaves while another still talks may abort in gloo's threads.
            self._talk(self._accelerator.wait_for_everyone)
            torch.distributed.destroy_process_group()

    def _talk(self, exchange: Callable[[], T]) -> T:
        try:
            return exchange()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # the connection is closed: gloo and NCCL say it in many ways
            raise LostProcessError(
                "Another process of this run has ended; what it said itself comes before this. Earlier "
                "checkpoints are kept: go on with --resume."
            ) from error


def started_processes(device: str = "auto") -> SingleProcess:
    """This process among those that torchrun or `accelerate launch` started, or alone.

    Args:
        device: "auto", "cpu", "cuda", ...
    Raises:
        DeviceError: this machine has no such device.
        TrainingError: Accelerate is not installed, or the others cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        return MultiProcess(device)
    return SingleProcess(choose_device(device))


def _try(function: Callable[[], T]) -> tuple[T | None, VoiceToFaceError | OSError | None]:
    try:
        return function(), None
    except (VoiceToFaceError, OSError) as error:
        return None, error


def _raise_first(errors: list, mine: Exception | None) -> None:
    """Every process raises the first error of all; its own with its own traceback."""
    first = next((e for e in errors if e is not None), None)
    if first is not None:
        raise first if mine is None else mine
