"""A base: another detector whose fit a detector uses; it is fitted once for all detectors that use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from oodbench.api.context import Context
from oodbench.api.images import ImageSet
from oodbench.errors import ScoreError

if TYPE_CHECKING:
    import torch

    from oodbench.api.detector import Detector

OUTPUT_BATCH = 256
"""Number of images whose outputs are computed at once."""


@dataclass(frozen=True)
class Base:
    """Which detector another one uses as its base, and with which parameters.

    Args:
        detector: its registered name.
        preset: of its parameters; empty for the preset of the run that uses it.
        values: parameters by name, dotted or nested; settings of the user do not override them.
    """

    detector: str
    preset: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


class FittedBase:
    """The fitted base of a detector, and its outputs for images: ``self.fitted_base`` in ``fit`` and ``score``.

    Args:
        load: returns the fitted detector; called when the detector is first needed.
        context: has the device and the precision for the outputs.
    """

    def __init__(self, load: Callable[[], Detector], context: Context):
        self._load = load
        self.context = context

    @cached_property
    def detector(self) -> Detector:
        """The base itself. A detector that uses it must not change it."""
        return self._load()

    def outputs(self, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return the base's outputs for images (b, C, H, W): name → (b, …)."""
        return self.detector.outputs(images)

    def outputs_of(self, images: ImageSet) -> Mapping[str, torch.Tensor]:
        """Return the base's outputs for every image of the set, in order: name → float32 (n, …) on the CPU.

        In a run, they are kept in the store and computed once for all detectors that use the base.

        Raises ScoreError where the base does not give one row per image.
        """
        import torch

        parts: dict[str, list[torch.Tensor]] = {}
        for batch in images.batches(OUTPUT_BATCH, self.context.device):
            with self.context.autocast():
                found = self.outputs(batch)
            for name, tensor in found.items():
                if tensor.shape[:1] != batch.shape[:1]:
                    what = f"output {name} of shape {tuple(tensor.shape)} for {len(batch):,} images"
                    raise ScoreError(f"{self.detector.name} gave an {what}; it must be (b, …)")
                parts.setdefault(name, []).append(tensor.detach().float().cpu())
        return {name: torch.cat(tensors) for name, tensors in parts.items()}
