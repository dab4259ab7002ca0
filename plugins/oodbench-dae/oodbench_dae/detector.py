"""DAE: an autoencoder that learns to take noise away; the score is its error on the clean image."""

from __future__ import annotations

import torch

from oodbench import param
from oodbench.nn.autoencoder import Autoencoder
from oodbench.nn.autoencoder_detector import AutoencoderDetector, AutoencoderParams


class DAEParams(AutoencoderParams):
    noise_std: float = param(0.3, "of the Gaussian noise on training images", ge=0, source="supplement §3")


class DAE(AutoencoderDetector):
    """Trained to give x from x + σε; E(x) = ‖x - f_d(f_e(x))‖² / D, without noise."""

    name = "dae"
    summary = "denoising autoencoder, reconstruction error"
    paper = "Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders (ICML 2008)"
    Params = DAEParams

    def loss(self, model: Autoencoder, images: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        noisy = images + self.params.noise_std * noise  # not clamped: outside [0, 1] too
        return {"loss": (images - model(noisy)).square().mean()}
