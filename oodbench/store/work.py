"""The record of who works on a run, in ``status.json`` and in claims."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import pydantic

from oodbench.store.records import Count, Finite, Name, Record, Text, from_json, to_json, validated


class _Work(Record):
    host: Name
    owner: Text
    pid: Count
    machine: Text
    token: Name
    since: Text
    lease: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
    run: Text = ""
    title: Text = ""
    phase: Text = ""
    share: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    seconds_left: Finite | None = None
    ended: Text = ""


@dataclass(frozen=True)
class Work:
    """Who works on a run, since when, and its progress.

    Args:
        host: name of the machine.
        owner: name of the user.
        pid: number of the process.
        machine: id of where that number is valid (see ``atomic.machine``).
        token: distinguishes the claims of one process.
        since: when the work began, ISO 8601 in UTC, by the machine's clock.
        lease: seconds after which it counts as given up if it is not renewed.
        run: the run's key without its data's fingerprint, as failures have it.
        title: the run's name in messages.
        phase: what is being done.
        share: done share of the fit, or of the images to score, from 0 to 1.
        seconds_left: for the same; None while unknown.
        ended: when the work ended; empty until then.
    """

    host: str
    owner: str
    pid: int
    machine: str
    token: str
    since: str
    lease: float
    run: str = ""
    title: str = ""
    phase: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    ended: str = ""

    @property
    def where(self) -> str:
        """The host and the process: ``HOST, process 12``."""
        return f"{self.host}, process {self.pid}"


def parse_work(data: bytes) -> Work:
    """Return who works on a run. Raises ValueError as ``records.parse_run`` does."""
    return Work(**validated(_Work, from_json(data)).model_dump())


def work_json(work: Work) -> bytes:
    """Return the content of a ``status.json`` or of a claim."""
    return to_json(asdict(work))
