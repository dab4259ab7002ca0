"""One detector class for each of pytorch-ood that scores logits or pooled features, made from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pydantic
import pytorch_ood.detector
import torch
from pytorch_ood.api import LogitsDetector

from oodbench import Context, Detector, FitError, ImageSet, Params, PostHocDetector, param
from oodbench_pytorch_ood.fitted_state import learned, restore

CLASSES = {
    "po-msp": "MaxSoftmax", "po-max-logit": "MaxLogit", "po-energy": "EnergyBased", "po-entropy": "Entropy",
    "po-gen": "GEN", "po-kl-matching": "KLMatching", "po-temperature": "TemperatureScaling",
    "po-mahalanobis": "Mahalanobis", "po-rmd": "RMD", "po-knn": "KNN", "po-vim": "ViM", "po-she": "SHE",
    "po-nnguide": "NNGuide", "po-nci": "NCI", "po-gmm": "GMM", "po-pnml": "PNML", "po-dice": "DICE", "po-lts": "LTS",
}  # fmt: skip
FROM_BASE = ("self", "model", "encoder", "head", "w", "b", "detector")
"""Arguments that are the classifier, parts of it, or a function of pytorch-ood, and so no parameters."""
CHOSEN: dict[str, dict[str, Any]] = {"po-dice": {"p": 0.9}, "po-vim": {"d": 64}}
"""Values of arguments that have no default there."""
QUICK: dict[str, dict[str, Any]] = {"po-knn": {"k": 5}, "po-vim": {"d": 32}}
BOUNDS: dict[str, dict[str, Any]] = {
    "k": {"ge": 1}, "d": {"ge": 1}, "t": {"gt": 0}, "p": {"gt": 0, "lt": 1}, "gamma": {"gt": 0, "lt": 1},
    "reg": {"gt": 0}, "eps": {"gt": 0},
}  # fmt: skip
PLAIN = (int, float, bool)
NOISE = "confidence on noise is arbitrary (Hein et al., CVPR 2019): it depends on the classifier, not on the score"


class PytorchOODDetector(PostHocDetector):
    """A detector of pytorch-ood, given in place of a model what the classifier computes of images.

    Statistics are fitted in float32, as there, whatever the precision of the classifier.
    """

    base = "classifier"
    inner_class: Any
    inner: Any

    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Fit the statistics to the training images' logits or features. Raises FitError where there are too few."""
        self.inner = self._new()
        method = getattr(self.inner, f"fit_{self._kind()}", None)
        if method and self.inner.requires_fit:
            labels = torch.from_numpy(train.with_class_indices(np.unique(train.labels)).labels)
            given = self.fitted_base.outputs_of(train)[self._kind()]
            try:
                with torch.autocast(context.device.type, enabled=False):
                    method(given, labels)
            except (ValueError, RuntimeError) as error:
                raise FitError(f"{self.name} cannot be fitted to {len(train):,} images: {error}") from error
        self._move(context.device)
        return self

    @torch.no_grad()
    def score_outputs(self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        """Return the outlier scores (b,) of logits (b, k) or features (b, D)."""
        given = outputs[self._kind()].float()
        with torch.autocast(given.device.type, enabled=False):
            scores: torch.Tensor = getattr(self.inner, f"predict_{self._kind()}")(given)
        return scores.to(given.device)

    def state(self) -> dict[str, torch.Tensor]:
        """Return what was learned, by the names that pytorch-ood has for it."""
        known = type(self.params).model_fields
        return {name: tensor for name, tensor in learned(self.inner).items() if name not in known}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what ``state`` returned."""
        self.inner = self._new()
        restore(self.inner, state)

    def _kind(self) -> str:
        return "logits" if issubclass(self.inner_class, LogitsDetector) else "features"

    def _new(self) -> Any:
        names = [name for name in inspect.signature(self.inner_class.__init__).parameters if name in FROM_BASE[1:]]
        given: dict[str, Any] = dict.fromkeys(names)
        if {"head", "w"} & given.keys():
            base: Any = self.fitted_base.detector
            last = base.model.fc
            parts = {"head": last, "w": last.weight.detach().clone(), "b": last.bias.detach().clone()}
            given |= {name: parts[name] for name in names if name in parts}
        return self.inner_class(**given, **self.params.model_dump())

    def _move(self, device: torch.device) -> None:
        """Bring tensors to the device; the base's last layer is there already, and stays what it is."""
        for name, value in vars(self.inner).items():
            if isinstance(value, torch.Tensor):
                setattr(self.inner, name, value.to(device))


def detector_classes() -> list[type[Detector]]:
    """Return one class for each of CLASSES."""
    return [_detector_class(name, getattr(pytorch_ood.detector, inner)) for name, inner in CLASSES.items()]


def _detector_class(name: str, inner: Any) -> type[Detector]:
    paper = inner.info.paper
    fields: dict[str, Any] = {}
    for argument, given in inspect.signature(inner.__init__).parameters.items():
        default = CHOSEN.get(name, {}).get(argument, given.default)
        if argument not in FROM_BASE and isinstance(default, PLAIN):
            meaning = f"{argument} of pytorch-ood's {inner.__name__}"
            bounds = BOUNDS.get(argument, {})
            fields[argument] = (type(default), param(default, meaning, source="pytorch-ood's default", **bounds))
    params = pydantic.create_model(f"{inner.__name__}Params", __base__=Params, __module__=__name__, **fields)
    made = type(inner.__name__, (PytorchOODDetector,), {
        "__doc__": f"pytorch-ood's {inner.__name__} on a classifier.",
        "__module__": __name__,
        "name": name,
        "summary": f"pytorch-ood's {inner.__name__} on a classifier",
        "paper": f"{paper.title} ({paper.venue} {paper.year}), {paper.url}" if paper else "",
        "Params": params,
        "presets": {"paper": {}, "quick": QUICK.get(name, {})},
        "known_findings": {"noise_scores_higher_than_data": NOISE},
        "inner_class": inner,
    })  # fmt: skip
    globals()[inner.__name__] = made  # so that another process can import it
    return made
