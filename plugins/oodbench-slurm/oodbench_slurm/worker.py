"""The part that runs in a job: one task, which resumes from its last checkpoint when its job is requeued."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oodbench import Open, ProgressSender, reason

ADVANCE_SECONDS = 1.0


@dataclass(frozen=True)
class Work:
    """One task, as a callable for submitit.

    Args:
        progress: file to which its progress is appended, one event per line.
    """

    open_: Open
    title: str
    arguments: tuple[Any, ...]
    progress: Path

    def __call__(self) -> tuple[str, Any]:
        """Run the task. Returns ``("done", value)``, or ``("raised" or "died", the exception as one line)``."""
        from submitit.core.utils import UncompletedJobError

        sender = ProgressSender(self._append, ADVANCE_SECONDS)
        self._append(("began", platform.node()))
        try:
            return "done", self.open_(sender, 0)(self.title, *self.arguments)
        except UncompletedJobError as error:  # raised inside the task when its time is up with no requeue left
            return "died", reason(error)
        except Exception as error:
            return "raised", reason(error)

    def checkpoint(self) -> Any:
        """Return what submitit must requeue when the time is up: this task, as its checkpoint is in the store."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _append(self, event: tuple[Any, ...]) -> None:
        with self.progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
