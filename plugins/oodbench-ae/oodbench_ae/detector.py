"""AE: the score of an image is its reconstruction error."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch

from oodbench import Context, Detector, ImageSet, Params, Shape, param
from oodbench.nn.autoencoder import SHAPES, Autoencoder, build_autoencoder
from oodbench.nn.reconstruction import QUICK, ReconstructionParams, cost, fit_reconstruction


class AEParams(Params):
    architecture: Literal["auto", "arch28", "arch32", "resnet32"] = param(
        "auto", "networks; auto takes Arch28 or Arch32 by the images' shape", source="supplement Table 2"
    )
    latent_dim: int = param(32, "D_z", ge=1, source="NAE code; the supplement searches 2 to 256")
    width: float = param(1.0, "factor on the hidden channels", gt=0, source="ours; 1 is the supplement's Table 2")
    spherical: bool = param(False, "project codes onto the unit sphere", source="NAE code: free latent for AE")
    training: ReconstructionParams = param(ReconstructionParams(), "of the autoencoder")


class AE(Detector):
    """An autoencoder trained on mean squared error; E(x) = ‖x - f_d(f_e(x))‖² / D."""

    name = "ae"
    summary = "autoencoder, reconstruction error"
    paper = "Anonymous, supplement to Suppressing Outlier Reconstruction in Autoencoders (2020), baseline AE"
    Params = AEParams
    presets: ClassVar = {"paper": {}, "quick": {"latent_dim": 16, "width": 0.25, "training": QUICK}}
    shapes = SHAPES

    @classmethod
    def preset(cls, name: str, shape: Shape) -> dict:
        """Pre-training lengths as the supplement has them for MNIST and CIFAR-10."""
        values = dict(super().preset(name, shape))
        if name == "paper" and shape == (3, 32, 32):
            values["training"] = {"epochs": 120}
        return values

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        context.progress.plan({"training": cost(self.params.training, train)})
        self.model = fit_reconstruction(self.build, self.params.training, train, validation, context)
        return self

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.energy(images.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)

    def state(self) -> dict[str, torch.Tensor]:
        return self.model.state_dict()

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.model = self.build().to(next(iter(state.values())).device)
        self.model.load_state_dict(state)

    def build(self) -> Autoencoder:
        params = self.params
        return build_autoencoder(params.architecture, self.shape, params.latent_dim, params.width, params.spherical)
