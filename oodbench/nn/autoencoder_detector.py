"""Base classes of detectors that score by the reconstruction error of an autoencoder.

"The EBAE supplement" is the supplement to Suppressing Outlier Reconstruction in Autoencoders for Out-of-Distribution
Detection (2020).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch

from oodbench.api import Context, ImageSet, Params, Shape, param
from oodbench.nn.autoencoder import SHAPES, Autoencoder, build_autoencoder
from oodbench.nn.network_detector import NetworkDetector
from oodbench.nn.reconstruction import CPU, QUICK, ReconstructionParams, cost, fit_reconstruction


class AutoencoderNetworkParams(Params):
    """Parameters of the networks of an autoencoder."""

    architecture: Literal["auto", "arch28", "arch32", "arch32-relu", "resnet32"] = param(
        "auto",
        "networks; auto takes Arch28 or Arch32 by the images' shape; arch32-relu has the ReLU that Table 2 prints "
        "before ResAtt, which the authors' code and arch32 leave out; resnet32 is our reading of ImageNet32's",
        source="EBAE supplement, Table 2",
    )
    latent_dim: int = param(32, "D_z", ge=1, le=65_536, source="NAE code; the EBAE supplement searches 2 to 256")
    width: float = param(
        1.0,
        "factor on the hidden channels",
        ge=0.001,
        le=64,
        reduces="lower",
        source="ours; 1 is Table 2 of the EBAE supplement",
    )


class AutoencoderParams(AutoencoderNetworkParams):
    """Parameters of a detector built on an autoencoder: its networks and how they are trained."""

    training: ReconstructionParams = param(ReconstructionParams(), "of the autoencoder")


QUICK_AUTOENCODER: dict[str, Any] = {"latent_dim": 16, "width": 0.25, "training": QUICK}
"""Values of the ``quick`` preset of every detector of this kind."""

CPU_AUTOENCODER: dict[str, Any] = {**QUICK_AUTOENCODER, "training": CPU}
"""Values of the ``cpu`` preset of every detector of this kind."""


class ReconstructionDetector(NetworkDetector):
    """A detector that scores by its model's reconstruction error on the clean image, E(x) = ‖x - f_d(f_e(x))‖² / D."""

    shapes = SHAPES
    model: Autoencoder

    @abstractmethod
    def build(self) -> Autoencoder:
        """Return the autoencoder that the parameters describe, with fresh weights."""

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return the energies (b,) of images (b, C, H, W) in [0, 1]."""
        return self.model.energy(images.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        """Return the reconstructions of images in [0, 1]; both are (b, C, H, W)."""
        return self.model(images)


class AutoencoderDetector(ReconstructionDetector):
    """A detector that trains an autoencoder on its ``loss``.

    A subclass defines ``loss``, and overrides ``build`` if it needs another network. By default codes are not projected
    onto the unit sphere.
    """

    Params = AutoencoderParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "quick": QUICK_AUTOENCODER,
        "cpu": CPU_AUTOENCODER,
    }
    conditional_parameters: ClassVar[Mapping[str, str]] = {
        "training.keep": "when the last epoch is not the best",
        "training.patience": "when validation gets no better",
        "training.restarts": "when training collapses",
    }
    may_be_constant: ClassVar[bool] = False
    """Whether one output for every image is acceptable, so that training is not restarted."""

    @classmethod
    def preset(cls, name: str, shape: Shape) -> Mapping[str, Any]:
        """Return the values of a preset, given the shape (C, H, W) of the images.

        ``paper`` trains for as many epochs as the supplement pre-trains EBAE: 120 for 3×32×32 (CIFAR-10), else 100.
        """
        values = dict(super().preset(name, shape))
        if name == "paper" and shape == (3, 32, 32):
            values["training"] = {"epochs": 120, **values.get("training", {})}
        return values

    @abstractmethod
    def loss(self, model: Any, images: torch.Tensor, generator: torch.Generator) -> Mapping[str, torch.Tensor]:
        """Return the loss of images (b, C, H, W) under the key ``loss``, and its terms for the history; all scalars.

        Args:
            model: the network that ``build`` returned.
            generator: source of the noise, if the loss needs any.
        """

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Train a new autoencoder. Raises FitError if training collapses or diverges in every attempt."""
        params = self.params.training
        context.progress.plan({"training": cost(params, train)})
        self.model = fit_reconstruction(
            self.build, params, train, validation, context, loss=self.loss, may_be_constant=self.may_be_constant
        )
        return self

    def build(self) -> Autoencoder:
        """Return the autoencoder that the parameters describe, with fresh weights."""
        params = self.params
        return build_autoencoder(params.architecture, self.shape, params.latent_dim, params.width)
