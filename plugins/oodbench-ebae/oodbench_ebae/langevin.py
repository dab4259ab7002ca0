"""The latent Langevin chain of EBAE (supplement §3, "Sampling parameters"); the visible one is the library's.

Gradients are taken with respect to the code alone: no parameter gradient is computed, let alone accumulated.
"""

from __future__ import annotations

import torch

from oodbench.nn.autoencoder import to_sphere
from oodbench.nn.langevin import Chain, Energy, Gradient, input_gradient, mean_energy


def latent_step(
    z: torch.Tensor, gradient: torch.Tensor, noise: torch.Tensor, step_size: float, noise_std: float, spherical: bool
) -> torch.Tensor:
    """z - λ_z ∇H(z) + σ_z ε, then back onto the sphere. The gradient is Euclidean, not tangential."""
    z = z - step_size * gradient + noise_std * noise
    return to_sphere(z) if spherical else z


def latent_chain(
    energy: Energy,
    z: torch.Tensor,
    steps: int,
    step_size: float,
    noise_std: float,
    spherical: bool,
    generator: torch.Generator,
    gradient_of: Gradient = input_gradient,
) -> Chain:
    """Langevin steps on H(z) = E(f_d(z)) from codes z (b, D_z)."""
    first = None
    for _ in range(steps):
        gradient, energies = gradient_of(energy, z)
        first = energies.mean() if first is None else first
        noise = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        z = latent_step(z, gradient, noise, step_size, noise_std, spherical)
    first = mean_energy(energy, z) if first is None else first
    return Chain(z.detach(), first, z.new_zeros((), dtype=torch.float64))
