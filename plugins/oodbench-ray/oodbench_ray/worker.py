"""The parts that run in the cluster: the task, in a Ray worker, and the actor that passes on its progress."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from oodbench import Perform, ProgressSender, reason

ADVANCE_SECONDS = 0.2


class Mailbox:
    """An actor that keeps the progress events of tasks until the driver fetches them."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, tuple[Any, ...]]] = []

    def put(self, title: str, event: tuple[Any, ...]) -> None:
        self.letters.append((title, event))

    def take(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Return the events received since the last call: title and event."""
        taken, self.letters = self.letters, []
        return taken


@dataclass(frozen=True)
class Call:
    """The data that all tasks of one call of ``work`` share.

    Args:
        key: unique for each call.
        mailbox: handle of the Mailbox.
        open_: pickled, as its module may be importable only with ``path``.
        path: folders in which the planning process looks for modules; empty if workers cannot see them.
        environment: environment variables to set.
    """

    key: str
    mailbox: Any
    open_: bytes
    path: Sequence[str]
    environment: Mapping[str, str]


@dataclass
class _Opened:
    perform: Perform
    title: list[str] = field(default_factory=lambda: [""])
    last: list[Any] = field(default_factory=list)


_opened: dict[str, _Opened] = {}
"""This process, for the call that it works for: Ray keeps a process for the next task."""


def work_on(call: Call, title: str, arguments: bytes) -> tuple[str, Any]:
    """Run one task. Returns ``("done", value)`` or ``("raised", the exception as one line)``."""
    import ray

    with suppress(ray.exceptions.RayError):  # lost progress, such as while the mailbox restarts, fails no task
        ray.get(call.mailbox.put.remote(title, ("began",)))
    opened = None
    try:
        opened = _opened.get(call.key) or _open(call, title)
        opened.title[0] = title
        outcome = ("done", opened.perform(title, *pickle.loads(arguments)))
    except Exception as error:
        outcome = ("raised", reason(error))
    if opened is not None and opened.last:
        with suppress(ray.exceptions.RayError):
            ray.get(opened.last)  # so that its progress arrives before its outcome
    return outcome


def _open(call: Call, title: str) -> _Opened:
    import ray

    os.environ.update(call.environment)
    sys.path += [folder for folder in call.path if folder not in sys.path]
    titles: list[str] = [title]
    last: list[Any] = []

    def send(event: tuple[Any, ...]) -> None:
        with suppress(ray.exceptions.RayError):
            last[:] = [call.mailbox.put.remote(titles[0], event)]

    perform = pickle.loads(call.open_)(ProgressSender(send, ADVANCE_SECONDS), 0)
    _opened.clear()
    _opened[call.key] = _Opened(perform, titles, last)
    return _opened[call.key]
