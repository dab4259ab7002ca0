"""Tensors → numpy arrays, without importing torch."""

from __future__ import annotations

import sys
from typing import Any


def without_torch(values: Any) -> Any:
    """Return a tensor, on any device, with or without a gradient, as an array; anything else unchanged."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(values, torch.Tensor):
        return values
    there = values.detach().cpu()
    return (there.float() if there.dtype == torch.bfloat16 else there).numpy()  # numpy has no bfloat16
