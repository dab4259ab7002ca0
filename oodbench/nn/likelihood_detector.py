"""A detector whose score is the negative log-likelihood of a density model."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch

from oodbench.api import Context, ImageSet
from oodbench.nn.likelihood import DensityModel, LikelihoodParams, Scheduler, fit_likelihood, score_bits
from oodbench.nn.network_detector import NetworkDetector


class LikelihoodDetector(NetworkDetector):
    """S(x) = -log₂ p(x) / D in bits per dimension, trained by maximum likelihood.

    A subclass defines ``build``, which gives a DensityModel, and ``optimization``; its ``Params`` have a group
    ``training`` of LikelihoodParams.
    """

    score_unit: ClassVar[str] = "bits per dimension"
    model: DensityModel

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        training: LikelihoodParams = self.params.training
        with context.global_seed("weights"):
            model: Any = self.build().to(context.device)
        self.model = model
        self.initialise(train, context)
        optimizer, scheduler = self.optimization(train)
        fit_likelihood(self.model, optimizer, scheduler, training, train, validation, context)
        return self

    def initialise(self, train: ImageSet, context: Context) -> None:
        """Set weights from the data before training, where a model needs it."""

    @abstractmethod
    def optimization(self, train: ImageSet) -> tuple[torch.optim.Optimizer, Scheduler]:
        """Return the optimizer of the model's weights, and a schedule that makes one step per update."""

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        return score_bits(self.model, images)
