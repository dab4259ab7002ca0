"""Estimates of how far a run is and how long it will take, from the progress that it reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from oodbench.api import Progress

RELIABLE_ADVANCES = 3
RELIABLE_SECONDS = 5
"""An estimate is reliable after this many reports of progress and this many seconds."""


class Estimate:
    """Estimates the seconds to the end of a fit, from the relative cost of its phases and its speed so far."""

    def __init__(self, phases: Mapping[str, float], now: float):
        self.phases = dict(phases)
        self.shares = dict.fromkeys(phases, 0.0)
        self.start = now
        self.first: tuple[float, float] | None = None
        self.advances = 0

    def advance(self, phase: str, share: float, now: float) -> None:
        for earlier in self.phases:
            if earlier == phase:
                break
            self.shares[earlier] = 1.0
        self.shares[phase] = share
        self.advances += 1
        if self.first is None:  # what came before may have been done in an earlier session
            self.first = now, self._done()

    def remaining(self, now: float) -> float | None:
        """Return the estimated seconds to the end; None while there is nothing to estimate from."""
        if self.first is None:
            return None
        since, done_then = self.first
        gained = self._done() - done_then
        if gained <= 0:
            return None
        return (now - since) * (sum(self.phases.values()) - self._done()) / gained

    def share(self) -> float:
        """Return how much of the whole fit is done, from 0 to 1."""
        return self._done() / (sum(self.phases.values()) or 1.0)

    def is_reliable(self, now: float) -> bool:
        return self.advances >= RELIABLE_ADVANCES and now - self.start >= RELIABLE_SECONDS

    def _done(self) -> float:
        return sum(cost * self.shares[phase] for phase, cost in self.phases.items())


class ReportedProgress(Progress):
    """A progress that forwards all calls to another one, and reports how far the run is.

    Args:
        progress: receives all calls.
        report: called with the phase, the share of all phases that is done, and the seconds left, None if unknown.
    """

    def __init__(self, progress: Progress, report: Callable[[str, float, float | None], None]):
        self.progress, self.report = progress, report
        self.estimate = Estimate({}, 0.0)

    def plan(self, phases: Mapping[str, float]) -> None:
        self.estimate = Estimate(phases, time.monotonic())
        self.progress.plan(phases)

    def advance(self, phase: str, share: float, epoch: str, values: Mapping[str, float]) -> None:
        if phase in self.estimate.phases:
            now = time.monotonic()
            self.estimate.advance(phase, share, now)
            self.report(phase, self.estimate.share(), self.estimate.remaining(now))
        self.progress.advance(phase, share, epoch, values)

    def message(self, text: str) -> None:
        self.progress.message(text)

    def for_run(self, run: str) -> Progress:
        return self.progress.for_run(run)

    def close(self) -> None:
        self.progress.close()
