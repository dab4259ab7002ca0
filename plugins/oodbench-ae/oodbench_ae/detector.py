"""AE, the plain autoencoder: the score of an image is its reconstruction error."""

from __future__ import annotations

import torch

from oodbench import param
from oodbench.nn.autoencoder import Autoencoder, build_autoencoder
from oodbench.nn.autoencoder_detector import AutoencoderDetector, AutoencoderParams
from oodbench.nn.reconstruction import reconstruction_error


class AEParams(AutoencoderParams):
    """Parameters of AE."""

    spherical: bool = param(False, "project codes onto the unit sphere", source="NAE code: free latent for AE")


class AE(AutoencoderDetector):
    """An autoencoder trained to minimise its own score, the energy E(x) = ‖x - f_d(f_e(x))‖² / D."""

    name = "ae"
    summary = "autoencoder, reconstruction error"
    paper = "Anonymous, supplement to Suppressing Outlier Reconstruction in Autoencoders (2020), baseline AE"
    Params = AEParams

    def build(self) -> Autoencoder:
        """Return an autoencoder with fresh weights."""
        params = self.params
        return build_autoencoder(params.architecture, self.shape, params.latent_dim, params.width, params.spherical)

    def loss(self, model: Autoencoder, images: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return the loss and its only term: both are the mean energy of images (b, C, H, W), a scalar."""
        return reconstruction_error(model, images, generator)
