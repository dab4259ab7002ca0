"""Checkpoints: the state of an unfinished fit, so that it can resume after an interruption."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

from oodbench.errors import StoreError
from oodbench.store.files import Files


class StoreCheckpoints:
    """Keeps the state of one fit in one file: nested dicts and lists of tensors, strings and numbers."""

    def __init__(self, files: Files, path: str):
        self.files, self.path = files, path

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state saved before. Raises StoreError where it cannot be written."""
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.files.write(self.path, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """Return the last state, its tensors on the CPU; None where there is none or it cannot be read."""
        import torch

        if not self.files.exists(self.path):
            return None

        def parse(data: bytes) -> dict[str, Any]:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError(f"it holds a {type(state).__name__}")
            return state

        with suppress(StoreError):
            return self.files.read(self.path, parse)
        return None
