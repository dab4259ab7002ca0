"""A linear autoencoder: small, and in order. The broken ones differ from it in one thing each."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import nn

from oodbench import Context, Detector, ImageSet, Params, param
from oodbench.nn.training import Phase, train


class WorkingParams(Params):
    latent_dim: int = param(4, "numbers in a code", ge=1)
    epochs: int = param(10, "of training", ge=1)
    batch_size: int = param(32, "images an update", ge=1)
    learning_rate: float = param(0.01, "of Adam", gt=0)


class LinearAutoencoder(nn.Module):
    def __init__(self, size: int, latent_dim: int):
        super().__init__()
        self.encode = nn.Linear(size, latent_dim)
        self.decode = nn.Linear(latent_dim, size)
        nn.init.zeros_(self.decode.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(images.flatten(1))).view_as(images)


class Working(Detector):
    """The mean squared error of a linear autoencoder."""

    name = "working"
    Params = WorkingParams
    presets = {"paper": {"latent_dim": 8, "batch_size": 64}, "quick": {}}

    def fit(self, train_set: ImageSet, validation: ImageSet, context: Context) -> Self:
        with context.global_seed("weights"):
            self.model = self.build().to(context.device)
        train(self.phase(self.model, context), train_set, context)
        return self

    def build(self) -> LinearAutoencoder:
        return LinearAutoencoder(math.prod(self.shape), self.params.latent_dim)

    def phase(self, model: LinearAutoencoder, context: Context) -> Phase:
        optimizer = torch.optim.Adam(model.parameters(), lr=self.params.learning_rate)

        def train_step(batch: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            with context.autocast():
                loss = (batch - model(batch)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return {"loss": loss}

        params = self.params
        return Phase(
            "training", params.epochs, params.batch_size, model, train_step, checkpointed={"optimizer": optimizer}
        )

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.model(images).float()).square().mean(dim=(1, 2, 3))

    def state(self) -> dict[str, torch.Tensor]:
        return self.model.state_dict()

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.model = self.build().to(next(iter(state.values())).device)
        self.model.load_state_dict(state)
        self.model.eval()
