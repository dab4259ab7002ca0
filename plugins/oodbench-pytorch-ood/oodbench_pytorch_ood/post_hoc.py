"""Detectors of pytorch-ood on a classifier's logits, features, feature maps, weight gradients or dropout."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pytorch_ood.api import LogitsDetector
from torch import nn

from oodbench import Context, Detector, FitError, ImageSet, PostHocDetector
from oodbench_pytorch_ood.fitted_state import learned, restore

FROM_BASE = (
    "model", "encoder", "backbone", "head", "w", "b", "detector", "feature_layers", "layers", "num_classes",
    "param_filter",
)  # fmt: skip
"""Arguments that are the classifier, parts of it, or a function, and so no parameters."""
BATCH = 256
"""Images of which a fit computes feature maps at once."""
PART = 32
"""Images of which the gradients of all weights are held at once."""


class PytorchOODDetector(Detector):
    """A detector of pytorch-ood, constructed from a fitted classifier and the parameters.

    It computes in float32 from the classifier's outputs, which have the classifier's precision: inverse covariances
    and signs of gradients break in bfloat16.
    """

    base = "classifier"
    inner_class: Any
    inner: Any

    def parts(self) -> dict[str, Any]:
        """Return the constructor arguments that come from the classifier, by name; others in FROM_BASE are None."""
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """Return the learned tensors, by pytorch-ood's attribute names."""
        known = type(self.params).model_fields
        return {name: tensor for name, tensor in learned(self.inner).items() if name not in known}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what ``state`` returned."""
        self.inner = self._new()
        restore(self.inner, state)

    @property
    def network(self) -> Any:
        """The classifier's network, which must not be changed."""
        base: Any = self.fitted_base.detector
        return base.model

    @property
    def arguments(self) -> list[str]:
        """The names of the constructor's arguments."""
        return list(inspect.signature(self.inner_class.__init__).parameters)

    def _new(self) -> Any:
        arguments, parts = self.arguments, self.parts()
        given = {name: parts.get(name) for name in arguments if name in FROM_BASE or name in parts}
        chosen = {name: value for name, value in self.params.model_dump().items() if name in arguments}
        return self.inner_class(**given, **chosen)

    def _refuse(self, train: ImageSet, error: Exception) -> FitError:
        return FitError(f"{self.name} cannot be fitted to {len(train):,} images: {error}")


class OnOutputs(PytorchOODDetector, PostHocDetector):
    """A detector that scores logits, or features with the last layer."""

    takes_validation: ClassVar[bool] = False
    """Whether it is fitted to validation images, which the classifier has not learnt, where there are any."""

    def parts(self) -> dict[str, Any]:
        if not {"head", "w"} & set(self.arguments):
            return {}  # the classifier itself need not be loaded
        last = self.network.fc
        return {"head": last, "w": last.weight.detach().clone(), "b": last.bias.detach().clone()}

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Fit the statistics to logits or features of the images. Raises FitError if there are too few."""
        self.inner = self._new()
        method = getattr(self.inner, f"fit_{self._kind()}", None)
        if method and self.inner.requires_fit:
            images = validation if self.takes_validation and len(validation) else train
            given, labels = self._of_set(images), class_indices(images, np.unique(train.labels))
            try:
                with torch.autocast(context.device.type, enabled=False), warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)  # from OpenMax's search for a Weibull distribution
                    method(*self._chosen(given, labels))
            except (ValueError, RuntimeError, AssertionError) as error:
                raise self._refuse(images, error) from error
        self._move(context.device)
        return self

    @torch.no_grad()
    def score_outputs(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        """Return the outlier scores (b,), given logits (b, k) and features (b, D) of images (b, C, H, W)."""
        with torch.autocast(images.device.type, enabled=False):
            scores = self._predict(self._given(outputs, images))
        return scores.to(images.device)

    def _kind(self) -> str:
        return "logits" if issubclass(self.inner_class, LogitsDetector) else "features"

    def _of_set(self, images: ImageSet) -> torch.Tensor:
        """Return the classifier's outputs for a set of images, as ``fit`` uses them."""
        return self.fitted_base.outputs_of(images)[self._kind()]

    def _chosen(self, given: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows, and their labels, that the detector is fitted to."""
        return given, labels

    def _given(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        """Return the values of a batch that are scored."""
        return outputs[self._kind()].float()

    def _predict(self, given: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = getattr(self.inner, f"predict_{self._kind()}")(given)
        return scores

    def _move(self, device: torch.device) -> None:
        """Move tensors to the device; the base's last layer is there already, and is not replaced."""
        for name, value in vars(self.inner).items():
            if isinstance(value, torch.Tensor):
                setattr(self.inner, name, value.to(device))


class OnLogitsOfEveryClass(OnOutputs):
    """A detector that scores logits by OpenMax, as in a batch in which every class is predicted.

    pytorch-ood measures distances only to classes that are predicted for some image of the batch, and uses 0 for the
    others. One extra row per class, which predicts it, makes the scores of the images independent of the batch.
    """

    def _chosen(self, given: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows that the classifier classifies correctly, as in the paper's Algorithm 1."""
        is_right = given.argmax(1) == labels
        if lack := sorted({*range(given.shape[1])} - {*labels[is_right].tolist()}):
            raise ValueError(f"the classifier gets no image of class {lack[0]} right")
        return given[is_right], labels[is_right]

    def _predict(self, given: torch.Tensor) -> torch.Tensor:
        every = torch.eye(given.shape[1], dtype=given.dtype, device=given.device)
        with np.errstate(over="ignore"):  # an infinite power gives a probability of 1
            return super()._predict(torch.cat([given, every]))[: len(given)]


class OnFeatureMaps(OnOutputs):
    """A detector that modifies feature maps (b, D, h, w), or features as 1×1 maps, and scores the resulting logits."""

    def parts(self) -> dict[str, Any]:
        return {"head": nn.Sequential(nn.Flatten(), self.network.fc).eval() if self._pooled() else self.network.head()}

    def _kind(self) -> str:
        return "feature_maps"

    def _pooled(self) -> bool:
        return getattr(self.params, "layer", "maps") == "pooled"

    @torch.no_grad()
    def _of_set(self, images: ImageSet) -> torch.Tensor:
        if self._pooled():
            return self.fitted_base.outputs_of(images)["features"][:, :, None, None]
        batches = images.batches(BATCH, self.fitted_base.context.device)
        return torch.cat([self._maps(batch).cpu() for batch in batches])

    def _given(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        return outputs["features"].float()[:, :, None, None] if self._pooled() else self._maps(images)

    def _maps(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = nn.Sequential(*self.network.stages()).eval()(images)
        return maps


class OnWeightGradients(OnOutputs):
    """A detector that scores by weight gradients: of the last layer, computed from the features, or of all layers."""

    def parts(self) -> dict[str, Any]:
        if self.params.weights == "all":
            return {"model": self.network}
        is_norm = self.inner_class.__name__ == "GradNorm"  # the paper uses the weight matrix without the bias
        return {"model": self.network.fc, "param_filter": (lambda name: name == "weight") if is_norm else None}

    def _given(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        return images if self.params.weights == "all" else outputs["features"].float()

    def _predict(self, given: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.inner.predict(part) for part in given.split(PART)])


class OnDropout(OnOutputs):
    """A detector that scores by predictions under several draws of dropout; on features if the network has no dropout.

    Each draw has one mask for all images, which comes from the run's seed and is the same in every batch and on every
    device.
    """

    def parts(self) -> dict[str, Any]:
        network = copy.deepcopy(self.network)
        self._has_dropout = _share_masks(network)
        if self._has_dropout:
            return {"model": network}
        return {"model": nn.Sequential(SharedDropout(self.params.dropout), network.fc).eval()}

    def state(self) -> dict[str, torch.Tensor]:
        """Return an empty dict: nothing is learned."""
        return {}

    def _given(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        return images if self._has_dropout else outputs["features"].float()

    def _predict(self, given: torch.Tensor) -> torch.Tensor:
        with self.fitted_base.context.global_seed("dropout"):
            scores: torch.Tensor = self.inner.predict(given)
        return scores


class SharedDropout(nn.Dropout):
    """Dropout with one mask for all images (b, …), drawn on the CPU as for one image."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        mask = super().forward(torch.ones(1, *input.shape[1:]))
        return input * mask.to(input)


def _share_masks(network: nn.Module) -> bool:
    """Replace dropout by SharedDropout. Returns whether there was any."""
    found = False
    for name, child in network.named_children():
        if isinstance(child, nn.Dropout) and child.p > 0:
            setattr(network, name, SharedDropout(child.p).eval())
            found = True
        else:
            found |= _share_masks(child)
    return found


def class_indices(images: ImageSet, classes: np.ndarray) -> torch.Tensor:
    """Return the labels as 0 to k - 1, int64 (n,), given the k labels of the training images in ascending order."""
    return torch.from_numpy(images.with_class_indices(classes).labels)
