"""Probes of what claims in object storage rely on: exclusive creation of files, and one clock."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from oodbench.store.files import PROBE, Files

CREATORS = 4
"""Number of threads that create one file at once, to see whether only one succeeds."""
CLOCK_SECONDS = 600.0
"""Seconds after which the store's time is read again."""


def creates_exclusively(files: Files) -> bool:
    """Whether exactly one of several threads that create a file at once succeeds; the file is then removed.

    False where creation is implemented as a check and then a write, or where ``mode`` is ignored.
    """
    path = _probe()
    with ThreadPoolExecutor(CREATORS) as pool:
        created = [*pool.map(lambda number: files.create(path, b"%d" % number), range(CREATORS))]
    created.append(files.create(path, b"later"))
    files.remove_file(path)
    return created.count(True) == 1


class StoreClock:
    """The clock of a store, which sets the times of the files that are written there."""

    def __init__(self, files: Files):
        self.files = files
        self._read: tuple[float, float] | None = None

    def now(self) -> float:
        """Return the time in seconds since 1970; 0 where a store has no times.

        The store's time is read every ten minutes; in between this process's clock is added. Raises StoreError where
        this user may not write there.
        """
        if self._read is None or time.monotonic() - self._read[1] > CLOCK_SECONDS:
            path = _probe()
            self.files.put(path, b"")
            self._read = self.files.facts(path).modified, time.monotonic()
            self.files.remove_file(path)
        modified, read = self._read
        return modified and modified + time.monotonic() - read


def _probe() -> str:
    return f"{PROBE}-{secrets.token_hex(8)}"
