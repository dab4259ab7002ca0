"""VAE: one variational autoencoder, and the two scores the literature takes from it, each a detector."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn

from oodbench import Context, ImageSet, param
from oodbench.nn.autoencoder import Autoencoder, at_least_float32, build_networks
from oodbench.nn.autoencoder_detector import QUICK_AUTOENCODER, AutoencoderDetector, AutoencoderParams
from oodbench.nn.reconstruction import CONSTANT
from oodbench_vae.likelihood import importance_weighted_nll, negative_elbo, reconstruction_nll

MAX_LOG_STD = 10.0
"""Bound on log σ either way, which data never come near; far from them exp(log σ) could overflow otherwise."""


class VAEParams(AutoencoderParams):
    samples: int = param(
        100,
        "n, posterior samples and decoder passes a score",
        ge=1,
        source="NAE authors' notebooks: 100 to 500; the supplement says several",
    )


class VariationalAutoencoder(Autoencoder):
    """The encoder gives μ and log σ of the posterior q(z|x), side by side; the code of an image is μ."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__(encoder, decoder, spherical=False)

    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (b, C, H, W) → μ and log σ, each (b, D_z), float32."""
        mean, log_std = at_least_float32(self.encoder(x)).chunk(2, dim=1)
        return mean, log_std.clamp(-MAX_LOG_STD, MAX_LOG_STD)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.posterior(x)[0]


class VAE(AutoencoderDetector):
    """Trained on the bound E_q[-log p(x|z)] + KL(q(z|x) ‖ N(0, I)), p(x|z) = N(f_d(z), I), summed over pixels.

    The score is the first term, the mean of ½ ‖x - f_d(z)‖² + D/2 log 2π over n samples z of the posterior. Their noise
    is drawn once and is part of what was learnt: it is the same for every image, so that no score depends on chance
    or on the batch.
    """

    name = "vae"
    summary = "variational autoencoder, reconstruction error over posterior samples"
    paper = "Kingma and Welling, Auto-Encoding Variational Bayes (ICLR 2014)"
    Params = VAEParams
    presets = {"paper": {}, "quick": {**QUICK_AUTOENCODER, "samples": 10}}
    may_be_constant = True  # where data vary less than the decoder's σ, the bound is best without any code
    model: VariationalAutoencoder

    def loss(
        self, model: VariationalAutoencoder, images: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        noise = torch.randn(len(images), self.params.latent_dim, generator=generator, device=images.device)
        nll, divergence = negative_elbo(model.posterior, model.decode, images, noise)
        return {"loss": (nll + divergence).mean(), "nll": nll.mean(), "divergence": divergence.mean()}

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        generator = context.generator("posterior samples", device="cpu")  # the same numbers on every device
        noise = torch.randn(self.params.samples, self.params.latent_dim, generator=generator)
        self.noise = noise.to(context.device)
        super().fit(train, validation, context)
        if context.history[-1]["output_variance"] < CONSTANT:
            context.note(f"{self.name}: the posterior collapsed to the prior, one output for every image")
        return self

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return reconstruction_nll(self.model.posterior, self.model.decode, images, self.noise)

    def state(self) -> dict[str, torch.Tensor]:
        return {**super().state(), "noise": self.noise}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.noise = state["noise"]
        super().load_state({name: tensor for name, tensor in state.items() if name != "noise"})

    def build(self) -> VariationalAutoencoder:
        params = self.params
        outputs = 2 * params.latent_dim
        networks = build_networks(params.architecture, self.shape, params.latent_dim, params.width, outputs)
        return VariationalAutoencoder(*networks).to(memory_format=torch.channels_last)


class VAELikelihood(VAE):
    """The same model; the score is -log 1/n Σ p(x, z) / q(z|x) over n samples z of the posterior."""

    name = "vae-likelihood"
    summary = "variational autoencoder, importance-weighted negative log-likelihood"
    paper = "Kingma and Welling (ICLR 2014); Burda et al., Importance Weighted Autoencoders (ICLR 2016)"

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return importance_weighted_nll(self.model.posterior, self.model.decode, images, self.noise)
