"""Likelihoods of a variational autoencoder with p(z) = N(0, I), p(x|z) = N(x; f_d(z), I), q(z|x) = N(z; μ, σ²).

Functions take the posterior and the decoder as functions, and the noise as a tensor. Results are in nats per image,
summed over its dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Posterior = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Maps images (b, …) to μ and log σ of q(z|x), each (b, D_z)."""
Decoder = Callable[[torch.Tensor], torch.Tensor]
"""Maps codes (b, D_z) to means of p(x|z), (b, …)."""

LOG_2PI = math.log(2 * math.pi)


def log_normal(values: torch.Tensor) -> torch.Tensor:
    """Return the log density of values (b, …) under N(0, I), summed over all dimensions but the first, (b,)."""
    values = values.flatten(1)
    return -0.5 * (values.square().sum(dim=1) + values.shape[1] * LOG_2PI)


def divergence(mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
    """Return KL(q(z|x) ‖ p(z)) = ½ Σ (μ² + σ² - 1) - Σ log σ, (b,), given μ and log σ, each (b, D_z)."""
    return (0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std).sum(dim=1)


def negative_elbo(
    posterior: Posterior, decode: Decoder, x: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two terms of the bound on -log p(x), each (b,): -log p(x|z) at z = μ + σε, and the KL divergence.

    Args:
        x: images (b, C, H, W).
        noise: ε, standard normal, (b, D_z).
    """
    mean, log_std = posterior(x)
    nll = -log_normal(x - decode(mean + log_std.exp() * noise))
    return nll, divergence(mean, log_std)


def reconstruction_nll(posterior: Posterior, decode: Decoder, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return -1/n Σ_s log p(x|z_s) with z_s = μ + σε_s, (b,).

    Args:
        x: images (b, C, H, W).
        noise: ε_s, standard normal, (n, D_z); all images share its rows.
    """
    mean, log_std = posterior(x)
    total = torch.zeros(len(x), device=x.device, dtype=mean.dtype)
    for epsilon in noise:
        total = total - log_normal(x - decode(mean + log_std.exp() * epsilon))
    return total / len(noise)


def importance_weighted_nll(
    posterior: Posterior, decode: Decoder, x: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """Return -log 1/n Σ_s p(x|z_s) p(z_s) / q(z_s|x) with z_s = μ + σε_s, (b,).

    Its expectation is an upper bound on -log p(x) that falls with n. Source: Burda et al., Importance Weighted
    Autoencoders (2016), eq. 8.

    Args:
        x: images (b, C, H, W).
        noise: ε_s, standard normal, (n, D_z); all images share its rows.
    """
    mean, log_std = posterior(x)
    log_weights = []
    for epsilon in noise:
        z = mean + log_std.exp() * epsilon
        log_q = log_normal(epsilon[None]) - log_std.sum(dim=1)
        log_weights.append(log_normal(x - decode(z)) + log_normal(z) - log_q)
    return math.log(len(noise)) - torch.stack(log_weights).logsumexp(dim=0)
