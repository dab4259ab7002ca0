"""WAE-MMD: an autoencoder whose codes are regularised towards N(0, I); the score is its reconstruction error."""

from __future__ import annotations

import torch

from oodbench import param
from oodbench.nn.autoencoder import Autoencoder
from oodbench.nn.autoencoder_detector import AutoencoderDetector, AutoencoderParams
from oodbench_wae.mmd import median_heuristic, mmd


class WAEParams(AutoencoderParams):
    """Parameters of WAE."""

    mmd_weight: float = param(
        0.01,
        "λ, weight of MMD² beside the mean squared error",
        ge=0,
        source="EBAE supplement §3 searches 0.001 to 0.1; this is the geometric mean",
    )


class WAE(AutoencoderDetector):
    """An autoencoder trained on ‖x - f_d(f_e(x))‖² / D + λ MMD²(f_e(x), N(0, I)).

    It scores by the first term, E(x) = ‖x - f_d(f_e(x))‖² / D.
    """

    name = "wae"
    summary = "Wasserstein autoencoder (MMD), reconstruction error"
    paper = "Tolstikhin et al., Wasserstein Auto-Encoders (ICLR 2018), WAE-MMD"
    Params = WAEParams

    def loss(self, model: Autoencoder, images: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return the mean squared error + λ MMD² of images (b, C, H, W) and its terms, as scalars."""
        codes = model.encode(images)
        prior = torch.randn(codes.shape, generator=generator, device=codes.device)
        discrepancy = mmd(prior, codes, median_heuristic(prior, codes))
        error = (images - model.decode(codes)).square().mean()
        return {"loss": error + self.params.mmd_weight * discrepancy, "positive_energy": error, "mmd": discrepancy}
