"""Tensors as numpy has them, without importing torch for it."""

from __future__ import annotations

import sys
from typing import Any


def without_torch(values: Any) -> Any:
    """Return a tensor as an array, on whatever device and with or without a gradient; all else as it is."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(values, torch.Tensor):
        return values
    there = values.detach().cpu()
    return (there.float() if there.dtype == torch.bfloat16 else there).numpy()  # numpy has no bfloat16
