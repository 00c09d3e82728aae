"""Polyharmonic splines: against scipy's, through their values, and their small solve in plain operations."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from voice2face_gan.models.generators.spline import ANCHORS, basis, eliminate, kernel, solve

SCIPY = {1: "linear", 2: "thin_plate_spline"}


def spline(nodes, values, points, order, smoothing):
    system = kernel(nodes, nodes, order) + smoothing * torch.eye(len(nodes), dtype=nodes.dtype)
    return kernel(points, nodes, order) @ solve(system, values)


@pytest.fixture(scope="module")
def problem():
    random = torch.Generator().manual_seed(0)
    return [torch.rand(n, 2, generator=random, dtype=torch.float64) for n in (20, 20, 50)]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("smoothing", [0.0, 1e-3])
def test_it_is_scipys_spline_with_zeros_at_the_anchors(problem, order, smoothing):
    nodes, values, points = problem
    found = spline(nodes, values, points, order, smoothing)
    scipys = RBFInterpolator(
        np.concatenate([ANCHORS, nodes]),
        np.concatenate([np.zeros((3, 2)), values]),
        kernel=SCIPY[order],
        degree=1,
        smoothing=np.repeat([0, smoothing], [3, len(nodes)]),
    )
    assert np.allclose(found, scipys(points), atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_it_passes_through_its_values_and_is_zero_at_the_anchors(problem, order):
    nodes, values, _ = problem
    assert torch.allclose(spline(nodes, values, nodes, order, 0), values, atol=1e-9)
    assert spline(nodes, values, torch.tensor(ANCHORS, dtype=torch.float64), order, 0).abs().max() < 1e-12


def test_order_1_is_r_and_order_2_is_r_squared_log_r():
    """sparse_image_warp's order is 1, a thin plate's 2: they are different splines."""
    r = torch.tensor([0.5, 2.0])
    assert torch.allclose(basis(r**2, 1), -r)
    assert torch.allclose(basis(r**2, 2), r**2 * r.log())


@pytest.mark.parametrize("order", [1, 2])
def test_the_kernel_needs_no_exchange_of_rows(problem, order):
    matrix = kernel(problem[0], problem[0], order)
    assert torch.allclose(matrix, matrix.t()) and torch.linalg.eigvalsh(matrix).min() > 0


def test_elimination_gives_what_lapack_gives():
    random = torch.Generator().manual_seed(1)
    a = torch.randn(3, 12, 12, generator=random, dtype=torch.float64)
    matrix = a @ a.transpose(1, 2) + torch.eye(12, dtype=torch.float64)
    right = torch.randn(3, 12, 2, generator=random, dtype=torch.float64)
    assert torch.allclose(eliminate(matrix, right), torch.linalg.solve(matrix, right), atol=1e-10)
    assert torch.allclose(solve(matrix, right), torch.linalg.solve(matrix, right), atol=1e-10)
    assert torch.allclose(eliminate(matrix[0], right[0]), eliminate(matrix, right)[0])


def test_a_matrix_that_rounding_spoils_is_solved_all_the_same():
    """Not positive definite, as of nodes that nearly meet in float32: with exchange of rows."""
    matrix = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    right = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    assert torch.allclose(matrix @ solve(matrix, right), right)
