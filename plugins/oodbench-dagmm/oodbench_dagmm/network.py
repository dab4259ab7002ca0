"""The networks of DAGMM: an autoencoder, and a network that assigns an image's features to mixture components."""

from __future__ import annotations

import torch
from torch import nn

from oodbench.nn.autoencoder import Autoencoder, at_least_float32
from oodbench_dagmm.mixture import Mixture

SMALL = 1e-6
"""Lower bound on the norm of an image that errors are divided by: that of a black image is 0."""


class DAGMMNetwork(Autoencoder):
    """A compression network (the autoencoder), an estimation network, and the mixture that scoring uses.

    Args:
        encoder: maps images (b, C, H, W) to codes (b, latent_dim).
        decoder: maps codes (b, latent_dim) to images (b, C, H, W).
        components: K, of the mixture.
        hidden: units of the estimation network.
        dropout: probability of dropping such a unit in training.
    """

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
        """Return reconstructions x' and features of images x (b, C, H, W).

        The features are [z, ‖x - x'‖ / ‖x‖, cos(x, x')], float32 (b, D_z + 2).
        """
        z = self.encode(x)
        output = self.decode(z)
        flat, flat_output = x.flatten(1), output.flatten(1)
        relative = (flat - flat_output).norm(dim=1) / flat.norm(dim=1).clamp_min(SMALL)
        cosine = torch.cosine_similarity(flat, flat_output, dim=1)
        return output, torch.cat([z, relative[:, None], cosine[:, None]], dim=1)

    def log_memberships(self, features: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return the log membership of features (b, D_z + 2) in each component, (b, K).

        Args:
            generator: source of dropout masks in training mode; None for no dropout. A checkpoint saves its state,
                unlike that of torch's global generator.
        """
        hidden = torch.tanh(self.hidden(features))
        if self.training and generator is not None:
            kept = torch.rand(hidden.shape, generator=generator, device=hidden.device) >= self.dropout
            hidden = hidden * kept / (1 - self.dropout)
        return at_least_float32(self.membership(hidden)).log_softmax(dim=1)

    @property
    def mixture(self) -> Mixture:
        """The mixture that scoring uses."""
        return Mixture(*(getattr(self, name) for name in Mixture._fields))

    def keep(self, mixture: Mixture) -> None:
        """Store this mixture for scoring; it becomes part of the state."""
        for name, tensor in mixture._asdict().items():
            getattr(self, name).copy_(tensor)
