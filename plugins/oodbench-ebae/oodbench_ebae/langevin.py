"""The latent Langevin chain of EBAE; the one in image space is ``oodbench.nn.langevin.visible_chain``.

Gradients are taken with respect to the code only: no parameter gradient is computed or accumulated. Source: supplement
to Suppressing Outlier Reconstruction in Autoencoders for Out-of-Distribution Detection (2020), §3, "Sampling
parameters".
"""

from __future__ import annotations

import torch

from oodbench.nn.autoencoder import to_sphere
from oodbench.nn.langevin import Chain, Energy, Gradient, input_gradient, mean_energy


def latent_step(
    z: torch.Tensor, gradient: torch.Tensor, noise: torch.Tensor, step_size: float, noise_std: float, spherical: bool
) -> torch.Tensor:
    """Return z - λ_z ∇H(z) + σ_z ε for codes z (b, D_z), projected onto the unit sphere if ``spherical``.

    Args:
        gradient: ∇H(z), (b, D_z); the Euclidean gradient, not its tangential part.
        noise: ε, standard normal, (b, D_z).
        step_size: λ_z.
        noise_std: σ_z.
    """
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
    """Run Langevin steps on H(z) = E(f_d(z)) from codes z (b, D_z), and return where they end.

    Args:
        energy: H, maps codes (b, D_z) to energies (b,).
        step_size: λ_z.
        noise_std: σ_z.
        spherical: project codes onto the unit sphere after each step.
        generator: source of the noise.
        gradient_of: computes gradient and energies, as ``input_gradient`` does.
    """
    first = None
    for _ in range(steps):
        gradient, energies = gradient_of(energy, z)
        first = energies.mean() if first is None else first
        noise = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        z = latent_step(z, gradient, noise, step_size, noise_std, spherical)
    first = mean_energy(energy, z) if first is None else first
    return Chain(z.detach(), first, z.new_zeros((), dtype=torch.float64))
