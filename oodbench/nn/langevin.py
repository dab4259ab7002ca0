"""Langevin chains in image space, for energies that are trained on their own samples.

Gradients are taken with respect to the sample only: no parameter gradient is computed or accumulated. "EBAE" and
its "supplement" refer to Suppressing Outlier Reconstruction in Autoencoders for Out-of-Distribution Detection (2020).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

Energy = Callable[[torch.Tensor], torch.Tensor]
Gradient = Callable[[Energy, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Clip = Literal["row", "element", "none"]
Anneal = Literal["supplement", "code", "none"]


class Chain(NamedTuple):
    """The samples at the end of a chain (n, …), and measurements along it (scalars on the device)."""

    end: torch.Tensor
    first_energy: torch.Tensor
    """Mean energy at the start of the chain; NaN for a chain of no steps."""
    clip_fraction: torch.Tensor
    """Share of gradient rows (or elements) that were clipped, over all steps."""


def input_gradient(energy: Energy, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ∇_x E(x) of each sample, in the shape of x (b, …), and E(x), (b,)."""
    x = x.detach().requires_grad_()
    energies = energy(x)
    (gradient,) = torch.autograd.grad(energies.sum(), x)
    return gradient, energies.detach()


def mean_energy(energy: Energy, x: torch.Tensor) -> torch.Tensor:
    """Return the mean of E over the samples x: the first energy of a chain without steps."""
    with torch.no_grad():
        return energy(x).mean()


def visible_step(
    x: torch.Tensor,
    gradient: torch.Tensor,
    noise: torch.Tensor,
    step_size: float,
    noise_std: float,
    box: tuple[float, float] = (0, 1),
) -> torch.Tensor:
    """Return x - λ_x g + σ_t ε, clamped to the box.

    Args:
        x: images (b, C, H, W).
        gradient: g, the clipped ∇E(x), in the shape of x.
        noise: ε, standard normal, in the shape of x.
        step_size: λ_x.
        noise_std: σ_t.
        box: least and greatest value of a pixel.
    """
    return (x - step_size * gradient + noise_std * noise).clamp(*box)


def clip_gradient(gradient: torch.Tensor, limit: float, clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the clipped gradient (b, C, H, W), and the share of rows or elements that were clipped.

    Args:
        clip: ``row`` scales each image row of each channel to an L2 norm of at most the limit (the EBAE authors' code);
            ``element`` clamps each number to ±limit (Du & Mordatch; the EBAE authors' later hold-out code); ``none``
            leaves the gradient as it is.
    """
    if clip == "row":
        norm = gradient.norm(dim=-1, keepdim=True)
        return gradient * (limit / norm.clamp_min(limit)), (norm > limit).double().mean()
    if clip == "element":
        return gradient.clamp(-limit, limit), (gradient.abs() > limit).double().mean()
    return gradient, gradient.new_zeros((), dtype=torch.float64)


def annealed(noise_std: float, step: int, anneal: Anneal) -> float:
    """Return σ_t, the standard deviation of the noise at step t = 0, 1, …

    Args:
        noise_std: σ.
        step: t.
        anneal: ``supplement`` for σ/(1+t); ``code`` for σ, σ, σ/2, σ/3, … (the authors' code); ``none`` for σ.
    """
    divisor = {"supplement": 1 + step, "code": max(1, step), "none": 1}[anneal]
    return noise_std / divisor


def visible_chain(
    energy: Energy,
    x: torch.Tensor,
    steps: int,
    step_size: float,
    noise_std: float,
    anneal: Anneal,
    limit: float,
    clip: Clip,
    generator: torch.Generator,
    box: tuple[float, float] = (0, 1),
    gradient_of: Gradient = input_gradient,
) -> Chain:
    """Run Langevin steps on E(x) from images x (b, C, H, W), and return where they end.

    Args:
        energy: maps images (b, C, H, W) to energies (b,).
        step_size: λ_x.
        noise_std: σ, before annealing.
        anneal: how σ falls; see ``annealed``.
        limit, clip: how the gradient is clipped; see ``clip_gradient``.
        generator: source of the noise.
        box: least and greatest value of a pixel, kept at every step.
        gradient_of: computes gradient and energies, as ``input_gradient`` does.
    """
    first, clipped = None, x.new_zeros((), dtype=torch.float64)
    for step in range(steps):
        gradient, energies = gradient_of(energy, x)
        first = energies.mean() if first is None else first
        gradient, share = clip_gradient(gradient, limit, clip)
        clipped = clipped + share / steps
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = visible_step(x, gradient, noise, step_size, annealed(noise_std, step, anneal), box)
    return Chain(x.detach(), mean_energy(energy, x) if first is None else first, clipped)
