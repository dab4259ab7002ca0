"""Detectors of pytorch-ood that run the classifier's network on the images themselves."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from pytorch_ood.api import StructuredDetector
from torch import nn

from oodbench import Context, ImageSet
from oodbench_pytorch_ood.post_hoc import BATCH, PytorchOODDetector, class_indices


@dataclass(frozen=True)
class Batches:
    """An image set as pytorch-ood takes it: pairs of images (b, C, H, W) and labels 0 to k - 1 (b,), on the CPU.

    The images require gradients, as the weights are constants here.
    """

    images: ImageSet

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, labels in self.images.batches(BATCH, torch.device("cpu"), labels=True):
            yield images.requires_grad_(), labels

    def __len__(self) -> int:
        return -(-len(self.images) // BATCH)


class OnImages(PytorchOODDetector):
    """A detector that scores images with a copy of the network, so that gradients and hooks do not change the base."""

    def parts(self) -> dict[str, Any]:
        network = copy.deepcopy(self.network).requires_grad_(False)
        stages, head = network.stages(), network.head()
        whole = nn.Sequential(*stages, head).eval()
        takes_stages = issubclass(self.inner_class, StructuredDetector)
        return {
            "model": stages if takes_stages else whole, "encoder": network.features, "head": head, "layers": stages,
            "feature_layers": stages, "num_classes": network.fc.out_features,
            "num_poles_list": [*range(1, getattr(self.params, "powers", 1) + 1)],
        }  # fmt: skip

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Fit the statistics to the training images. Raises FitError if there are too few."""
        self.inner = self._new()
        if not self.inner.requires_fit:
            return self
        try:
            with torch.autocast(context.device.type, enabled=False), context.global_seed("statistics"):
                if hasattr(self.inner, "fit_features"):
                    features, labels = (
                        self.fitted_base.outputs_of(train)["features"],
                        class_indices(train, np.unique(train.labels)),
                    )
                    self.inner.fit_features(features, labels)
                else:
                    self.inner.fit(Batches(train.with_class_indices(np.unique(train.labels))))
        except (ValueError, RuntimeError, AssertionError) as error:
            raise self._refuse(train, error) from error
        return self

    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outlier scores (b,) of images (b, C, H, W) in [0, 1]."""
        with torch.autocast(images.device.type, enabled=False):
            scores: torch.Tensor = self.inner.predict(images.detach().clone().requires_grad_())
        return scores.detach()
