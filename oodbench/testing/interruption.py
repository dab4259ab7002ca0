"""Helpers that interrupt and resume a fit without killing a process."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from oodbench.api import Detector

T = TypeVar("T")


class Killed(BaseException):
    """An interruption that ends a fit at once, as kill -9 would."""


class InMemoryCheckpoints:
    """A store of checkpoints in memory: tensors, numbers, strings and containers of them survive, as on disk.

    Args:
        kill_at: raise Killed right after this save, counted from 1; 0 for never.
    """

    def __init__(self, kill_at: int = 0):
        self.kill_at, self.saves, self.data = kill_at, 0, b""

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by this state. Raises Killed after save number ``kill_at``."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.data = buffer.getvalue()
        self.saves += 1
        if self.saves == self.kill_at:
            raise Killed

    def load(self) -> dict[str, Any] | None:
        """Return the last state saved, its tensors on the CPU; None if there is none."""
        if not self.data:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(self.data), map_location="cpu", weights_only=True)
        return state


def kill_and_resume(fit: Callable[..., T], kill_at: int) -> T:
    """Run a fit, kill it after checkpoint number ``kill_at``, and return what it returns when run again.

    Args:
        fit: takes ``checkpoints`` and ``checkpoint_seconds``, which it must pass to its Context.

    Raises AssertionError if the fit saves fewer checkpoints, or catches the interruption.
    """
    checkpoints = InMemoryCheckpoints(kill_at)
    try:
        fit(checkpoints=checkpoints, checkpoint_seconds=0)
    except Killed:
        return fit(checkpoints=checkpoints, checkpoint_seconds=0)
    raise AssertionError(f"the fit was not killed: it saved {checkpoints.saves} checkpoints, or caught Killed")


def same_state(one: Detector, other: Detector) -> bool:
    """Whether two detectors have the same state, bit for bit."""
    first, second = one.state(), other.state()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
