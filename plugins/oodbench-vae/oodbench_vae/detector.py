"""VAE: a variational autoencoder, and a detector for each of the two scores that the literature derives from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn

from oodbench import Base, Context, Detector, ImageSet, Shape, param
from oodbench.nn.autoencoder import Autoencoder, at_least_float32, build_networks
from oodbench.nn.autoencoder_detector import CPU_AUTOENCODER, QUICK_AUTOENCODER, AutoencoderDetector, AutoencoderParams
from oodbench.nn.reconstruction import CONSTANT
from oodbench_vae.likelihood import importance_weighted_nll, negative_elbo, reconstruction_nll

MAX_LOG_STD = 10.0
"""Bound on |log σ|. Data never come near it; far from data, exp(log σ) could overflow otherwise."""


class VAEParams(AutoencoderParams):
    """Parameters of VAE and VAELikelihood."""

    samples: int = param(
        100,
        "n, posterior samples and decoder passes per score",
        ge=1,
        source="NAE authors' notebooks: 100 to 500; the EBAE supplement says several",
    )


class VariationalAutoencoder(Autoencoder):
    """An autoencoder whose encoder outputs μ and log σ of the posterior q(z|x); the code of an image is μ.

    Args:
        encoder: maps images (b, C, H, W) to μ and log σ, concatenated, (b, 2 D_z).
        decoder: maps codes (b, D_z) to images (b, C, H, W).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__(encoder, decoder, spherical=False)

    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return μ and log σ of images (b, C, H, W), each (b, D_z), float32."""
        mean, log_std = at_least_float32(self.encoder(x)).chunk(2, dim=1)
        return mean, log_std.clamp(-MAX_LOG_STD, MAX_LOG_STD)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return μ of images (b, C, H, W), (b, D_z), float32."""
        return self.posterior(x)[0]


class VAE(AutoencoderDetector):
    """A detector trained on the bound E_q[-log p(x|z)] + KL(q(z|x) ‖ N(0, I)), with p(x|z) = N(f_d(z), I).

    The bound is in nats, summed over pixels. The score is its first term, the mean of ½ ‖x - f_d(z)‖² + D/2 log 2π over
    n samples z of the posterior. Their noise is drawn once, in ``fit``, is part of the state and is the same for every
    image, so that scores are deterministic and do not depend on the batch.
    """

    name = "vae"
    summary = "variational autoencoder, reconstruction error over posterior samples"
    paper = "Kingma and Welling, Auto-Encoding Variational Bayes (ICLR 2014)"
    Params = VAEParams
    presets = {
        "paper": {},
        "quick": {**QUICK_AUTOENCODER, "samples": 10},
        "cpu": {**CPU_AUTOENCODER, "samples": 10},
    }
    may_be_constant = True  # if data vary less than the decoder's σ, ignoring the code is optimal
    model: VariationalAutoencoder

    def loss(
        self, model: VariationalAutoencoder, images: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return the mean bound of images (b, C, H, W) and its two terms, as scalars in nats."""
        noise = torch.randn(len(images), self.params.latent_dim, generator=generator, device=images.device)
        nll, divergence = negative_elbo(model.posterior, model.decode, images, noise)
        return {"loss": (nll + divergence).mean(), "nll": nll.mean(), "divergence": divergence.mean()}

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Train a new network and draw the noise for scoring. Raises FitError if training diverges."""
        generator = context.generator("posterior samples", device="cpu")  # the same numbers on every device
        noise = torch.randn(self.params.samples, self.params.latent_dim, generator=generator)
        self.noise = noise.to(context.device)
        super().fit(train, validation, context)
        if context.history[-1]["output_variance"] < CONSTANT:
            context.note(f"{self.name}: the posterior collapsed to the prior, one output for every image")
        return self

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mean of -log p(x|z) over samples z of the posterior, for images (b, C, H, W), in nats, (b,)."""
        images = images.contiguous(memory_format=torch.channels_last)
        return reconstruction_nll(self.model.posterior, self.model.decode, images, self.noise)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the weights of the network by name, and the noise."""
        return {**super().state(), "noise": self.noise}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what ``state`` returned."""
        self.noise = state["noise"]
        super().load_state({name: tensor for name, tensor in state.items() if name != "noise"})

    def build(self) -> VariationalAutoencoder:
        """Return the network with fresh weights."""
        params = self.params
        outputs = 2 * params.latent_dim
        networks = build_networks(params.architecture, self.shape, params.latent_dim, params.width, outputs)
        return VariationalAutoencoder(*networks).to(memory_format=torch.channels_last)


class VAELikelihood(Detector):
    """A detector on a fitted VAE that scores by -log 1/n Σ p(x, z) / q(z|x) over n samples z of the posterior.

    It has the parameters of its base, the VAE, and learns nothing itself.
    """

    name = "vae-likelihood"
    summary = "variational autoencoder, importance-weighted negative log-likelihood"
    paper = "Kingma and Welling (ICLR 2014); Burda et al., Importance Weighted Autoencoders (ICLR 2016)"
    base = VAE.name
    Params = VAEParams
    presets = VAE.presets
    shapes = VAE.shapes
    conditional_parameters = VAE.conditional_parameters

    @classmethod
    def preset(cls, name: str, shape: Shape) -> Mapping[str, Any]:
        """Return the values of a preset of VAE, given the shape (C, H, W) of the images."""
        return VAE.preset(name, shape)

    @classmethod
    def base_of(cls, params: Any, shape: Shape) -> Base:
        """Return the VAE with these parameters."""
        return Base(cls.base, values=params.model_dump())

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Do nothing: the VAE is fitted already."""
        return self

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return the importance-weighted estimate of -log p(x) of images (b, C, H, W), in nats, (b,)."""
        vae: Any = self.fitted_base.detector
        images = images.contiguous(memory_format=torch.channels_last)
        return importance_weighted_nll(vae.model.posterior, vae.model.decode, images, vae.noise)

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor | None:
        """Return the reconstructions of the VAE, (b, C, H, W) in [0, 1]."""
        return self.fitted_base.detector.reconstruct(images)

    def state(self) -> dict[str, torch.Tensor]:
        """Return an empty dict: all that was learned belongs to the VAE."""
        return {}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Do nothing."""
