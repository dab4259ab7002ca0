"""A detector whose score is the negative log-likelihood of a density model."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch

from oodbench.api import Context, ImageSet
from oodbench.nn.likelihood import DensityModel, LikelihoodParams, Scheduler, fit_likelihood, score_bits
from oodbench.nn.network_detector import NetworkDetector


class LikelihoodDetector(NetworkDetector):
    """A detector that scores by S(x) = -log₂ p(x) / D, in bits per dimension, of a model trained by maximum likelihood.

    A subclass defines ``build``, which returns a DensityModel, and ``optimization``; its ``Params`` have a group
    ``training`` of LikelihoodParams.
    """

    score_unit: ClassVar[str] = "bits per dimension"
    model: DensityModel

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Train a new model. Raises FitError if the likelihood is not finite in the first epoch."""
        training: LikelihoodParams = self.params.training
        with context.global_seed("weights"):
            model: Any = self.build().to(context.device)
        self.model = model
        self.initialise(train, context)
        optimizer, scheduler = self.optimization(train)
        fit_likelihood(self.model, optimizer, scheduler, training, train, validation, context)
        return self

    def initialise(self, train: ImageSet, context: Context) -> None:
        """Set weights from the training images before training; does nothing unless a subclass overrides it."""

    @abstractmethod
    def optimization(self, train: ImageSet) -> tuple[torch.optim.Optimizer, Scheduler]:
        """Return the optimizer of the model's weights, and a learning rate schedule that makes one step per update."""

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return the bits per dimension (b,) of images (b, C, H, W) in [0, 1]."""
        return score_bits(self.model, images)
