"""PixelCNN++: the score of an image is its bits per dimension under an autoregressive model."""

from __future__ import annotations

from typing import ClassVar

import torch

from oodbench import ImageSet, OODBenchError, Params, Shape, param, shape_text
from oodbench.nn.likelihood import LikelihoodParams, Scheduler
from oodbench.nn.likelihood_detector import LikelihoodDetector
from oodbench.nn.training import steps_per_epoch
from oodbench_pixelcnnpp.network import PixelCNNPPNetwork

CODE = "pclucas14/pixel-cnn-pp, the code of the EBAE authors' baseline"


class TrainingParams(LikelihoodParams):
    """Training parameters of PixelCNN++."""

    batch_size: int = param(64, "images per update", ge=1, reduces="higher", source=CODE)
    learning_rate: float = param(
        2e-4,
        "of Adam, on the mean bits per dimension; in that code on the sum of nats over a batch",
        gt=0,
        le=1e30,
        source=CODE,
    )
    learning_rate_decay: float = param(0.999995, "factor on the rate after each epoch", gt=0, le=1, source=CODE)


class PixelCNNPPParams(Params):
    """Parameters of PixelCNN++."""

    resnets: int = param(
        5, "gated resnets per stream and resolution, on the way up", ge=1, reduces="lower", source="paper §2.3"
    )
    filters: int = param(
        80, "channels of the hidden layers", ge=1, reduces="lower", source="EBAE supplement; the paper has 160"
    )
    mixtures: int = param(10, "logistics per pixel", ge=1, source=CODE)
    dropout: float = param(0.5, "probability that training drops a feature map", ge=0, lt=1, source="paper §2.5; code")
    training: TrainingParams = param(TrainingParams(), "by maximum likelihood")


class PixelCNNPP(LikelihoodDetector):
    """A detector that scores by S(x) = -log₂ p(x) / D of an autoregressive model, p(x) = Π_i p(x_i | x_<i).

    Each p(x_i | x_<i) is a discretised mixture of logistics.
    """

    name = "pixelcnnpp"
    summary = "PixelCNN++, negative log-likelihood in bits per dimension"
    paper = "Salimans, Karpathy, Chen, Kingma, PixelCNN++ (ICLR 2017), arXiv:1701.05517"
    Params = PixelCNNPPParams
    presets: ClassVar = {
        "paper": {},
        "quick": {
            "resnets": 1,
            "filters": 8,
            "mixtures": 5,
            "dropout": 0.0,
            "training": {"epochs": 2, "batch_size": 16, "learning_rate": 8e-3},
        },
        "cpu": {
            "resnets": 1,
            "filters": 8,
            "mixtures": 5,
            "dropout": 0.0,
            "training": {"epochs": 1, "batch_size": 16, "learning_rate": 8e-3},
        },
    }

    conditional_parameters: ClassVar = {"training.keep": "when the last epoch is not the best"}

    @classmethod
    def check_shape(cls, shape: Shape) -> None:
        """Raise OODBenchError unless C is 1 or 3, and H and W are multiples of 4, for a shape (C, H, W)."""
        channels, height, width = shape
        if channels not in (1, 3) or height % 4 or width % 4:
            raise OODBenchError(
                f"{cls.name} can be fitted to grey or colour images whose height and width are multiples of 4, "
                f"not of {shape_text(shape)}"
            )

    def optimization(self, train: ImageSet) -> tuple[torch.optim.Optimizer, Scheduler]:
        """Return Adam, and a schedule that lowers the learning rate after each epoch."""
        training = self.params.training
        optimizer = torch.optim.Adam(self.model.parameters(), lr=training.learning_rate)
        epoch = steps_per_epoch(train, training.batch_size)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, epoch, training.learning_rate_decay)

    def build(self) -> PixelCNNPPNetwork:
        """Return the network with fresh weights."""
        params = self.params
        model = PixelCNNPPNetwork(self.shape[0], params.resnets, params.filters, params.mixtures, params.dropout)
        return model.to(memory_format=torch.channels_last)
