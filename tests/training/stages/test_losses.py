"""The losses of the GAN stages, each written out."""

import math

import pytest
import torch

from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.stages.losses import (
    UNKNOWN_IDENTITY,
    bce,
    classification,
    cosine_distance,
    cosine_schedule,
    discriminator_loss,
    generator_loss,
    l1,
    loss_ramp,
    perceptual_loss,
    r1_r2_penalty,
    weighted_sum,
)

ONE = SingleProcess("cpu")


def test_bce_is_that_of_probabilities():
    score = torch.tensor([0.3, -2.0])
    p = torch.sigmoid(score)
    assert float(bce(score, True)) == pytest.approx(float(-p.log().mean()))
    assert float(bce(score, False)) == pytest.approx(float(-(1 - p).log().mean()))


def test_the_relativistic_losses_compare_pairs():
    real, fake = torch.tensor([1.0, -1.0]), torch.tensor([0.0, 2.0])
    d = (math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 2
    g = (math.log1p(math.exp(1)) + math.log1p(math.exp(-3))) / 2
    assert float(discriminator_loss(real, fake, "relativistic")) == pytest.approx(d)
    assert float(generator_loss(fake, real, "relativistic")) == pytest.approx(g)


def test_the_penalties_are_squared_norms_of_gradients():
    """The score x^2 / 2 has the gradient x: R1 + R2 is the mean of |x|^2 over real, plus over fake ones."""
    faces = torch.randn(6, 3, 4, 4)
    penalty = r1_r2_penalty(lambda x: (x.square() / 2).sum(dim=(1, 2, 3)), faces.clone())
    norms = faces.square().sum(dim=(1, 2, 3))
    assert float(penalty.detach()) == pytest.approx(float(norms[:3].mean() + norms[3:].mean()), rel=1e-5)


def test_faces_of_unknown_identity_do_not_count():
    logits, identity = torch.randn(4, 3), torch.tensor([0, UNKNOWN_IDENTITY, 2, UNKNOWN_IDENTITY])
    log_p = logits.log_softmax(dim=1)
    assert float(classification(logits, identity, ONE)) == pytest.approx(
        float(-(log_p[0, 0] + log_p[2, 2]) / 2), rel=1e-5
    )
    assert float(classification(logits, torch.full((4,), UNKNOWN_IDENTITY), ONE)) == 0


def test_cosine_distance_is_0_of_the_same_direction_and_2_of_the_opposite():
    a = torch.randn(3, 8)
    assert float(cosine_distance(a, 2 * a)) == pytest.approx(0, abs=1e-6)
    assert float(cosine_distance(a, -a)) == pytest.approx(2, rel=1e-6)


def test_faces_count_in_l1_by_their_weights():
    fake, real = (
        torch.zeros(3, 1, 2, 2),
        torch.tensor([1.0, 2.0, 4.0])[:, None, None, None].expand(3, 1, 2, 2),
    )
    assert float(l1(fake, real, None, ONE)) == pytest.approx(7 / 3)
    assert float(l1(fake, real, torch.tensor([True, False, True]), ONE)) == 2.5
    assert float(l1(fake, real, torch.tensor([1.0, 0.5, 0.5]), ONE)) == 2.0
    assert float(l1(fake, real, torch.zeros(3, dtype=torch.bool), ONE)) == 0


def test_the_perceptual_loss_is_relative_to_each_map():
    """Maps of another scale count alike; equal ones not at all."""
    real = [torch.rand(2, 3, 4, 4) + 1, torch.rand(2, 5, 2, 2) + 1]
    fake = [1.1 * real[0], 0.7 * real[1]]
    assert float(perceptual_loss(fake, real, None, ONE)) == pytest.approx((0.1 + 0.3) / 2, rel=1e-4)
    scaled = float(perceptual_loss([100 * fake[0], fake[1]], [100 * real[0], real[1]], None, ONE))
    assert scaled == pytest.approx(0.2, rel=1e-4)
    first = torch.tensor([1.0, 0.0])
    assert (
        float(
            perceptual_loss(
                [torch.cat([a[:1], b[1:]]) for a, b in zip(real, fake, strict=True)], real, first, ONE
            )
        )
        == 0
    )


def test_schedules():
    assert [cosine_schedule(2, 1, x) for x in (0, 0.5, 1)] == pytest.approx([2, 1.5, 1])
    assert [loss_ramp(i, 10) for i in (0, 10, 15, 20, 99)] == [0, 0, 0.5, 1, 1] and loss_ramp(0, 0) == 1


def test_losses_without_a_weight_count_as_they_are():
    losses = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert float(weighted_sum(losses, {"b": 0.5, "c": 7.0})) == 3.5
