"""A Gaussian mixture estimated in one step from memberships that a network predicts.

Everything is computed in float64, which autocast does not change: codes, relative errors and cosines have different
scales, so that their covariances are ill-conditioned.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

RESOLVED = 1e-14
"""Least ratio, per dimension, of smallest to greatest eigenvalue of a covariance that float32 features resolve: about
the square of their relative rounding error."""


class Mixture(NamedTuple):
    """A Gaussian mixture of K components over D features, float64."""

    log_weights: torch.Tensor  # (K,) log φ
    means: torch.Tensor  # (K, D) μ
    covariances: torch.Tensor  # (K, D, D) Σ, regularised
    triangles: torch.Tensor  # (K, D, D) lower Cholesky factors of Σ; NaN if there is none


def estimate(features: torch.Tensor, log_memberships: torch.Tensor, epsilon: float) -> Mixture:
    """Return the mixture estimated from features (n, D) and their memberships (Zong et al., 2018, eq. 5).

    Args:
        log_memberships: logarithms of the membership of each feature vector in each component, (n, K). With
            logarithms, a component with almost no members does not cause a division by zero.
        epsilon: added to the diagonal of the covariances.
    """
    features, log_memberships = features.double(), log_memberships.double()
    log_counts = log_memberships.logsumexp(dim=0)  # (K,)
    shares = (log_memberships - log_counts).exp()  # (n, K), each column sums to 1
    means = shares.T @ features
    deviations = features[:, None] - means  # (n, K, D)
    covariances = torch.einsum("nk,nki,nkj->kij", shares, deviations, deviations)
    covariances = covariances + epsilon * torch.eye(features.shape[1], dtype=torch.float64, device=features.device)
    triangles, failed = torch.linalg.cholesky_ex(covariances)
    triangles = torch.where(failed[:, None, None] > 0, torch.nan, triangles)
    return Mixture(log_counts - math.log(len(features)), means, covariances, triangles)


def energy(mixture: Mixture, features: torch.Tensor) -> torch.Tensor:
    """Return E = -log Σ_k φ_k N(features; μ_k, Σ_k), (n, D) → (n,) float64 (Zong et al., 2018, eq. 6).

    The public code (danieltan07/dagmm) differs: det(2πΣ)^¼ for det(2πΣ)^½, and energies capped at 27.631 = -ln 1e-12.
    """
    deviations = features.double() - mixture.means[:, None]  # (K, n, D)
    whitened = torch.linalg.solve_triangular(mixture.triangles, deviations.mT, upper=False)  # (K, D, n)
    log_determinants = 2 * mixture.triangles.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    constant = mixture.log_weights - 0.5 * (log_determinants + features.shape[1] * math.log(2 * math.pi))
    return -(constant[:, None] - 0.5 * whitened.square().sum(dim=1)).logsumexp(dim=0)


def singular(mixture: Mixture, n: int, epsilon: float) -> list[int]:
    """Return the indices of components whose covariance is numerically singular.

    Components whose memberships sum to less than 1 are ignored, as they contribute almost nothing to the density.

    Args:
        n: number of feature vectors that the mixture was estimated from.
        epsilon: value that was added to the diagonal of the covariances.
    """
    weighty = mixture.log_weights + math.log(n) >= 0
    dimensions = mixture.means.shape[1]
    found = mixture.triangles.isnan().any(dim=(1, 2))
    plain = mixture.covariances - epsilon * torch.eye(dimensions, dtype=torch.float64, device=weighty.device)
    sound = plain.isfinite().all(dim=(1, 2))
    values = torch.linalg.eigvalsh(torch.where(sound[:, None, None], plain, 0.0))  # ascending
    found = found | ~sound | (values[:, 0] <= RESOLVED * dimensions * values[:, -1])
    return (found & weighty).nonzero()[:, 0].tolist()
