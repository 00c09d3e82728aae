"""The angular margin against its definition."""

import math

import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.training.margin import MarginHead


def head_of(weights: torch.Tensor, margin: float, scale: float = 10.0) -> MarginHead:
    head = MarginHead(weights.shape[1], len(weights), margin, scale).eval()  # batch norm does next to nothing
    head.weight.data.copy_(weights)
    return head


def test_logits_are_cosines_of_angles():
    head = head_of(torch.tensor([[2.0, 0.0], [0.0, 0.5]]), 0.0)
    angles = torch.tensor([0.0, 0.5, 2.0])
    e = 7 * torch.stack([angles.cos(), angles.sin()], dim=1)
    torch.testing.assert_close(
        head(e), 10 * torch.stack([angles.cos(), angles.sin()], dim=1), atol=1e-3, rtol=0
    )


def test_the_own_angle_counts_as_larger():
    head = head_of(torch.eye(2), 0.3)
    angles = torch.tensor([0.2, 1.0, 2.5, 3.0])
    e = torch.stack([angles.cos(), angles.sin()], dim=1)
    judged = head.with_margin(head(e), torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(judged[:, 1], 10 * angles.sin(), atol=1e-3, rtol=0)
    wanted = 10 * (angles + 0.3).cos()
    wanted[3] = 10 * (math.cos(3.0) - 0.3 * math.sin(0.3))  # 3.0 + 0.3 is beyond pi
    torch.testing.assert_close(judged[:, 0], wanted, atol=1e-2, rtol=0)
    every = torch.linspace(0, math.pi, 500)
    falls = head.with_margin(
        10 * torch.stack([every.cos(), every.sin()], dim=1), torch.zeros(500, dtype=torch.int64)
    )[:, 0]
    assert (falls.diff() <= 1e-4).all(), "a larger angle is never better"


def test_without_margin_nothing_changes():
    head = head_of(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), 0.0)
    logits = head(torch.randn(16, 8, generator=torch.Generator().manual_seed(1)))
    judged = head.with_margin(logits, torch.arange(16) % 5)
    torch.testing.assert_close(judged, logits, atol=1e-3, rtol=0)


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_it_learns(margin):
    torch.manual_seed(0)
    centres = torch.randn(6, 8)
    labels = torch.arange(60) % 6
    e = centres[labels] + 0.3 * torch.randn(60, 8) + 5.0  # alike, but for what the norm takes off
    head = MarginHead(8, 6, margin, 20.0)
    optimiser = torch.optim.Adam(head.parameters(), 0.05)
    for _ in range(60):
        loss = F.cross_entropy(head.with_margin(head(e), labels), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.isfinite(head.weight).all()
    assert (head(e).argmax(1) == labels).float().mean() > 0.95
