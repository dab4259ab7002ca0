"""The networks of DAGMM: an autoencoder, and one that says which component an image's features belong to."""

from __future__ import annotations

import torch
from torch import nn

from oodbench.nn.autoencoder import Autoencoder, at_least_float32
from oodbench_dagmm.mixture import Mixture

SMALL = 1e-6
"""Least norm of an image that errors are taken relative to: a black image has none."""


class DAGMMNetwork(Autoencoder):
    """Compression network (the autoencoder), estimation network, and the mixture that scoring uses."""

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, components: int, hidden: int, dropout: float
    ):
        super().__init__(encoder, decoder, spherical=False)
        size = latent_dim + 2
        self.hidden = nn.Linear(size, hidden)
        self.membership = nn.Linear(hidden, components)
        self.dropout = dropout
        empty = {"log_weights": (), "means": (size,), "covariances": (size, size), "triangles": (size, size)}
        for name in Mixture._fields:
            self.register_buffer(name, torch.zeros(components, *empty[name], dtype=torch.float64))

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images → reconstructions x', and [z, ‖x - x'‖ / ‖x‖, cos(x, x')], (b, D_z + 2) float32."""
        z = self.encode(x)
        output = self.decode(z)
        flat, flat_output = x.flatten(1), output.flatten(1)
        relative = (flat - flat_output).norm(dim=1) / flat.norm(dim=1).clamp_min(SMALL)
        cosine = torch.cosine_similarity(flat, flat_output, dim=1)
        return output, torch.cat([z, relative[:, None], cosine[:, None]], dim=1)

    def log_memberships(self, features: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Log of each component's share in features (b, D_z + 2), (b, K); with dropout in training mode only.

        The dropout takes its own generator: torch's global one is in no checkpoint.
        """
        hidden = torch.tanh(self.hidden(features))
        if self.training and generator is not None:
            kept = torch.rand(hidden.shape, generator=generator, device=hidden.device) >= self.dropout
            hidden = hidden * kept / (1 - self.dropout)
        return at_least_float32(self.membership(hidden)).log_softmax(dim=1)

    @property
    def mixture(self) -> Mixture:
        return Mixture(*(getattr(self, name) for name in Mixture._fields))

    def keep(self, mixture: Mixture) -> None:
        """Use this mixture for scoring; it is saved with the weights."""
        for name, tensor in mixture._asdict().items():
            getattr(self, name).copy_(tensor)
