"""Classifier: a network trained on the classes of the in-data; the score is 1 minus its confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pydantic
import torch

from oodbench import Context, Detector, FitError, ImageSet, Params, Shape, param
from oodbench_classifier.networks import NORMALIZATIONS, ClassifierNetwork, build, whiten
from oodbench_classifier.training import TrainingParams, evaluate, fit_classifier
from oodbench_classifier.weights import architecture_of, class_count, file_hash, put_weights, read_weights

WHITENING_IMAGES = 2000
DIGITS = {"crop_padding": 2, "flip": False}
"""Small grey images are mostly of characters, which mirrored are others."""


class ClassifierParams(Params):
    """Parameters of Classifier."""

    architecture: Literal[
        "auto", "convnet", "whitened", "resnet18-32", "resnet34-32", "resnet50-32", "resnet18", "resnet34",
        "resnet50", "resnet101", "resnet152", "wrn-40-2",
    ] = param(
        "auto",
        "network; auto takes convnet up to 28×28, resnet18-32 up to 64×64, else resnet18; of weights, theirs",
        source="OpenOOD 1.5: ResNet-18 for 32×32; convnet is ours",
    )  # fmt: skip
    width: float = param(
        1.0, "factor on the channels of convnet and whitened", ge=0.001, le=64, reduces="lower", source="ours"
    )
    normalization: Literal["data", "imagenet", "cifar10", "cifar100", "wrn", "half", "none"] = param(
        "data", "mean and deviation of the channels: of the training images, or those that weights were trained with",
        source="ours",
    )  # fmt: skip
    weights: str = param("", "file of weights to take instead of training: state_dict or safetensors", source="ours")
    weights_sha256: str = param("", "hash of that file, filled in, as it identifies the run", source="ours")
    training: TrainingParams = param(TrainingParams(), "by cross-entropy")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in_hash(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("weights") and not values.get("weights_sha256"):
            return {**values, "weights_sha256": file_hash(str(values["weights"]))}
        return values


class Classifier(Detector):
    """A detector that scores by 1 - max_c p(c | x), the probability that the prediction is wrong (Hendrycks & Gimpel).

    Other detectors use it as base: its logits (b, k) and features (b, D), the input of its last layer ``model.fc``.
    """

    name = "classifier"
    summary = "classifier of the in-data's classes; scored by 1 - maximum softmax probability"
    paper = (
        "Hendrycks and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural "
        "Networks (ICLR 2017), arXiv:1610.02136; training of Zhang et al., OpenOOD v1.5 (2023), arXiv:2306.09301"
    )
    Params = ClassifierParams
    presets: ClassVar = {
        "paper": {},
        "quick": {
            "architecture": "whitened",
            "width": 0.25,
            "training": {"epochs": 8, "batch_size": 64, "learning_rate": 0.05},
        },
    }
    conditional_parameters: ClassVar = {
        "weights": "with a file",
        "weights_sha256": "with a file of weights",
    }
    known_findings: ClassVar = {
        "noise_scores_higher_than_data": "a network may be as confident of noise as of data (Hein et al., CVPR 2019)",
    }
    model: ClassifierNetwork
    classes: torch.Tensor
    """The labels in the source of outputs 0 to k - 1, int64 (k,)."""

    @classmethod
    def preset(cls, name: str, shape: Shape) -> Mapping[str, Any]:
        """Return the values of a preset; grey images of up to 28×28 are not mirrored, and cropped with less padding."""
        values = dict(super().preset(name, shape))
        if shape[0] == 1 and max(shape[1:]) <= 28:
            values["training"] = {**DIGITS, **values.get("training", {})}
        return values

    @classmethod
    def is_reduced(cls, params: Any, shape: Shape) -> bool:
        """Whether training is smaller than published; False with weights from a file, which are not trained here."""
        return not params.weights and super().is_reduced(params, shape)

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Train a new network, or load the weights of the file.

        Raises FitError if there is only one class, or the weights are for another network or number of classes.
        """
        classes = np.unique(train.labels)
        if len(classes) < 2:
            raise FitError(f"{self.name}: {train.name} has images of one class only; a classifier needs two or more")
        self.classes = torch.from_numpy(classes).to(context.device)
        if self.params.weights:
            self._take_weights(train, context)
            return self
        with context.global_seed("weights"):
            self.model = self._build(self._architecture(), len(classes)).to(context.device)
        self._normalize(train)
        if self._architecture() == "whitened":
            order = context.generator("whitening", device="cpu")
            whiten(self.model, next(train.batches(WHITENING_IMAGES, context.device, order)))
        sets = train.with_class_indices(classes), self._labelled(validation)
        fit_classifier(self.model, self.params.training, *sets, context)
        return self

    def facts(self, test: ImageSet, context: Context) -> Mapping[str, float]:
        """Return the accuracy on the test split."""
        labelled = self._labelled(test)
        return {"accuracy": evaluate(self.model, labelled, context)[1]} if len(labelled) else {}

    @torch.no_grad()
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return 1 - max_c p(c | x) of images (b, C, H, W) in [0, 1], float64 (b,)."""
        return lacking_confidence(self.model(images))

    @torch.no_grad()
    def outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return features (b, D), logits (b, k) and the score (b,) of images (b, C, H, W) in [0, 1]."""
        features = self.model.features(images)
        logits = self.model.fc(features)
        return {"features": features, "logits": logits, "score": lacking_confidence(logits)}

    def state(self) -> dict[str, torch.Tensor]:
        """Return the weights and buffers of the network by name, and the classes."""
        return {**self.model.state_dict(), "classes": self.classes}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Build the network and load what ``state`` returned."""
        self.classes = state["classes"]
        weights = {name: tensor for name, tensor in state.items() if name != "classes"}
        body = {name.removeprefix("body."): tensor for name, tensor in weights.items()}
        self.model = self._build(self._architecture(body), len(self.classes)).to(self.classes.device)
        self.model.load_state_dict(weights)
        self.model.eval()

    def _build(self, architecture: str, classes: int) -> ClassifierNetwork:
        return build(architecture, self.shape[0], classes, self.params.width)

    def _architecture(self, tensors: Mapping[str, torch.Tensor] | None = None) -> str:
        """Return the name of the architecture, given the weights to load, if any."""
        if self.params.architecture != "auto":
            return str(self.params.architecture)
        found = architecture_of(tensors) if tensors else ""
        side = max(self.shape[1:])
        return found or ("convnet" if side <= 28 else "resnet18-32" if side <= 64 else "resnet18")

    def _take_weights(self, train: ImageSet, context: Context) -> None:
        path = self.params.weights
        tensors = read_weights(path, self.params.weights_sha256)
        count, architecture = class_count(tensors, path), self._architecture(tensors)
        if count != len(self.classes):
            raise FitError(
                f"the weights {path} tell {count:,} classes apart, and {train.name} has {len(self.classes):,}; choose "
                "the data that they were trained on"
            )
        self.model = self._build(architecture, count)
        put_weights(self.model, tensors, path, architecture)
        self.model.to(context.device)
        if "mean" not in tensors:
            self._normalize(train)
        self.model.eval()
        context.note(f"weights of a file, not trained here: SHA-256 {self.params.weights_sha256}")

    def _normalize(self, train: ImageSet) -> None:
        if self.params.normalization == "data":
            mean, std = channel_statistics(train)
        else:
            mean, std = map(torch.tensor, NORMALIZATIONS[self.params.normalization])
        self.model.normalize_by(mean, std)

    def _labelled(self, images: ImageSet) -> ImageSet:
        """Return the images of the trained classes, with labels 0 to k - 1."""
        classes = self.classes.tolist()
        return images.select_classes(classes).with_class_indices(classes)


def channel_statistics(images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of each channel in [0, 1], each (C,)."""
    sums = squares = torch.zeros(images.shape[0], dtype=torch.float64)
    count = 0
    for chunk in images.chunks():
        values = torch.from_numpy(chunk.astype(np.float32)).transpose(0, 1).flatten(1).double() / 255  # (C, n·H·W)
        sums, squares, count = sums + values.sum(1), squares + values.square().sum(1), count + values.shape[1]
    mean = sums / count
    return mean.float(), (squares / count - mean.square()).clamp_min(1e-8).sqrt().float()


def lacking_confidence(logits: torch.Tensor) -> torch.Tensor:
    """Return 1 - max_c softmax(logits)_c, (b,), of logits (b, k), in float64.

    It is computed as s / (1 + s) with s = Σ_{c ≠ m} exp(l_c - l_m), m the predicted class: subtracting from 1 would
    round to 0 for all confident predictions.
    """
    logits = logits.double()
    most, which = logits.max(dim=1, keepdim=True)
    rest = (logits - most).exp().scatter(1, which, 0.0).sum(dim=1)
    return rest / (1 + rest)
