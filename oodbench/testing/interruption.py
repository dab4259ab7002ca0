"""Fits that are killed and resumed, without a process being killed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from oodbench.api import Detector

T = TypeVar("T")


class Killed(BaseException):
    """Ends a fit at once, as kill -9 would."""


class InMemoryCheckpoints:
    """Does what a store does with checkpoints, in memory: tensors, numbers, texts and containers of them survive.

    Args:
        kill_at: raise Killed right after this save, counted from 1; 0 for never.
    """

    def __init__(self, kill_at: int = 0):
        self.kill_at, self.saves, self.data = kill_at, 0, b""

    def save(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.data = buffer.getvalue()
        self.saves += 1
        if self.saves == self.kill_at:
            raise Killed

    def load(self) -> dict[str, Any] | None:
        if not self.data:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(self.data), map_location="cpu", weights_only=True)
        return state


def kill_and_resume(fit: Callable[..., T], kill_at: int) -> T:
    """Run a fit until its checkpoint number ``kill_at``, kill it there, and return what it gives when run again.

    Args:
        fit: takes ``checkpoints`` and ``checkpoint_seconds``, which it must pass to its Context.

    Raises AssertionError where the fit saves fewer checkpoints, or swallows the interruption.
    """
    checkpoints = InMemoryCheckpoints(kill_at)
    try:
        fit(checkpoints=checkpoints, checkpoint_seconds=0)
    except Killed:
        return fit(checkpoints=checkpoints, checkpoint_seconds=0)
    raise AssertionError(f"the fit was not killed: it saved {checkpoints.saves} checkpoints, or swallowed Killed")


def same_state(one: Detector, other: Detector) -> bool:
    """Whether two detectors learned the same, bit for bit."""
    first, second = one.state(), other.state()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
