"""The rectified flow of coefficients."""

import torch

from voice2face_gan.models.generators.coefficient_flow import CoefficientFlow


def make(steps: int = 4) -> CoefficientFlow:
    torch.manual_seed(0)
    return CoefficientFlow(2, 3, 32, 2, steps).eval()


def test_a_new_flow_gives_the_noise_back():
    noise = torch.randn(5, 3)
    assert torch.equal(make().draw(torch.randn(5, 2), noise), noise)


def test_a_constant_velocity_is_integrated_exactly_in_any_number_of_steps():
    for steps in (1, 3, 8):
        flow = make(steps)
        torch.nn.init.constant_(flow.last.bias, 2.0)
        noise = torch.randn(5, 3)
        torch.testing.assert_close(flow.draw(torch.randn(5, 2), noise), noise + 2)


def test_the_loss_is_that_of_the_straight_way():
    """With velocity 0: the mean square of the way itself; with its own velocity: 0."""
    flow = make()
    coefficients, noise, e = torch.randn(6, 3), torch.randn(6, 3), torch.randn(6, 2)
    loss = flow.loss(coefficients, e, noise, torch.rand(6))
    torch.testing.assert_close(loss, (coefficients - noise).square().mean())
    torch.nn.init.constant_(flow.last.bias, 2.0)
    assert float(flow.loss(noise + 2, e, noise, torch.rand(6))) < 1e-10


def test_it_learns_a_distribution_that_depends_on_e():
    """Coefficients are +-2 with the sign of e, spread 0.1: the mean and the spread come back, though a normal
    distribution of all of them has neither."""
    flow, torch_random = make(12).train(), torch.Generator().manual_seed(1)

    def draw(count):
        e = torch.randn(count, 2, generator=torch_random).sign()
        return e, 2 * e[:, :1] + 0.1 * torch.randn(count, 3, generator=torch_random)

    optimiser = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(400):
        e, coefficients = draw(128)
        noise, t = torch.randn(128, 3, generator=torch_random), torch.rand(128, generator=torch_random)
        loss = flow.loss(coefficients, e, noise, t)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    e, _ = draw(500)
    with torch.no_grad():
        made = flow.eval().draw(e, torch.randn(500, 3, generator=torch_random))
    distance = made - 2 * e[:, :1]
    assert distance.abs().mean() < 0.4 and distance.mean().abs() < 0.2
