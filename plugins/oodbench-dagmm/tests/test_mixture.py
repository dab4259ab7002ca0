"""The mixture against scikit-learn and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_dagmm.mixture import Mixture, energy, estimate, singular
from sklearn.mixture import GaussianMixture

N, D, K, EPSILON = 400, 4, 3, 1e-6
SCALES = torch.tensor([100.0, 1.0, 0.1, 1e-3], dtype=torch.float64)
"""Features as unlike in size as a code and a cosine."""


def features(n: int = N, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(D, D, generator=generator, dtype=torch.float64)
    return torch.randn(n, D, generator=generator, dtype=torch.float64) @ mixing * SCALES


def memberships(n: int = N, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log_softmax(dim=1)


def in_sklearn(mixture: Mixture) -> GaussianMixture:
    model = GaussianMixture(K, covariance_type="full")
    model.weights_, model.means_ = mixture.log_weights.exp().numpy(), mixture.means.numpy()
    model.covariances_ = mixture.covariances.numpy()
    model.precisions_cholesky_ = np.stack([np.linalg.inv(np.linalg.cholesky(c)).T for c in model.covariances_])
    return model


def test_the_energy_is_scikit_learns_negative_log_likelihood():
    mixture = estimate(features(), memberships(), EPSILON)
    others = torch.cat([features(50, seed=2), 30 * features(50, seed=3)])
    expected = -in_sklearn(mixture).score_samples(others.numpy())
    np.testing.assert_allclose(energy(mixture, others).numpy(), expected, rtol=1e-8)


def test_the_parameters_are_the_weighted_moments():
    x, gamma = features().numpy(), memberships().exp().numpy()
    mixture = estimate(features(), memberships(), EPSILON)
    np.testing.assert_allclose(mixture.log_weights.exp(), gamma.mean(axis=0), rtol=1e-12)
    for k in range(K):
        np.testing.assert_allclose(mixture.means[k], np.average(x, axis=0, weights=gamma[:, k]), rtol=1e-9)
        covariance = np.cov(x.T, aweights=gamma[:, k], ddof=0) + EPSILON * np.eye(D)
        np.testing.assert_allclose(mixture.covariances[k], covariance, rtol=1e-9, atol=1e-15)


def test_one_component_is_the_normal_distribution():
    mixture = estimate(features(), torch.zeros(N, 1), 0.0)
    normal = torch.distributions.MultivariateNormal(mixture.means[0], mixture.covariances[0])
    torch.testing.assert_close(energy(mixture, features()), -normal.log_prob(features()))


def test_far_away_the_energy_is_large_and_finite():
    mixture = estimate(features(), memberships(), EPSILON)
    far = energy(mixture, 1e6 * torch.ones(1, D))
    assert far.isfinite().all() and far > 1e6


def test_a_component_that_nothing_belongs_to_divides_nothing_by_zero():
    lonely = memberships()
    lonely[:, 2] = -2000.0  # exp gives 0
    mixture = estimate(features(), lonely.log_softmax(dim=1), EPSILON)
    assert all(part.isfinite().all() for part in mixture)
    assert energy(mixture, features()).isfinite().all()
    assert singular(mixture, N, EPSILON) == []


def dependent(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[:, :3], x[:, :1] - 2 * x[:, 1:2]], dim=1)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    {
        "one value": lambda x: torch.ones_like(x),
        "a constant feature": lambda x: torch.cat([x[:, :3], torch.full((len(x), 1), 0.3, dtype=x.dtype)], dim=1),
        "a feature that others give": dependent,
        "in float32": lambda x: dependent(x.float() * torch.tensor([0.01, 1, 1, 1])).double(),
        "not finite": lambda x: x / 0,
    }.items(),
)
def test_singular_covariances_are_found_however_regularised(kind, spoil):
    mixture = estimate(spoil(features()), memberships(), EPSILON)
    assert singular(mixture, N, EPSILON) == [0, 1, 2], kind


def test_sound_covariances_are_not_taken_for_singular():
    assert singular(estimate(features(), memberships(), EPSILON), N, EPSILON) == []
    assert singular(estimate(features(), memberships(), 0.0), N, 0.0) == []
    assert singular(estimate(features(D - 1), memberships(D - 1), EPSILON), D - 1, EPSILON) != [], "fewer than D"


def test_gradients_reach_features_and_memberships():
    x, gamma = features().requires_grad_(), memberships().requires_grad_()
    loss = energy(estimate(x, gamma, EPSILON), x).mean()
    for gradient in torch.autograd.grad(loss, [x, gamma]):
        assert gradient.isfinite().all() and gradient.abs().max() > 0
