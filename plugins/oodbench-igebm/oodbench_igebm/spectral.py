"""Spectral normalisation (Miyato et al., 2018) as the IGEBM codes have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 15
"""Of the power method, for fresh weights; afterwards one an update follows them."""


class SpectralNorm(nn.Module):
    """W / σ(W), σ the largest singular value of W as a matrix (out, in·k·k); with ``bound`` W / max(σ(W), 1).

    σ comes from the power method: one iteration each time the weight is asked for in training mode, none in evaluation,
    so that scores are a function of the weights alone. (PyTorch's own has no ``bound``.)
    """

    u: torch.Tensor

    def __init__(self, weight: torch.Tensor, bound: bool):
        super().__init__()
        self.bound = bound
        self.register_buffer("u", functional.normalize(torch.randn(len(weight), dtype=weight.dtype), dim=0))
        for _ in range(FIRST_ITERATIONS):
            self.iterate(weight.detach().flatten(1))

    def iterate(self, matrix: torch.Tensor) -> None:
        self.u = functional.normalize(matrix @ self.right(matrix), dim=0)

    def right(self, matrix: torch.Tensor) -> torch.Tensor:
        """The right singular vector that belongs to u, (in·k·k,)."""
        return functional.normalize(matrix.T @ self.u, dim=0)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        with torch.autocast(weight.device.type, enabled=False):  # in bfloat16 σ would be a rough guess
            matrix = weight.flatten(1)
            with torch.no_grad():
                if self.training:
                    self.iterate(matrix)
                v = self.right(matrix)
            sigma = self.u @ (matrix @ v)
            return weight / (sigma.clamp_min(1) if self.bound else sigma)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside, evaluation: the weights are normalised once, not at every pass, and take no gradient."""
    network.eval()
    with parametrize.cached():
        with torch.no_grad():
            for module in network.modules():
                if parametrize.is_parametrized(module):
                    _ = module.weight
        yield
    network.train()
