"""Executors, which run tasks in other processes of this machine or on other machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from oodbench.api.context import Progress
from oodbench.api.parameters import Params
from oodbench.folders import cache_folder

Perform = Callable[..., Any]
"""Does one task: called with its title and arguments."""
Open = Callable[[Progress, int], Perform]
"""Called in each worker, with a progress and the number of the slot, from 0; must be picklable."""


@dataclass(frozen=True)
class Job:
    """A task as an executor sees it.

    Args:
        arguments: passed, after the title, to the function that ``open_`` returned; must be picklable.
        after: title of the task that must have ended, successfully or not, before this one is started.
    """

    arguments: tuple[Any, ...] = ()
    after: str | None = None

    def may_start(self, ended: Collection[str]) -> bool:
        return self.after is None or self.after in ended


class Executor:
    """A way to run tasks outside the process that planned them.

    A subclass declares ``name``, ``summary`` and ``Params`` (with ``param``, as a detector does) and defines ``work``.
    ``oodbench.testing`` has the contract that it must keep.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Any):
        self.params = params

    @property
    def shares_files(self) -> bool:
        """Whether workers find the files of this machine under the same paths."""
        return True

    @property
    def folder(self) -> Path:
        """The executor's own folder in the user's cache folder, for what it must write; it may not exist yet."""
        return cache_folder() / "executors" / self.name

    def work(
        self, tasks: Mapping[str, Job], open_: Open, slots: int | None, progress: Progress
    ) -> Generator[tuple[str, Any], None, None]:
        """Run the tasks, each in a process that may be on another machine.

        Args:
            tasks: by title.
            open_: called once in each worker process, before its first task.
            slots: number of tasks at once; None for as many as there is room for.
            progress: its ``for_run(title)`` receives the progress of each task, and is closed when the task ends.

        Yields the title of each task as it ends, in any order, with the return value, or with WorkerDied if the process
        or the machine that worked on it was lost. Raises OODBenchError, with the exception as one line, if ``open_`` or
        a task raises. Closing the generator early ends everything that it started.
        """
        raise NotImplementedError


class ProgressSender(Progress):
    """A progress that sends each call as an event, a tuple of JSON values; ``deliver`` turns it back into the call.

    Args:
        send: called with each event.
        seconds: least time between two ``advance`` events; the last one of a phase is always sent.
    """

    def __init__(self, send: Callable[[tuple[Any, ...]], None], seconds: float = 0.0):
        self.send, self.seconds, self.sent_at = send, seconds, float("-inf")

    def plan(self, phases: Mapping[str, float]) -> None:
        self.send(("plan", dict(phases)))

    def advance(self, phase: str, share: float, epoch: str, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        if share >= 1 or now - self.sent_at >= self.seconds:
            self.sent_at = now
            self.send(("advance", phase, share, epoch, dict(values)))

    def message(self, text: str) -> None:
        self.send(("message", text))


def deliver(event: tuple[Any, ...] | list[Any], progress: Progress) -> None:
    """Make the call that a ProgressSender sent as an event."""
    kind, *values = event
    calls: dict[str, Callable[..., None]] = {
        "plan": progress.plan,
        "advance": progress.advance,
        "message": progress.message,
    }
    calls[kind](*values)
