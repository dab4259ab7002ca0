"""Claims, which let one process at a time work on a run, however many machines share the store.

On a local disk a process holds the lock file ``.lock``, which the system releases when the process ends. In object
storage, where there are no locks, it creates ``.claim-1`` exclusively. As its heartbeat it rewrites that file every
tenth of its lease (``OODBENCH_LEASE_SECONDS``, 300), and at the end it marks the file as ended. Another process that
finds no heartbeat for a whole lease, by the store's own clock, creates ``.claim-2`` exclusively, and so on: the files
are the run's history. A process that was suspended for so long finds the higher number before its next change, and
works on something else. At worst a run is computed twice.

A lock file may lie on a file system that several machines share, such as NFS. Some keep the lock of a dead machine,
others do not show one machine's locks to another. So the holder of a lock also writes who it is to ``status.json``,
every tenth of its lease, and other machines respect that, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from oodbench.errors import StoreError
from oodbench.store.files import Files
from oodbench.store.held_claims import NUMBERED, STATUS, Claim, LockClaim, NumberedClaim
from oodbench.store.probes import StoreClock, creates_exclusively
from oodbench.store.processes import Busy, described, is_alive, is_of_this_machine, lease_seconds, this_process
from oodbench.store.work import Work, parse_work
from oodbench.text import shorten

LOCAL_POLL, REMOTE_POLL = 0.2, 5.0
"""Seconds between two checks of a run that another process works on."""


class Claims:
    """The claims on the runs of one store.

    Attributes:
        exclusive: whether the store creates files exclusively, as far as it is known.
    """

    def __init__(self, files: Files):
        self.files = files
        self.clock = StoreClock(files)
        self.exclusive = True
        self._is_probed = files.local

    def probe(self, on_warning: Callable[[str], None]) -> None:
        """Find out, once, whether object storage creates files exclusively; call ``on_warning`` if it does not."""
        if self._is_probed:
            return
        self.exclusive, self._is_probed = creates_exclusively(self.files), True
        if not self.exclusive:
            on_warning(
                f"{shorten(self.files.address)} does not create files exclusively: two processes may begin the same "
                "run, which is then computed twice"
            )

    @contextmanager
    def hold(
        self, key: str, work: Work, wait: bool = True, on_wait: Callable[[str], None] | None = None
    ) -> Iterator[Claim]:
        """Claim a run, so that no other process works on it meanwhile.

        Args:
            work: of this process (see ``this_process``).
            wait: wait for another process that works on it; if False, Busy is raised.
            on_wait: called once before waiting, with a sentence.

        Inside, changes of the run's files raise ClaimLost where another process has taken over the run.
        """
        claim = self._taken(key, work, wait, on_wait)
        self.files.guards[key] = claim.check
        claim.start()
        has_failed = True
        try:
            yield claim
            has_failed = False
        finally:
            claim.stop()
            del self.files.guards[key]
            with suppress(StoreError):  # the claim then expires
                claim.release(has_failed)

    def _taken(self, key: str, work: Work, wait: bool, on_wait: Callable[[str], None] | None) -> Claim:
        claim: Claim = LockClaim(self, key, work) if self.files.local else NumberedClaim(self, key, work)
        has_said = False
        while True:
            try:
                claim.take()
                return claim
            except Busy as busy:
                if not wait:
                    raise
                if on_wait and not has_said:
                    on_wait(f"waiting for another process that works on {described(key, busy.work)}")
                has_said = True
                time.sleep(self.poll_seconds)

    @property
    def poll_seconds(self) -> float:
        """Seconds between two checks of a run that another process works on."""
        return LOCAL_POLL if self.files.local else min(REMOTE_POLL, lease_seconds() / 10)

    def holder(self, key: str) -> Work | None:
        """Return who works on a run now; None if nobody does."""
        if not self.files.local:
            return self.latest(key)[1]
        work = self.status(key)
        return work if work and is_alive(work, self.age(f"{key}/{STATUS}", work)) else None

    def latest(self, key: str) -> tuple[int, Work | None]:
        """Return the highest number of a run's claims, 0 for none, and who works on it under that claim, if anyone."""
        listed = {name: facts for name, facts in self.files.facts_in(key).items() if NUMBERED.fullmatch(name)}
        if not listed:
            return 0, None
        number = max(int(name.rpartition("-")[2]) for name in listed)
        name = f".claim-{number}"
        work = self.read(f"{key}/{name}")
        if work is None:  # its lease is unknown: assume this process's
            work = replace(this_process(), host="unknown", owner="", pid=0, machine="", token="")
        elif work.ended:
            return number, None
        age = self.clock.now() - listed[name].modified
        return number, work if is_alive(work, age) else None

    def age(self, path: str, work: Work) -> float:
        """Return the seconds since a file was written, by the store's clock; 0 where that is not needed or unknown."""
        if is_of_this_machine(work) and self.files.local:
            return 0.0  # ``is_alive`` checks the process itself
        try:
            return self.clock.now() - self.files.facts(path).modified
        except StoreError:  # the file is gone, or this user may not write here
            return 0.0

    def status(self, key: str) -> Work | None:
        """Return the last status that the run's process wrote; None where it is missing or cannot be read."""
        return self.read(f"{key}/{STATUS}")

    def read(self, path: str) -> Work | None:
        """Return who works on a run, from a claim or a ``status.json``; None where it is missing or cannot be read."""
        try:
            return self.files.read(path, parse_work)
        except StoreError:
            return None
