"""What runs in the cluster: the task, in a worker of Ray, and the actor through which its progress travels."""

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
    """An actor that keeps what tasks say of their progress until the driver asks for it."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, tuple[Any, ...]]] = []

    def put(self, title: str, event: tuple[Any, ...]) -> None:
        self.letters.append((title, event))

    def take(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Return what has come since the last call: title and event."""
        taken, self.letters = self.letters, []
        return taken


@dataclass(frozen=True)
class Call:
    """What all tasks of one call of ``work`` have in common.

    Args:
        key: no other call has the same.
        mailbox: handle of the Mailbox.
        open_: pickled, as its module may only be found with the path below.
        path: folders in which the process that planned looks for modules; empty where workers do not see them.
        environment: variables to be set.
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
    """Do one task. Returns ``("done", value)`` or ``("raised", the exception as one line)``."""
    import ray

    with suppress(ray.exceptions.RayError):  # no progress, such as while the mailbox is begun again, fails no task
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
            ray.get(opened.last)  # what it said has arrived before its outcome does
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
