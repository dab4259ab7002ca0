"""A normal distribution at every pixel: the plainest detector, in one file, with public names alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

from oodbench import Detector, Params, hookimpl, param

if TYPE_CHECKING:
    import torch

    from oodbench import Context, ImageSet


@hookimpl
def register_detectors() -> list[type[Detector]]:
    return [PixelGaussian]


class PixelGaussianParams(Params):
    min_std: float = param(0.05, "least standard deviation of a pixel", source="ours", unit="of full brightness", gt=0)


class PixelGaussian(Detector):
    """Independent normal distributions, one a pixel and channel, fitted to the training images."""

    name = "pixel-gaussian"
    summary = "negative log-likelihood under one normal distribution a pixel"
    Params = PixelGaussianParams

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        total = square = 0.0
        for batch in train.batches(1000, context.device):
            images = batch.double()  # (b, C, H, W)
            total = total + images.sum(0)
            square = square + images.square().sum(0)
        mean = total / len(train)
        variance = square / len(train) - mean.square()
        self.mean = mean.float()
        self.std = variance.clamp(min=self.params.min_std**2).sqrt().float()
        return self

    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Negative log-likelihood in nats a pixel."""
        deviation = (images - self.mean) / self.std
        return (deviation.square() / 2 + self.std.log() + math.log(2 * math.pi) / 2).mean((1, 2, 3))

    def state(self) -> dict[str, torch.Tensor]:
        return {"mean": self.mean, "std": self.std}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.mean, self.std = state["mean"], state["std"]
