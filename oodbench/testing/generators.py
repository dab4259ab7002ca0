"""A check that needs no GPU: are random numbers drawn on the device that their generator is on?"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from oodbench.api import Context
from oodbench.runs.isolation import isolated
from oodbench.testing.case import SHORT_BUDGET, SHORT_IMAGES, DetectorCase
from oodbench.testing.faults import is_own, line_text

DRAWS = (torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal)
"""Functions that make a tensor of random numbers on the device that they are given, else on the CPU."""


def generators_are_used_on_their_device(case: DetectorCase) -> None:
    """Check that fit draws each tensor of random numbers on the device that its generator is on.

    On a GPU anything else is an error, which a run on a CPU alone does not show.
    """
    detector = case.new(case.params(SHORT_BUDGET), SHORT_IMAGES)
    context = _WatchedContext(case.device, precision=case.precision, progress=case.progress)
    with isolated(case.device, case.detector.name), _Draws(context, case.detector) as draws:
        detector.fit(*case.sets(case.shape, SHORT_IMAGES), context)
    assert not draws.faults, "; ".join(dict.fromkeys(draws.faults))


@dataclass
class _WatchedContext(Context):
    """A context that records for each generator whether it is on the context's device, or explicitly on the CPU."""

    given: dict[int, tuple[torch.Generator, bool | None]] = field(default_factory=dict)

    def generator(self, *purpose: str | int, device: torch.device | str | None = None) -> torch.Generator:
        """Return what Context does."""
        generator = super().generator(*purpose, device=device)
        self.given[id(generator)] = generator, True if device is None else self.is_own(device)
        return generator

    def is_own(self, device: object) -> bool | None:
        """Whether a device is the context's own object; False for "cpu"; None for others, such as a tensor's device."""
        if device is self.device:
            return True
        return False if device == "cpu" else None


class _Draws(TorchFunctionMode):
    """Records the draws that name another device than their generator's."""

    def __init__(self, context: _WatchedContext, detector: type):
        super().__init__()
        self.context, self.detector = context, detector
        self.faults: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        said = kwargs or {}
        _, of_context = self.context.given.get(id(said.get("generator")), (None, None))
        if func in DRAWS and of_context is not None:
            there = False if said.get("device") is None else self.context.is_own(said["device"])
            if there is not None and there != of_context:
                self.faults.append(self._fault(func.__name__, of_context))
        return func(*args, **said)

    def _fault(self, function: str, of_context: bool) -> str:
        frame: Any = sys._getframe(2)
        while frame.f_back is not None and not is_own(frame, self.detector):
            frame = frame.f_back
        where = line_text(frame, frame.f_lineno)
        if of_context:
            return (
                f"{where}: torch.{function} draws on the CPU from a generator that is on context.device, which is an "
                "error on a GPU: give it device=context.device, or make the generator with device='cpu'"
            )
        return (
            f"{where}: torch.{function} draws on context.device from a generator that is on the CPU, which is an error "
            "on a GPU: draw on the CPU and move it, or make the generator without device='cpu'"
        )
