"""The maximum mean discrepancy (MMD) between two samples, with an RBF kernel."""

from __future__ import annotations

import torch


def mmd(x: torch.Tensor, y: torch.Tensor, bandwidth2: torch.Tensor) -> torch.Tensor:
    """Return the unbiased estimate of MMD² between the distributions of x (n, d) and y (m, d), a scalar.

    1/(n(n-1)) Σ_{i≠j} k(x_i, x_j) + 1/(m(m-1)) Σ_{i≠j} k(y_i, y_j) - 2/(nm) Σ_{ij} k(x_i, y_j), with
    k(a, b) = exp(-‖a - b‖² / 2β²). It may be negative, and is zero for fewer than two rows of x or y. Source: Gretton
    et al., A Kernel Two-Sample Test (2012), Lemma 6.

    Args:
        bandwidth2: β², a scalar.
    """
    if min(len(x), len(y)) < 2:
        return 0 * x.sum()

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.exp(-squared_distances(a, b) / (2 * bandwidth2))

    return off_diagonal_mean(kernel(x, x)) + off_diagonal_mean(kernel(y, y)) - 2 * kernel(x, y).mean()


@torch.no_grad()
def median_heuristic(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return β²: the mean of the median squared distances within x (n, d) and within y (m, d), a scalar."""
    return (median_squared_distance(x) + median_squared_distance(y)) / 2


def median_squared_distance(x: torch.Tensor) -> torch.Tensor:
    """Return the median squared distance over all pairs of rows of x (n, d), a scalar; 1 if there is no pair."""
    return torch.pdist(x).square().quantile(0.5) if len(x) > 1 else x.new_ones(())


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the squared distances (n, m) between rows of a (n, d) and b (m, d).

    They are computed from differences: ‖a‖² + ‖b‖² - 2ab would suffer from cancellation, and be rounded under autocast.
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def off_diagonal_mean(matrix: torch.Tensor) -> torch.Tensor:
    """Return the mean of the off-diagonal elements of a square matrix (n, n), a scalar."""
    n = len(matrix)
    return (matrix.sum() - matrix.diagonal().sum()) / (n * (n - 1))
