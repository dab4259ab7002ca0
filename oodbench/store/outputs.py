"""Outputs of a fitted detector, kept for the detectors that use it as base. Any of them may be deleted at any time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from oodbench.errors import OODBenchError, StoreError
from oodbench.store.files import Files
from oodbench.text import shorten

if TYPE_CHECKING:
    import torch

DEFAULT_MIB = 2048


class StoredOutputs:
    """The outputs of one fit, one file for each set of images; the oldest are removed when they exceed the limit.

    A file's name has all that its content depends on: the images' fingerprint, the fit, the kind of device. The file
    begins with the SHA-256 of the safetensors that follow.
    """

    def __init__(self, files: Files, folder: str, fit_id: str, device: str):
        self.files, self.folder, self.fit_id, self.device = files, folder, fit_id, device

    def read(self, fingerprint: str) -> dict[str, torch.Tensor] | None:
        """Return the outputs for the images with this fingerprint; None where there are none, or they are damaged."""
        path = self._path(fingerprint)
        with suppress(StoreError):
            return self.files.read(path, _parse) if self.files.exists(path) else None
        return None

    def write(self, fingerprint: str, outputs: Mapping[str, torch.Tensor]) -> None:
        """Store the outputs, and remove those of other fits and the oldest that exceed the limit.

        Outputs that are larger than the limit by themselves are not stored.
        """
        from safetensors.torch import save

        limit = size_limit()
        if sum(tensor.nbytes for tensor in outputs.values()) > limit:
            return
        data = save({name: tensor.contiguous() for name, tensor in outputs.items()})
        self._make_room(limit - len(data))
        self.files.write(self._path(fingerprint), hashlib.sha256(data).hexdigest().encode() + data)

    def _make_room(self, room: int) -> None:
        """Remove the files of other fits, and then the oldest until the rest fit into ``room`` bytes."""
        kept = 0
        for name, size in self.files.sizes(self.folder):  # the newest first
            kept += size
            if f"-{self.fit_id}-" not in name or kept > room:
                self.files.remove(f"{self.folder}/{name}")
                kept -= size

    def _path(self, fingerprint: str) -> str:
        return f"{self.folder}/{fingerprint}-{self.fit_id}-{self.device}.safetensors"


def size_limit() -> int:
    """Return how many bytes the outputs of one run may take: ``OODBENCH_OUTPUTS_MIB`` if it is set, else 2 GiB.

    Raises OODBenchError where the variable is not a whole number from 0; with 0 nothing is kept.
    """
    text = os.environ.get("OODBENCH_OUTPUTS_MIB", "")
    if text and not (text.isascii() and text.isdigit()):
        raise OODBenchError(f"OODBENCH_OUTPUTS_MIB is {shorten(repr(text))}: give a whole number of MiB from 0")
    return int(text or DEFAULT_MIB) * 2**20


def _parse(data: bytes) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    digest, content = data[:64], data[64:]
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("its SHA-256 is another")
    return load(content)
