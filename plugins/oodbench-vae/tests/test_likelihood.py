"""The bounds and the likelihood against a VAE whose likelihood is known: linear, with Gaussians everywhere.

p(z) = N(0, I), p(x|z) = N(Wz + b, I) give p(x) = N(b, WWᵀ + I), and the posterior is N(M⁻¹Wᵀ(x - b), M⁻¹) with
M = I + WᵀW, which is diagonal where W has orthogonal columns.
"""

from __future__ import annotations

import math

import pytest
import torch
from oodbench_vae.likelihood import (
    divergence,
    importance_weighted_nll,
    log_normal,
    negative_elbo,
    reconstruction_nll,
)
from torch.distributions import MultivariateNormal, Normal, kl_divergence

D, D_Z = 6, 3


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ORTHOGONAL, _ = torch.linalg.qr(noise(D, D_Z))
W = ORTHOGONAL * torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
OFFSET = noise(D, seed=1)
X = 1.5 * noise(40, D, seed=2) + OFFSET
TRUE_NLL = -MultivariateNormal(OFFSET, W @ W.T + torch.eye(D)).log_prob(X)
VARIANCE = 1 / (1 + (W**2).sum(dim=0))  # (D_z,) of the true posterior


def decode(z: torch.Tensor) -> torch.Tensor:
    return z @ W.T + OFFSET


def true_posterior(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = VARIANCE * ((x - OFFSET) @ W)
    return mean, VARIANCE.log().div(2).expand_as(mean)


def poor_posterior(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Off by half a unit, and a little too wide."""
    mean, log_std = true_posterior(x)
    return mean + 0.5, log_std + 0.3


@pytest.mark.parametrize("n", [1, 2, 50])
def test_with_the_true_posterior_every_sample_gives_the_exact_likelihood(n):
    torch.testing.assert_close(importance_weighted_nll(true_posterior, decode, X, noise(n, D_Z, seed=3)), TRUE_NLL)


def test_with_another_posterior_many_samples_do():
    many = importance_weighted_nll(poor_posterior, decode, X, noise(20_000, D_Z, seed=3))
    torch.testing.assert_close(many, TRUE_NLL, atol=0.05, rtol=0)


def test_the_bound_tightens_with_samples():
    """On average over draws of the noise: one sample, the bound itself, is the loosest, and none is below the truth."""

    def bound(n: int) -> torch.Tensor:
        draws = [importance_weighted_nll(poor_posterior, decode, X, noise(n, D_Z, seed=seed)) for seed in range(200)]
        return torch.stack(draws).mean()

    bounds = [bound(n) for n in (1, 3, 10, 100)]
    gaps = [(value - TRUE_NLL.mean()).item() for value in bounds]
    assert gaps[0] > 1.3 * gaps[1] > 1.3**2 * gaps[2] > 1.3**3 * gaps[3] > 0
    mean, log_std = poor_posterior(X)
    posterior, truth = Normal(mean, log_std.exp()), Normal(true_posterior(X)[0], VARIANCE.sqrt())
    gap_of_elbo = kl_divergence(posterior, truth).sum(dim=1).mean().item()  # KL(q ‖ true posterior)
    assert gaps[0] == pytest.approx(gap_of_elbo, rel=0.1)


def test_the_elbo_is_the_likelihood_less_the_divergence_from_the_true_posterior():
    terms = [torch.stack(negative_elbo(poor_posterior, decode, X, noise(40, D_Z, seed=seed))) for seed in range(2000)]
    nll, kl = torch.stack(terms).mean(dim=0)
    mean, log_std = poor_posterior(X)
    gap = kl_divergence(Normal(mean, log_std.exp()), Normal(true_posterior(X)[0], VARIANCE.sqrt())).sum(dim=1)
    torch.testing.assert_close(nll + kl, TRUE_NLL + gap, atol=0.25, rtol=0)


def test_the_reconstruction_is_the_expected_nll():
    """E_q ½‖x - f(z)‖² = ½ (‖x - f(μ)‖² + Σ σ²‖W_i‖²), in a linear decoder."""
    mean, log_std = poor_posterior(X)
    spread = ((2 * log_std).exp() * (W**2).sum(dim=0)).sum(dim=1)
    expected = 0.5 * ((X - decode(mean)).square().sum(dim=1) + spread) + D / 2 * math.log(2 * math.pi)
    scores = reconstruction_nll(poor_posterior, decode, X, noise(20_000, D_Z, seed=4))
    torch.testing.assert_close(scores, expected, atol=0.15, rtol=0)


def test_densities_against_torch():
    values = noise(5, 2, 3)
    torch.testing.assert_close(log_normal(values), Normal(0.0, 1.0).log_prob(values).sum(dim=(1, 2)))
    mean, log_std = noise(5, 3, seed=5), noise(5, 3, seed=6)
    expected = kl_divergence(Normal(mean, log_std.exp()), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(divergence(mean, log_std), expected)
