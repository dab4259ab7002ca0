"""The maximum mean discrepancy between two samples, with an RBF kernel."""

from __future__ import annotations

import torch


def mmd(x: torch.Tensor, y: torch.Tensor, bandwidth2: torch.Tensor) -> torch.Tensor:
    """Unbiased estimate of MMD² between the sources of x (n, d) and y (m, d); zero from fewer than two of either.

    1/(n(n-1)) Σ_{i≠j} k(x_i, x_j) + 1/(m(m-1)) Σ_{i≠j} k(y_i, y_j) - 2/(nm) Σ_{ij} k(x_i, y_j), with
    k(a, b) = exp(-‖a - b‖² / 2b²) and b² = ``bandwidth2``. It may be negative. Source: Gretton et al., A Kernel
    Two-Sample Test (2012), Lemma 6.
    """
    if min(len(x), len(y)) < 2:
        return 0 * x.sum()

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.exp(-squared_distances(a, b) / (2 * bandwidth2))

    return off_diagonal_mean(kernel(x, x)) + off_diagonal_mean(kernel(y, y)) - 2 * kernel(x, y).mean()


@torch.no_grad()
def median_heuristic(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """b²: the mean of the two samples' median squared distances between pairs, each pair within one sample."""
    return (median_squared_distance(x) + median_squared_distance(y)) / 2


def median_squared_distance(x: torch.Tensor) -> torch.Tensor:
    """Over all pairs i < j of the rows of x (n, d); 1, which is as good as any, where there is no pair."""
    return torch.pdist(x).square().quantile(0.5) if len(x) > 1 else x.new_ones(())


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n, d), (m, d) → (n, m). By differences: ‖a‖² + ‖b‖² - 2ab would cancel, and be rounded under autocast."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def off_diagonal_mean(matrix: torch.Tensor) -> torch.Tensor:
    """Of a square matrix (n, n)."""
    n = len(matrix)
    return (matrix.sum() - matrix.diagonal().sum()) / (n * (n - 1))
