"""DAE: an autoencoder trained to remove noise; the score is its reconstruction error on the clean image."""

from __future__ import annotations

import torch

from oodbench import param
from oodbench.nn.autoencoder import Autoencoder
from oodbench.nn.autoencoder_detector import AutoencoderDetector, AutoencoderParams


class DAEParams(AutoencoderParams):
    """Parameters of DAE."""

    noise_std: float = param(0.3, "σ, of the Gaussian noise on training images", ge=0, source="EBAE supplement §3")


class DAE(AutoencoderDetector):
    """An autoencoder trained to reconstruct x from x + σε. It scores by E(x) = ‖x - f_d(f_e(x))‖² / D, noise-free."""

    name = "dae"
    summary = "denoising autoencoder, reconstruction error"
    paper = "Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders (ICML 2008)"
    Params = DAEParams

    def loss(self, model: Autoencoder, images: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return the mean squared error between images (b, C, H, W) and reconstructions of noisy copies, a scalar."""
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        noisy = images + self.params.noise_std * noise  # not clamped to [0, 1]
        return {"loss": (images - model(noisy)).square().mean()}
