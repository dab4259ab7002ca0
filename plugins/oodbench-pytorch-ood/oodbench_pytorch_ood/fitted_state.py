"""What a detector of pytorch-ood has learned, as named tensors: it has no state of its own that could be saved."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

GIVEN = ("model", "encoder", "head", "w", "b", "weight", "bias", "detector", "u")
"""Attributes that its constructor is given, or makes of what it is given: of the base, and not learned."""


def learned(detector: Any) -> dict[str, torch.Tensor]:
    """Return tensors, numbers, dictionaries of parameters and stored neighbours among the attributes."""
    state: dict[str, torch.Tensor] = {}
    for name, value in vars(detector).items():
        if name in GIVEN or value is None:
            continue
        if isinstance(value, torch.Tensor):
            state[name] = value.detach()
        elif isinstance(value, bool | int | float):
            state[name] = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
        elif isinstance(value, nn.ParameterDict):
            state |= {f"{name}.{key}": tensor.detach() for key, tensor in value.items()}
        elif hasattr(value, "kneighbors"):
            state[name] = torch.from_numpy(value._fit_X)
    return state


def restore(detector: Any, state: dict[str, torch.Tensor]) -> None:
    """Put what ``learned`` returned into a new detector with the same constructor arguments."""
    for full_name, tensor in state.items():
        name, _, key = full_name.partition(".")
        old = getattr(detector, name)
        if key:
            old[key] = nn.Parameter(tensor, requires_grad=False)
        elif hasattr(old, "kneighbors"):
            old.fit(tensor.cpu().numpy())
        elif isinstance(old, nn.Parameter):
            setattr(detector, name, nn.Parameter(tensor, requires_grad=False))
        else:
            is_number = tensor.ndim == 0 and not isinstance(old, torch.Tensor)
            setattr(detector, name, tensor.item() if is_number else tensor)
