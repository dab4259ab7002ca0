"""Progress of fits and scorings on stderr: bars in a terminal, elsewhere a line every half minute."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import IO, Self

import rich.progress
from rich.console import Console
from rich.table import Column

from oodbench.api import Progress
from oodbench.runs.estimate import Estimate
from oodbench.text import printable

LONG_SECONDS = 30 * 60
LINE_SECONDS = 30
SHOWN_VALUES = 3
"""Number of values shown: the loss and the energies come first; the history has all."""
SHOWN_IN_PARALLEL = 3
"""Number of details shown per run when several run at once: ETA, epoch and the first value."""


class _BaseProgress(Progress):
    """What one run and parallel runs have in common; subclasses decide what the bars show.

    Args:
        bars: the bars in a terminal; None where lines are printed instead.
        shorter: options that would make a long fit shorter, for the message about it.
    """

    def __init__(self, console: Console, bars: rich.progress.Progress | None, shorter: str):
        self.console = console
        self.bars = bars
        self.shorter = shorter
        self.estimate = Estimate({}, 0.0)
        self.warned = False
        self.last_line = 0.0

    def plan(self, phases: Mapping[str, float]) -> None:
        self.estimate = Estimate(phases, time.monotonic())
        self.warned = False
        self.last_line = time.monotonic()

    def advance(self, phase: str, share: float, epoch: str, values: Mapping[str, float]) -> None:
        if self.console.quiet or phase not in self.estimate.phases:
            return
        now = time.monotonic()
        self.estimate.advance(phase, share, now)
        remaining = self.estimate.remaining(now)
        detail = _detail(epoch, values, remaining)
        if self.bars is not None:
            self.move_bars(self.bars, phase, detail)
        elif now - self.last_line >= LINE_SECONDS:
            self.last_line = now
            self.message(f"{phase} {share:.0%} {detail}")
        self._warn_if_long(now, remaining)

    def message(self, text: str) -> None:
        self.console.print(printable(text), soft_wrap=True, markup=False)

    def move_bars(self, bars: rich.progress.Progress, phase: str, detail: str) -> None:
        raise NotImplementedError

    def _warn_if_long(self, now: float, remaining: float | None) -> None:
        if self.warned or remaining is None or not self.estimate.is_reliable(now):
            return
        whole = now - self.estimate.start + remaining
        if whole > LONG_SECONDS:
            self.warned = True
            self.message(f"This fit will take about {duration(whole)}.{self.shorter and f' Shorter: {self.shorter}.'}")


class RichProgress(_BaseProgress):
    """The progress of runs, one after the other, with one bar per phase; ``for_run`` returns that of a parallel run.

    Args:
        shorter: options that would make a long fit shorter, for the message about it.
        quiet: show nothing.
        file: where to write; stderr by default.
    """

    def __init__(self, shorter: str = "", quiet: bool = False, file: IO[str] | None = None):
        super().__init__(
            Console(stderr=file is None, file=file, highlight=False, markup=False, quiet=quiet), None, shorter
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self.console.quiet:
            self.bars = rich.progress.Progress(
                rich.progress.TextColumn(
                    "{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=44)
                ),
                rich.progress.BarColumn(10, table_column=Column(min_width=10)),
                rich.progress.TaskProgressColumn(table_column=Column(min_width=4)),
                rich.progress.TextColumn(
                    "{task.fields[detail]}",
                    markup=False,
                    table_column=Column(ratio=1),
                ),
                console=self.console,
                transient=True,
                expand=True,
            )
            self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bars is not None:
            self.bars.stop()

    def for_run(self, run: str) -> Progress:
        return _ParallelRunProgress(run, self)

    def plan(self, phases: Mapping[str, float]) -> None:
        super().plan(phases)
        if self.bars is not None:
            for task in list(self.bars.task_ids):
                self.bars.remove_task(task)
            for phase in phases:
                self.bars.add_task(phase, total=1.0, detail="")

    def move_bars(self, bars: rich.progress.Progress, phase: str, detail: str) -> None:
        """Move the bar of each phase."""
        for task in bars.tasks:
            share = self.estimate.shares[task.description]
            bars.update(task.id, completed=share, detail=detail if task.description == phase else "")


class _ParallelRunProgress(_BaseProgress):
    """The progress of one of several parallel runs: a single bar, and lines that begin with the run's name."""

    def __init__(self, run: str, whole: RichProgress):
        super().__init__(whole.console, whole.bars, whole.shorter)
        self.run = run
        self.task = None if self.bars is None else self.bars.add_task(run, total=1.0, detail="")

    def message(self, text: str) -> None:
        super().message(text if text.startswith(self.run) else f"{self.run}: {text}")

    def move_bars(self, bars: rich.progress.Progress, phase: str, detail: str) -> None:
        if self.task is not None:
            short = "  ".join([phase, *detail.split("  ")[:SHOWN_IN_PARALLEL]])  # one line per run
            bars.update(self.task, completed=self.estimate.share(), detail=short)

    def close(self) -> None:
        if self.bars is not None and self.task is not None:
            self.bars.remove_task(self.task)


def duration(seconds: float) -> str:
    """Return a duration as text: ``45 s``, ``12 min``, ``5 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _detail(epoch: str, values: Mapping[str, float], remaining: float | None) -> str:
    parts = [f"ETA {duration(remaining)}"] if remaining is not None else []
    parts += [f"epoch {epoch}"] if epoch else []
    parts += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in list(values.items())[:SHOWN_VALUES]]
    return "  ".join(parts)
