"""What claims in object storage rely on: that files are created exclusively, and one clock."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from oodbench.store.files import PROBE, Files

CREATORS = 4
"""That create one file at once, to see that only one can."""
CLOCK_SECONDS = 600.0
"""After which a store is asked for its time again."""


def creates_exclusively(files: Files) -> bool:
    """Whether of several that create a file at once exactly one succeeds; tried with a file that is then removed.

    Not so where creation is implemented as a question and a write, or where ``mode`` is ignored.
    """
    path = _probe()
    with ThreadPoolExecutor(CREATORS) as pool:
        created = [*pool.map(lambda number: files.create(path, b"%d" % number), range(CREATORS))]
    created.append(files.create(path, b"later"))
    files.remove_file(path)
    return created.count(True) == 1


class StoreClock:
    """The clock of a store, which is that of the files that are written there."""

    def __init__(self, files: Files):
        self.files = files
        self._read: tuple[float, float] | None = None

    def now(self) -> float:
        """Return the time in seconds since 1970; 0 where a store says no times.

        It is asked every ten minutes; in between this process's clock counts on. Raises StoreError where this user may
        not write there.
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
