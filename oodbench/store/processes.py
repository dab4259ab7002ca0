"""Identity of a process that works on a run, and how long its claim counts."""

from __future__ import annotations

import getpass
import math
import os
import platform
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256

from oodbench.atomic import has_ended, machine
from oodbench.errors import OODBenchError, StoreError
from oodbench.store.work import Work
from oodbench.text import shorten

LEASE_SECONDS = 300.0


class Busy(StoreError):
    """Another process works on a run.

    Args:
        key: of the run.
        work: who works on it; None where that is not recorded yet.
    """

    def __init__(self, key: str, work: Work | None = None):
        super().__init__(f"another process works on {described(key, work)}")
        self.key, self.work = key, work


class ClaimLost(Busy):
    """This process was suspended for longer than its claim lasts, and another works on the run now."""


def described(key: str, work: Work | None) -> str:
    """Return ``KEY (HOST, process 12)``; the key alone where it is not known who works on it."""
    return f"{key} ({work.where})" if work else key


def lease_seconds() -> float:
    """Return how long a claim lasts without renewal: ``OODBENCH_LEASE_SECONDS`` if it is set, else five minutes.

    Raises OODBenchError where the variable is not a number of at least 1.
    """
    text = os.environ.get("OODBENCH_LEASE_SECONDS", "")
    if not text:
        return LEASE_SECONDS
    with suppress(ValueError):
        if math.isfinite(float(text)) and float(text) >= 1:
            return float(text)
    raise OODBenchError(f"OODBENCH_LEASE_SECONDS is {shorten(repr(text))}: give a number of seconds from 1")


def host() -> str:
    """Return this machine's name in claims: ``OODBENCH_HOST`` if it is set, else its name in the network."""
    return os.environ.get("OODBENCH_HOST") or platform.node() or "unknown"


def this_process(run: str = "", title: str = "") -> Work:
    """Return the record of this process, as it begins to work on a run.

    Args:
        run: the run's key without its data's fingerprint.
        title: the run's name in messages.
    """
    try:
        owner = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        owner = ""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Work(host(), owner, os.getpid(), _this_machine(), secrets.token_hex(8), since, lease_seconds(), run, title)


def is_of_this_machine(work: Work) -> bool:
    """Whether the process is one of this machine, where its number can be checked."""
    return work.machine == _this_machine()


def _this_machine() -> str:
    """Return an id of where process numbers are valid; each name of a machine (see ``host``) has its own."""
    return sha256(f"{machine()} {host()}".encode()).hexdigest()[:12]


def is_alive(work: Work, age: float) -> bool:
    """Whether the process may still work on the run, ``age`` seconds after its last heartbeat."""
    if work.ended or (is_of_this_machine(work) and has_ended(work.pid)):
        return False
    return age <= work.lease
