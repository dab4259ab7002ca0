"""The learned state of a detector of pytorch-ood, as named tensors: pytorch-ood has no way to save it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pytorch_ood.api import Detector
from pytorch_ood.detector.nac import _LayerStats
from pytorch_ood.detector.openmax.numpy import LibNotMR
from pytorch_ood.detector.openmax.numpy import OpenMax as NumpyOpenMax
from torch import nn

GIVEN = (
    "model", "encoder", "backbone", "head", "w", "b", "weight", "bias", "detector", "u", "feature_layers", "layers",
    "num_layer", "num_classes", "micro_batch_size",
)  # fmt: skip
"""Attributes that its constructor is given, or makes of what it is given: of the base, and not learned."""
WEIBULL = ("c", "scale", "min_val")
"""What OpenMax keeps of the distances of each class."""


def learned(detector: Any) -> dict[str, torch.Tensor]:
    """Return the tensors and numbers in a detector's attributes, lists, nested detectors and nearest-neighbour indexes.

    An entry of a list, or an attribute of a nested detector, has a dotted name: ``mu.0``, ``_base.mu``.
    """
    return {
        path: tensor
        for name, value in vars(detector).items()
        if name not in GIVEN and value is not None
        for path, tensor in _tensors(name, value)
    }


def _tensors(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value.detach()
    elif isinstance(value, bool | int | float):
        yield name, torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    elif isinstance(value, nn.ParameterDict):
        yield from ((f"{name}.{key}", tensor.detach()) for key, tensor in value.items())
    elif isinstance(value, Detector):
        yield from ((f"{name}.{path}", tensor) for path, tensor in learned(value).items())
    elif isinstance(value, NumpyOpenMax):
        yield from ((f"{name}.{path}", tensor) for path, tensor in _of_openmax(value).items())
    elif hasattr(value, "kneighbors"):
        yield name, torch.from_numpy(value._fit_X)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            if isinstance(each, torch.Tensor | list | _LayerStats):  # a list of numbers is an argument
                inner = each.counts if isinstance(each, _LayerStats) else each
                yield from _tensors(f"{name}.{index}", inner)


def restore(detector: Any, state: dict[str, torch.Tensor]) -> None:
    """Restore what ``learned`` returned, in a new detector with the same constructor arguments."""
    for name, parts in _by_first(state).items():
        old, tensor = getattr(detector, name), parts.get("")
        if isinstance(old, nn.ParameterDict):
            old.update({key: nn.Parameter(each, requires_grad=False) for key, each in parts.items()})
        elif isinstance(old, Detector):
            restore(old, parts)
        elif name == "_openmax":
            detector._openmax = _as_openmax(detector, parts)
        elif name == "_stats":
            detector._stats = [
                _LayerStats(m=bins, o_star=full, counts=counts.cpu())
                for bins, full, counts in zip(detector.m_bins, detector.o_star, _nested(parts), strict=True)
            ]
        elif tensor is None:
            setattr(detector, name, _nested(parts))
        elif hasattr(old, "kneighbors"):
            old.fit(tensor.cpu().numpy())
        elif isinstance(old, nn.Parameter):
            setattr(detector, name, nn.Parameter(tensor, requires_grad=False))
        else:
            is_number = tensor.ndim == 0 and not isinstance(old, torch.Tensor)
            setattr(detector, name, tensor.item() if is_number else tensor)


def _by_first(state: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Group tensors by the first part of their dotted names: first part → rest → tensor."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for path, tensor in state.items():
        name, _, rest = path.partition(".")
        parts.setdefault(name, {})[rest] = tensor
    return parts


def _nested(parts: dict[str, torch.Tensor]) -> Any:
    """Return nested lists of tensors from their dotted indices."""
    if "" in parts:
        return parts[""]
    return [_nested(each) for _, each in sorted(_by_first(parts).items(), key=lambda pair: int(pair[0]))]


def _of_openmax(fitted: NumpyOpenMax) -> dict[str, torch.Tensor]:
    """Return the centres (k, k) of the classes, and the Weibull parameters of the distances to each, (k,)."""
    classes = sorted(fitted.centers)
    state = {"centers": torch.stack([torch.from_numpy(fitted.centers[each]) for each in classes])}
    for name in WEIBULL:
        values = [float(getattr(fitted.distributions[each], name)) for each in classes]
        state[name] = torch.tensor(values, dtype=torch.float64)
    return state


def _as_openmax(detector: Any, state: dict[str, torch.Tensor]) -> NumpyOpenMax:
    centers = state["centers"].cpu().numpy()
    made = NumpyOpenMax(detector.tailsize, min(detector.alpha, centers.shape[1]), detector.euclid_weight)
    made.n_dims, made.is_fitted, made.centers = centers.shape[1], True, dict(enumerate(centers))
    for label in made.centers:
        made.distributions[label] = LibNotMR(detector.tailsize)
        for name in WEIBULL:
            setattr(made.distributions[label], name, state[name][label].item())
    return made
