"""Density models of 8-bit images: their bits per dimension, and training by maximum likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Protocol

import torch
from torch import nn

from oodbench.api import Context, ImageSet, Params, param
from oodbench.nn.training import Phase, Stateful, train

LEVELS = 256
VALIDATION_BATCH = 512
AT_ONCE = 128
"""Images scored at once: more would only need more memory."""
LARGE = 2**24
"""Bytes of one layer above which a CPU gets slower: larger blocks are mapped again, page by page, at every use."""


class DensityModel(nn.Module):
    """A network that assigns a likelihood to every 8-bit image.

    widest: values per pixel of its widest layer, from which ``at_once`` chooses a batch size; 1 if no layer is wide.
    """

    widest: int = 1

    def log_likelihood(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return ln p of images (b, C, H, W) in [0, 1], in nats, (b,).

        Args:
            generator: source of dropout masks or noise in training; None for a deterministic result.
        """
        raise NotImplementedError

    def bits_per_dim(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return -log₂ p(x) / D of images x (b, C, H, W), D = C·H·W, as (b,). A uniform distribution costs 8 bits.

        Args:
            generator: as for ``log_likelihood``.
        """
        return -self.log_likelihood(images, generator) / (images[0].numel() * math.log(2))


class Scheduler(Stateful, Protocol):
    """A learning rate schedule, such as any of torch.optim.lr_scheduler."""

    def step(self) -> None: ...


class LikelihoodParams(Params):
    """Training parameters of a density model; a detector overrides the defaults."""

    epochs: int = param(
        100, "epochs", ge=1, reduces="lower", source="EBAE authors' later configurations; not in the EBAE supplement"
    )
    batch_size: int = param(64, "images per update", ge=1, reduces="higher")
    learning_rate: float = param(1e-3, "of Adam", gt=0, le=1e30)
    keep: Literal["best", "last"] = param(
        "best", "weights to end with: of the best validation likelihood, or the last", source="ours"
    )
    clip_value: float = param(0.0, "limit on each element of the parameter gradient; 0 for none", ge=0)
    clip_norm: float = param(0.0, "limit on the norm of the parameter gradient; 0 for none", ge=0)


def to_levels(images: torch.Tensor) -> torch.Tensor:
    """Return images in [0, 1] rounded to the nearest of the levels 0 to 255, as floats of the same shape."""
    return (images * (LEVELS - 1)).round()


@torch.no_grad()
def score_bits(model: DensityModel, images: torch.Tensor) -> torch.Tensor:
    """Return the bits per dimension of images (b, C, H, W), deterministic, float32 (b,)."""
    return torch.cat([model.bits_per_dim(part) for part in images.split(at_once(model, images))]).float()


def at_once(model: DensityModel, images: torch.Tensor) -> int:
    """Return the number of images (b, C, H, W) to score at once: fewer on a CPU if the model has a wide layer."""
    if images.device.type != "cpu":
        return AT_ONCE
    pixels = images.shape[2] * images.shape[3]
    return min(AT_ONCE, max(1, LARGE // (4 * model.widest * pixels)))


def fit_likelihood(
    model: DensityModel,
    optimizer: torch.optim.Optimizer,
    scheduler: Scheduler,
    params: LikelihoodParams,
    train_set: ImageSet,
    validation: ImageSet,
    context: Context,
) -> None:
    """Train the model to lower the mean bits per dimension of the training images; it ends in evaluation mode.

    ``scheduler`` makes one step per update; the mean bits of the ``validation`` images are the validation loss.

    Raises FitError if the likelihood stops being finite before the first epoch is complete.
    """
    context.progress.plan({"training": 3.0 * params.epochs * len(train_set)})

    def train_step(images: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        with context.autocast():
            loss = model.bits_per_dim(images, generator).mean()
        optimizer.zero_grad()
        loss.backward()
        _clip(model, params)
        optimizer.step()
        scheduler.step()
        return {"loss": loss}

    phase = Phase(
        "training",
        params.epochs,
        params.batch_size,
        model,
        train_step,
        checkpointed={"optimizer": optimizer, "scheduler": scheduler},
        validate=lambda: {"validation_loss": mean_bits(model, validation, context)},
        keep=params.keep,
        check_divergence=_check_divergence,
    )
    train(phase, train_set, context)


def mean_bits(model: DensityModel, images: ImageSet, context: Context) -> float:
    """Return the mean bits per dimension of a set of images."""
    batches = images.batches(VALIDATION_BATCH, context.device)
    with context.autocast():
        return torch.cat([score_bits(model, batch) for batch in batches]).double().mean().item()


def _clip(model: nn.Module, params: LikelihoodParams) -> None:
    if params.clip_value:
        nn.utils.clip_grad_value_(model.parameters(), params.clip_value)
    if params.clip_norm:
        nn.utils.clip_grad_norm_(model.parameters(), params.clip_norm)


def _check_divergence(values: Mapping[str, float]) -> str | None:
    if all(math.isfinite(value) for value in values.values()):
        return None
    return "the likelihood is no longer finite; lower training.learning_rate"
