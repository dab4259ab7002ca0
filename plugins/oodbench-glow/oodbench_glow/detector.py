"""Glow: the score of an image is its bits per dimension under an invertible flow."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from oodbench import Context, ImageSet, OODBenchError, Params, Shape, param, shape_text
from oodbench.nn.likelihood import LikelihoodParams, Scheduler
from oodbench.nn.likelihood_detector import LikelihoodDetector
from oodbench_glow.flow import GlowNetwork

SUPPLEMENT = "EBAE supplement"
CODE = "chaiyujin/glow-pytorch, celeba.json; the code of the EBAE authors' baseline"
IN_COLOUR = "in colour reached about three times later than in that code, whose loss is three times ours"


class TrainingParams(LikelihoodParams):
    """Training parameters of Glow."""

    batch_size: int = param(
        12, "images per update, and for the initialisation of actnorm", ge=1, reduces="higher", source=CODE
    )
    learning_rate: float = param(1e-3, "of Adam, the highest", gt=0, le=1e30, source=CODE)
    beta2: float = param(0.9999, "of Adam: how slowly it forgets squared gradients", ge=0, lt=1, source=CODE)
    warmup: int = param(
        4000, "updates of linear rise; then the rate falls with 1/√update", ge=1, unit="updates", source=CODE
    )
    least_learning_rate: float = param(1e-4, "below which it does not fall", ge=0, source=CODE)
    clip_value: float = param(
        5.0, f"limit on each element of the parameter gradient; 0 for none; {IN_COLOUR}", ge=0, source=CODE
    )
    clip_norm: float = param(
        100.0, f"limit on the norm of the parameter gradient; 0 for none; {IN_COLOUR}", ge=0, source=CODE
    )


class GlowParams(Params):
    depth: int = param(12, "K, steps of the flow", ge=1, reduces="lower", source=SUPPLEMENT)
    hidden: int = param(64, "channels of the hidden layers of a coupling", ge=1, reduces="lower", source=SUPPLEMENT)
    coupling: Literal["affine", "additive"] = param("affine", "with or without a scale", source=f"{CODE}; paper §3.3")
    training: TrainingParams = param(TrainingParams(), "by maximum likelihood")


class Glow(LikelihoodDetector):
    """A detector that scores by S(x) = -log₂ p(x) / D of a flow f, with ln p(x) = ln N(f(x); 0, I) + ln |det ∂f/∂x|."""

    name = "glow"
    summary = "Glow, negative log-likelihood in bits per dimension"
    paper = "Kingma, Dhariwal, Glow: Generative Flow with Invertible 1×1 Convolutions (NeurIPS 2018), arXiv:1807.03039"
    Params = GlowParams
    presets: ClassVar = {
        "paper": {},
        "quick": {
            "depth": 4,
            "hidden": 32,
            "training": {"epochs": 8, "batch_size": 32, "learning_rate": 2e-3, "warmup": 50},
        },
        "cpu": {
            "depth": 4,
            "hidden": 32,
            "training": {"epochs": 2, "batch_size": 32, "learning_rate": 2e-3, "warmup": 50},
        },
    }

    conditional_parameters: ClassVar = {
        "training.keep": "when the last epoch is not the best",
        "training.least_learning_rate": "after warmup · (learning_rate / least_learning_rate)² updates",
    }

    @classmethod
    def check_shape(cls, shape: Shape) -> None:
        """Raise OODBenchError unless H and W are even, for a shape (C, H, W)."""
        if shape[1] % 2 or shape[2] % 2:
            raise OODBenchError(
                f"{cls.name} can be fitted to images of even height and width, not of {shape_text(shape)}"
            )

    model: GlowNetwork

    def initialise(self, train: ImageSet, context: Context) -> None:
        """Set the scales and shifts of actnorm from a first batch of training images (paper, §3.1)."""
        order = context.generator("first batch", device="cpu")
        first = next(train.batches(self.params.training.batch_size, context.device, order))
        self.model.initialise(first, context.generator("first batch", "noise"))

    def optimization(self, train: ImageSet) -> tuple[torch.optim.Optimizer, Scheduler]:
        """Return Adam, and the schedule of ``rate``."""
        training = self.params.training
        optimizer = torch.optim.Adam(self.model.parameters(), lr=training.learning_rate, betas=(0.9, training.beta2))
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: rate(update + 1, training))

    def build(self) -> GlowNetwork:
        """Return the flow with fresh weights."""
        params = self.params
        model = GlowNetwork(self.shape[0], params.depth, params.hidden, params.coupling)
        return model.to(memory_format=torch.channels_last)


def rate(update: int, training: TrainingParams) -> float:
    """Return the factor on the learning rate at an update, counted from 1.

    It rises linearly to 1 over ``warmup`` updates, then falls with 1/√update, down to ``least_learning_rate``.
    """
    if update <= training.warmup:
        return update / training.warmup
    return max((training.warmup / update) ** 0.5, training.least_learning_rate / training.learning_rate)
