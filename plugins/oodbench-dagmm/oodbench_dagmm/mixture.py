"""A Gaussian mixture whose memberships a network gives, so that its parameters follow without iteration.

All in float64: covariances of features as unlike as a code and a cosine are badly scaled, and autocast leaves float64
alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

RESOLVED = 1e-14
"""Smallest over greatest eigenvalue of a covariance, a dimension, that features computed in float32 can bear out: about
the square of their relative rounding."""


class Mixture(NamedTuple):
    """K components over D features, float64."""

    log_weights: torch.Tensor  # (K,) log φ
    means: torch.Tensor  # (K, D) μ
    covariances: torch.Tensor  # (K, D, D) Σ, regularised
    triangles: torch.Tensor  # (K, D, D) lower Cholesky factors of Σ; NaN where there is none


def estimate(features: torch.Tensor, log_memberships: torch.Tensor, epsilon: float) -> Mixture:
    """Weights, means and covariances (plus ε on the diagonal) of features (n, D) with memberships (n, K).

    Zong et al. (2018), eq. 5. In logarithms, so that a component that hardly anything belongs to divides nothing by
    zero.
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
    """E = -log Σ_k φ_k N(features; μ_k, Σ_k), (n, D) → (n,) float64. Zong et al. (2018), eq. 6.

    The public code (danieltan07/dagmm) differs: det(2πΣ)^¼ for det(2πΣ)^½, and no energy above 27.631 = -ln 1e-12.
    """
    deviations = features.double() - mixture.means[:, None]  # (K, n, D)
    whitened = torch.linalg.solve_triangular(mixture.triangles, deviations.mT, upper=False)  # (K, D, n)
    log_determinants = 2 * mixture.triangles.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    constant = mixture.log_weights - 0.5 * (log_determinants + features.shape[1] * math.log(2 * math.pi))
    return -(constant[:, None] - 0.5 * whitened.square().sum(dim=1)).logsumexp(dim=0)


def singular(mixture: Mixture, n: int, epsilon: float) -> list[int]:
    """The components, of a mixture estimated from n features, whose covariance has no inverse to speak of.

    A component that not even one feature belongs to is let be: nearly none of the density is its.
    """
    weighty = mixture.log_weights + math.log(n) >= 0
    dimensions = mixture.means.shape[1]
    found = mixture.triangles.isnan().any(dim=(1, 2))
    plain = mixture.covariances - epsilon * torch.eye(dimensions, dtype=torch.float64, device=weighty.device)
    sound = plain.isfinite().all(dim=(1, 2))
    values = torch.linalg.eigvalsh(torch.where(sound[:, None, None], plain, 0.0))  # ascending
    found = found | ~sound | (values[:, 0] <= RESOLVED * dimensions * values[:, -1])
    return (found & weighty).nonzero()[:, 0].tolist()
