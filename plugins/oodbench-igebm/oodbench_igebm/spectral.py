"""Spectral normalisation (Miyato et al., 2018) as in published implementations of IGEBM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 15
"""Iterations of the power method for fresh weights; in training one per update follows."""


class SpectralNorm(nn.Module):
    """A parametrization W → W / σ(W), where σ is the largest singular value of W as a matrix (out, in·k·k).

    σ comes from the power method: one iteration each time the weight is computed in training mode, none in evaluation
    mode, so that scores depend only on the weights.

    Args:
        weight: W, (out, in, k, k), at the start.
        bound: divide by max(σ(W), 1) instead; PyTorch's own spectral normalisation lacks this option.
    """

    u: torch.Tensor

    def __init__(self, weight: torch.Tensor, bound: bool):
        super().__init__()
        self.bound = bound
        self.register_buffer("u", functional.normalize(torch.randn(len(weight), dtype=weight.dtype), dim=0))
        for _ in range(FIRST_ITERATIONS):
            self.iterate(weight.detach().flatten(1))

    def iterate(self, matrix: torch.Tensor) -> None:
        """Make one iteration of the power method on W as a matrix (out, in·k·k)."""
        self.u = functional.normalize(matrix @ self.right(matrix), dim=0)

    def right(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return the right singular vector (in·k·k,) that belongs to u, of W as a matrix (out, in·k·k)."""
        return functional.normalize(matrix.T @ self.u, dim=0)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the normalised weight, in the shape (out, in, k, k) of ``weight``."""
        with torch.autocast(weight.device.type, enabled=False):  # σ would be inaccurate in bfloat16
            matrix = weight.flatten(1)
            with torch.no_grad():
                if self.training:
                    self.iterate(matrix)
                v = self.right(matrix)
            sigma = self.u @ (matrix @ v)
            return weight / (sigma.clamp_min(1) if self.bound else sigma)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Return a context in which the network is in evaluation mode, with normalised weights computed once.

    Inside, these weights receive no gradient. Afterwards, the network is in training mode.
    """
    network.eval()
    with parametrize.cached():
        with torch.no_grad():
            for module in network.modules():
                if parametrize.is_parametrized(module):
                    _ = module.weight
        yield
    network.train()
