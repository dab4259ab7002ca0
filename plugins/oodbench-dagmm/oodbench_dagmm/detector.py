"""DAGMM: an autoencoder, and a Gaussian mixture over its code and errors; the score is the energy of the mixture."""

from __future__ import annotations

from typing import Any, Self

import torch

from oodbench import Context, FitError, ImageSet, param
from oodbench.nn.autoencoder import build_networks
from oodbench.nn.autoencoder_detector import CPU_AUTOENCODER, QUICK_AUTOENCODER, AutoencoderDetector, AutoencoderParams
from oodbench.nn.reconstruction import CPU, QUICK, ReconstructionParams
from oodbench_dagmm.mixture import energy, estimate, singular
from oodbench_dagmm.network import DAGMMNetwork

AUTHORS = "Zong et al. (2018)"
CODE = "danieltan07/dagmm, the public code used by the EBAE supplement"
BATCH = 1024
PAPER: dict[str, Any] = {"epochs": 200, "batch_size": 1024, "learning_rate": 1e-4, "gradient_clip": 5.0}


class DAGMMParams(AutoencoderParams):
    """Parameters of DAGMM."""

    latent_dim: int = param(5, "D_z", ge=1, le=65_536, source="NAE authors' later code; EBAE supplement: 2 to 256")
    components: int = param(4, "K, number of Gaussians in the mixture", ge=1, source=CODE)
    estimator_hidden: int = param(10, "units of the estimation network", ge=1, source=AUTHORS)
    dropout: float = param(0.5, "probability in the estimation network, in training", ge=0, lt=1, source=AUTHORS)
    energy_weight: float = param(0.1, "λ1, weight of the mean energy", ge=0, source=AUTHORS)
    covariance_weight: float = param(0.005, "λ2, weight of Σ 1 / diagonal of the covariances", ge=0, source=AUTHORS)
    epsilon: float = param(1e-6, "added to the diagonal of covariances", ge=0, source="ours; the public code has 1e-12")
    training: ReconstructionParams = param(ReconstructionParams(**PAPER), "of all networks at once", source=CODE)


class DAGMM(AutoencoderDetector):
    """A detector that scores by the energy of a Gaussian mixture, E = -log Σ_k φ_k N(features; μ_k, Σ_k).

    The features of an image x with code z and reconstruction x' are [z, ‖x - x'‖ / ‖x‖, cos(x, x')]. In training φ, μ
    and Σ are those of the batch. For scoring they are estimated once, on the whole training set.
    """

    name = "dagmm"
    summary = "deep autoencoding Gaussian mixture model, energy of the mixture"
    paper = "Zong et al., Deep Autoencoding Gaussian Mixture Model for Unsupervised Anomaly Detection (ICLR 2018)"
    Params = DAGMMParams
    presets = {
        "paper": {"training": {"epochs": 200}},
        # With He's weights the mixture separates the contract's easy images worse after training (.896) than before.
        "quick": {**QUICK_AUTOENCODER, "latent_dim": 5, "training": {**QUICK, "initialization": "torch"}},
        "cpu": {**CPU_AUTOENCODER, "latent_dim": 5, "training": {**CPU, "initialization": "torch"}},
    }
    model: DAGMMNetwork

    def loss(self, model: DAGMMNetwork, images: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return mean squared error + λ1 mean energy + λ2 Σ 1/diag Σ_k (Zong et al., eq. 7) and its terms, as scalars.

        If a batch has too few images (b, C, H, W) for a covariance, its loss is the mean squared error alone.
        """
        params = self.params
        output, features = model.features(images)
        error = (images - output).square().mean()
        if len(images) <= features.shape[1]:  # too few for a covariance, which may happen in the last batch
            return {"loss": error, "positive_energy": error}
        mixture = estimate(features, model.log_memberships(features, generator), params.epsilon)
        mean_energy = energy(mixture, features).mean()
        penalty = mixture.covariances.diagonal(dim1=1, dim2=2).reciprocal().sum()
        loss = error + params.energy_weight * mean_energy + params.covariance_weight * penalty
        return {"loss": loss, "positive_energy": error, "mixture_energy": mean_energy, "covariance_penalty": penalty}

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Train new networks, then estimate the mixture. Raises FitError if training or a covariance is degenerate."""
        super().fit(train, validation, context)
        self.estimate_mixture(train, context)
        return self

    @torch.no_grad()
    def estimate_mixture(self, train: ImageSet, context: Context) -> None:
        """Set φ, μ and Σ to those of the whole training set. Raises FitError if a covariance is singular."""
        features, memberships = [], []
        for batch in train.batches(BATCH, context.device):
            features.append(self.features(batch))
            memberships.append(self.model.log_memberships(features[-1]))
        mixture = estimate(torch.cat(features), torch.cat(memberships), self.params.epsilon)
        bad = singular(mixture, len(train), self.params.epsilon)
        if bad:
            raise FitError(
                f"dagmm: the covariance of component {', '.join(map(str, bad))} is singular: the features of "
                f"{len(train)} images lie in a subspace; lower latent_dim or components, use more images "
                "or try another seed"
            )
        self.model.keep(mixture)

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return the energies (b,) of images (b, C, H, W) in [0, 1]."""
        return energy(self.model.mixture, self.features(images)).float()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features (b, D_z + 2) of images (b, C, H, W), always in float32.

        The mixture measures distances in units of a feature's spread, which may be less than the rounding of bfloat16.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self.model.features(images.contiguous(memory_format=torch.channels_last))[1]

    def build(self) -> DAGMMNetwork:
        """Return the networks with fresh weights."""
        params = self.params
        networks = build_networks(params.architecture, self.shape, params.latent_dim, params.width)
        model = DAGMMNetwork(*networks, params.latent_dim, params.components, params.estimator_hidden, params.dropout)
        return model.to(memory_format=torch.channels_last)
