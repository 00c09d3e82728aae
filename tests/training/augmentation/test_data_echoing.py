"""Examples used again: how often, which ones at which iteration, and how they are cut."""

import numpy as np
import torch

from voice2face_gan.training.augmentation.data_echoing import EchoBuffer

BATCH, FRAMES = 4, 30


class Making:
    """Batches whose labels are their own numbers; counts what it made."""

    def __init__(self):
        self.made = []

    def __call__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.made.append(number)
        random = torch.Generator().manual_seed(number)
        return torch.randn(BATCH, 3, FRAMES, generator=random), BATCH * number + torch.arange(BATCH)


def rng(iteration: int) -> np.random.Generator:
    return np.random.default_rng([7, iteration])


def test_each_example_serves_so_often_on_average():
    making = Making()
    echo, drawn = EchoBuffer(making, batches=5, times=3), []
    for iteration in range(600):
        drawn.append(echo.draw(iteration, 20, rng(iteration))[1])
    assert making.made == list(range(199 + 5))  # each once, one every three iterations
    used = torch.cat(drawn).bincount()[5 * BATCH : 190 * BATCH].float()  # those that came and went
    assert 2.8 < used.mean() < 3.2 and used.max() > 4


def test_only_what_is_there_is_drawn():
    echo = EchoBuffer(Making(), batches=5, times=3)
    for iteration in (0, 1, 2, 3, 30, 31):
        drawn = echo.draw(iteration, 20, rng(iteration))[1] // BATCH
        assert drawn.min() >= iteration // 3 and drawn.max() < iteration // 3 + 5


def test_a_resumed_run_draws_the_same():
    through, making = EchoBuffer(Making(), 5, 3), Making()
    whole = [through.draw(i, 20, rng(i)) for i in range(40)]
    resumed = EchoBuffer(making, 5, 3)
    for i in range(25, 40):
        mel, labels = resumed.draw(i, 20, rng(i))
        assert torch.equal(mel, whole[i][0]) and torch.equal(labels, whole[i][1])
    assert min(making.made) == 25 // 3  # what has gone is not made again


def test_a_cut_is_a_piece_of_its_example():
    echo = EchoBuffer(making := Making(), batches=2, times=2)
    starts = set()
    for iteration in range(12):
        mel, labels = echo.draw(iteration, 20, rng(iteration))
        assert mel.shape == (BATCH, 3, 20) and mel.dtype == torch.float32
        found = set()
        for row, label in zip(mel, labels.tolist(), strict=True):
            whole = making(label // BATCH)[0][label % BATCH]
            away = [float((row - whole[:, s : s + 20]).abs().max()) for s in range(11)]
            found.add(int(np.argmin(away)))
            assert min(away) < 4e-3, "kept in half precision"
        assert len(found) == 1  # one place a batch
        starts |= found
    assert len(starts) > 3
