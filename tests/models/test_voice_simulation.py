"""Voices simulated for faces: the regression and the whole covariance of its errors."""

import torch

from voice2face_gan.models.voice_simulation import VoiceSimulation


def test_it_gives_what_it_was_fitted_on():
    """Predictions made by a known linear map with correlated errors are simulated alike."""
    random = torch.Generator().manual_seed(0)
    own = torch.randn(20_000, 3, generator=random) + 1
    weights = torch.tensor([[0.8, 0.1, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.2]])
    errors = torch.randn(20_000, 3, generator=random) @ torch.tensor(
        [[0.3, 0.3, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 0.4]]
    )
    simulation = VoiceSimulation.fit(own, own @ weights + 0.5 + errors)
    assert torch.allclose(simulation.weights, weights, atol=0.03)
    made = simulation(own, torch.randn(20_000, 3, generator=random))
    left = made - own @ weights - 0.5
    assert torch.allclose(torch.cov(left.t()), torch.cov(errors.t()), atol=0.02)
    assert torch.allclose(made.mean(dim=0), (own @ weights + 0.5).mean(dim=0), atol=0.02)
