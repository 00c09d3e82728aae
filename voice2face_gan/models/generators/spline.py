"""Polyharmonic splines in the plane, pinned at three fixed points: solved and evaluated by plain operations.

A polyharmonic spline through values v_i at nodes x_i is s(x) = sum_i w_i phi(|x - x_i|) + a + b x + c y with
sum_i w_i = sum_i w_i x_i = 0 (Duchon 1977); phi(r) is r for order 1 and r^2 log r for order 2, the thin
plate. Its matrix has zeros on its diagonal, so that a solver must exchange rows, which no exporter of ONNX
can write.

Here three nodes, the anchors, are the same in every spline and have value 0. With their barycentric
coordinates l_j(x) the same spline is s(x) = sum_i u_i k(x, x_i) over the other nodes (the kernel
of the native space: Wendland, "Scattered Data Approximation", 2005), with

    k(x, y) = phi(x, y) - sum_j l_j(x) phi(c_j, y) - sum_j l_j(y) phi(x, c_j)
              + sum_jk l_j(x) l_k(y) phi(c_j, c_k)

and the sign of phi such that k is positive definite: + for r^2 log r, - for r. So the matrix needs no
exchange of rows, and no polynomial beside it. A smoothing parameter is added to the diagonal; it is 0 at
pinned nodes.
"""

import torch
from torch import Tensor

ANCHORS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
"""Corners of the unit square, at which every spline here is 0."""

_TINY = 1e-30  # of a squared distance; keeps the slope of root and logarithm finite


def basis(squared: Tensor, order: int) -> Tensor:
    """phi of squared distances, with the sign that makes the kernel positive definite: -r or r^2 log r."""
    squared = squared.clamp(min=_TINY)
    return -squared.sqrt() if order == 1 else 0.5 * squared * squared.log()


def kernel(x: Tensor, y: Tensor, order: int) -> Tensor:
    """k(x, y), positive definite and 0 at the anchors.

    Args:
        x: (..., N, 2); y: (..., M, 2), in the plane of the unit square.
        order: 1 (r) or 2 (r^2 log r).
    Returns:
        (..., N, M).
    """
    anchors = x.new_tensor(ANCHORS)
    lx, ly = barycentric(x), barycentric(y)  # (..., N, 3), (..., M, 3)
    between = basis(squared_distance(anchors, anchors), order)
    # The corner terms of x and of y, with half of what both share.
    left = basis(squared_distance(x, anchors), order) - 0.5 * lx @ between
    right = basis(squared_distance(y, anchors), order) - 0.5 * ly @ between
    corners = left @ ly.transpose(-1, -2) + lx @ right.transpose(-1, -2)
    return basis(squared_distance(x, y), order) - corners


def barycentric(x: Tensor) -> Tensor:
    """Coordinates (..., N, 3) of points (..., N, 2) in the triangle of the anchors: they add up to 1."""
    return torch.cat([1 - x.sum(dim=-1, keepdim=True), x], dim=-1)


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """(..., N, 2) and (..., M, 2) -> (..., N, M), by differences: products would cancel for near points."""
    return (x[..., :, None, :] - y[..., None, :, :]).square().sum(dim=-1)


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """The solution of positive definite systems: (..., N, N), (..., N, K) -> (..., N, K).

    Where a network is exported, by Gauss elimination without exchange of rows, in multiplications, divisions
    and sums alone; else by LAPACK's Cholesky decomposition.
    """
    if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
        return eliminate(matrix, right)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    # Rounding can take the last of near nodes below zero: their system is solved with exchange of rows.
    if failed.any():
        return torch.linalg.solve(matrix, right)
    return torch.cholesky_solve(right, factor)


def eliminate(matrix: Tensor, right: Tensor) -> Tensor:
    """`solve` by Gauss-Jordan elimination in plain operations: N steps, each on all rows at once."""
    count = matrix.shape[-1]
    rows = torch.cat([matrix, right], dim=-1)
    unit = torch.eye(count, dtype=matrix.dtype, device=matrix.device)
    for i in range(count):
        # Columns before i are unit vectors already and are left out: column i is the first.
        pivot = rows[..., i : i + 1, 1:] / rows[..., i : i + 1, :1]
        rows = rows[..., 1:] - (rows[..., :1] - unit[:, i : i + 1]) * pivot
    return rows
