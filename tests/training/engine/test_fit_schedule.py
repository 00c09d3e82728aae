"""The schedule that fits itself to --minutes."""

import math
from types import SimpleNamespace

import pytest

from voice2face_gan.training.engine import trainer as module
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.engine.trainer import Reporter, Trainer
from voice2face_gan.training.stages.gan_base import GanStage


def stage(iterations: int, lr_decay: float = 0.5) -> GanStage:
    made = object.__new__(GanStage)
    made.name, made.iterations, made.settings = "gan", iterations, SimpleNamespace(lr_decay=lr_decay)
    return made


@pytest.fixture
def trainer(monkeypatch):
    """Function (seconds left, limit) -> a trainer for which the clock stands still."""
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)

    def make(seconds: float, limit: int | None = None) -> Trainer:
        return Trainer(None, Reporter(), limit, seconds, [], None, SingleProcess("cpu"))

    return make


def meter(per_second: float):
    return SimpleNamespace(recent_speed=lambda: per_second)


def test_a_schedule_is_made_longer_or_shorter_before_the_learning_rate_falls(trainer):
    for before in (300, 9000):
        some = stage(before)
        assert trainer(100)._fitted_total(some, meter(10.0), 50, before) == some.iterations
        assert 50 + 900 < some.iterations < 50 + 1000, "a little time is kept for the last checkpoint"


def test_it_goes_on_being_fitted_while_the_learning_rate_falls(trainer):
    some = stage(1000)
    assert trainer(10)._fitted_total(some, meter(20.0), 600, 1000) == some.iterations < 800
    assert trainer(10)._fitted_total(some, meter(21.0), 700, some.iterations) > 890
    some.fit_schedule(10, done=950)
    assert some.iterations == 950, "never before what is done"


def test_the_speed_is_that_of_the_last_ticks(monkeypatch):
    """A pause counts as long as it is among them."""
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    speed = module._Meter(0, SingleProcess("cpu"))
    for tick in range(1, 11):
        clock[0] += 1.0 + 10.0 * (tick == 5)
        speed.read(10 * tick)
    assert speed.recent_speed() == 100 / 20
    for tick in range(11, 40):
        clock[0] += 2.0
        speed.read(10 * tick)
    assert speed.recent_speed() == 5.0


def test_a_fitted_schedule_is_kept_and_the_recipes_is_not():
    """A run that goes on takes the recipe's iterations, which may have been changed, unless it was fitted."""
    some, again = stage(1000), stage(1200)
    for one in (some, again):
        one.saved, one.generator_ema, one.discriminator_first, one.fine_tunes = (), None, 0, False
    again.load(some.state())
    assert again.iterations == 1200
    some.fit_schedule(700, done=10)
    again.load(some.state())
    assert again.iterations == 700 and again.schedule_was_fitted


def test_what_is_not_fitted(trainer):
    """Without a time limit, without a learning rate that falls, and beyond --iterations."""
    some = stage(1000)
    assert trainer(math.inf)._fitted_total(some, meter(1.0), 10, 1000) == 1000
    flat = stage(1000, lr_decay=0.0)
    assert trainer(5)._fitted_total(flat, meter(1.0), 10, 1000) == 1000
    assert trainer(500, limit=70)._fitted_total(stage(1000), meter(10.0), 10, 70) == 70
    assert trainer(5)._fitted_total(SimpleNamespace(name="encoder"), meter(1.0), 10, 1000) == 1000
