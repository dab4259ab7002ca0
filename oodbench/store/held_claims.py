"""This process's claim on a run: how it is announced to others, renewed and ended."""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from oodbench.errors import StoreError
from oodbench.store.processes import Busy, ClaimLost, is_alive, is_of_this_machine
from oodbench.store.work import Work, work_json

if TYPE_CHECKING:
    from oodbench.store.claims import Claims

LOCK, STATUS = ".lock", "status.json"
NUMBERED = re.compile(r"\.claim-(\d+)")
STATUS_SECONDS = 10.0
"""Least time between two writes of a run's progress."""
SETTLE_SECONDS = 1.0
LOCK_ATTEMPTS = 10
"""Several, as other processes whose runs fail at once may remove the folder again and again."""


def is_claim(name: str) -> bool:
    """Whether a file in a run's folder records who works, or has worked, on the run."""
    return name in (LOCK, STATUS) or NUMBERED.fullmatch(name) is not None


class Claim:
    """A claim of this process on a run, with the thread that sends its heartbeat.

    Args:
        work: of this process; ``report`` updates its progress.
    """

    def __init__(self, claims: Claims, key: str, work: Work):
        self.claims, self.files, self.key, self.work = claims, claims.files, key, work
        self.is_forgotten = False
        self._is_lost = False
        self._has_news = False
        self._renewed = _now()
        self._writing = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"claim on {key}", daemon=True)

    def take(self) -> None:
        """Claim the run. Raises Busy where another process has it."""
        raise NotImplementedError

    def release(self, has_failed: bool) -> None:
        """Release the run for others; if the work failed and left nothing else, remove its claims, too."""
        raise NotImplementedError

    def _is_ours(self) -> bool:
        """Whether no other process has taken over the run."""
        raise NotImplementedError

    def _write_claim(self) -> None:
        """Write that this process works on the run."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to renew the claim regularly, until ``stop``."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing the claim."""
        self._stopping.set()
        self._thread.join()

    def report(self, phase: str, share: float, seconds_left: float | None) -> None:
        """Report the run's progress; it is written at most every ten seconds."""
        self.work = replace(self.work, phase=phase, share=share, seconds_left=seconds_left)
        self._has_news = True

    def forget(self) -> None:
        """Leave no history of claims at the end, for a run that is removed."""
        self.is_forgotten = True

    def check(self, at_once: bool = False) -> None:
        """Raise ClaimLost where another process has taken over the run.

        Args:
            at_once: check even if the claim was renewed a moment ago.
        """
        if at_once:
            self._is_lost = self._is_lost or not self._is_ours()
        if not self._is_lost and _since(self._renewed) > self.work.lease / 2:
            self._renew()
        if self._is_lost:
            raise ClaimLost(self.key)

    def _renew(self) -> None:
        with self._writing:
            asked = _now()  # not the time of the answer: the process may have been suspended in between
            if self._is_ours():
                self._write_claim()
                self._renewed = asked
            else:
                self._is_lost = True

    def _beat(self) -> None:
        pause = min(STATUS_SECONDS, self.work.lease / 10)
        while not self._stopping.wait(pause) and not self._is_lost:
            with suppress(StoreError):  # the next attempt may succeed; until then the claim ages
                if _since(self._renewed) >= self.work.lease / 10:
                    self._renew()
                if self._has_news and not self._is_lost:
                    self._has_news = False
                    self.files.put(f"{self.key}/{STATUS}", work_json(self.work))


class LockClaim(Claim):
    """A claim by a lock file, on a local disk or a shared one that looks local."""

    def take(self) -> None:
        self.lock = filelock.FileLock(self.files.place(f"{self.key}/{LOCK}"), mode=0o666 & ~_umask())
        try:
            if not self._acquire() and not self._acquire_of_the_dead():
                raise Busy(self.key, self.claims.status(self.key))
        except OSError as error:
            raise self.files.unwritable(f"{self.key}/{LOCK}", error) from error
        other = self.claims.status(self.key)
        if other and not is_of_this_machine(other) and self._is_alive(other):
            self.lock.release()  # the file system does not show one machine's locks to another
            raise Busy(self.key, other)
        try:
            self._write_claim()
        except StoreError:
            self.release(has_failed=True)
            raise

    def _acquire(self) -> bool:
        for _ in range(LOCK_ATTEMPTS - 1):
            with suppress(FileNotFoundError, FileExistsError):  # its folder was removed meanwhile
                return self._lock()
        return self._lock()

    def _lock(self) -> bool:
        Path(self.lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        return True

    def _acquire_of_the_dead(self) -> bool:
        """Take over a lock that the file system keeps for a machine without a heartbeat for a whole lease.

        Two processes that try this within milliseconds may both get it: at worst the run is computed twice.
        """
        other = self.claims.status(self.key)
        if other is None or is_of_this_machine(other) or self._is_alive(other):
            return False
        if self.claims.status(self.key) != other:
            return False
        os.unlink(self.lock.lock_file)
        return self._acquire()

    def _is_alive(self, other: Work) -> bool:
        return is_alive(other, self.claims.age(f"{self.key}/{STATUS}", other))

    def _is_ours(self) -> bool:
        other = self.claims.status(self.key)
        return other is None or other.token == self.work.token

    def _write_claim(self) -> None:
        self._has_news = False
        self.files.put(f"{self.key}/{STATUS}", work_json(self.work))

    def release(self, has_failed: bool) -> None:
        folder = Path(self.lock.lock_file).parent
        try:
            if not self._is_lost and self._is_ours():
                self.files.remove_file(f"{self.key}/{STATUS}")
                with suppress(OSError):
                    if [entry.name for entry in os.scandir(folder)] == [LOCK]:
                        os.unlink(self.lock.lock_file)  # still held: one that waits for it notices, and makes another
                        folder.rmdir()
        finally:
            self.lock.release()


class NumberedClaim(Claim):
    """A claim by a numbered file, in object storage."""

    number = 0

    def take(self) -> None:
        self._renewed = _now()  # before it is created, as in _renew
        if not self._create(1):  # most runs were never claimed before, and need no listing
            latest, other = self.claims.latest(self.key)
            if other or not self._create(latest + 1):
                raise Busy(self.key, other)

    def _create(self, number: int) -> bool:
        path, data = f"{self.key}/.claim-{number}", work_json(self.work)
        self.number = number
        if self.files.create(path, data):
            if self.claims.exclusive:
                return True
            time.sleep(SETTLE_SECONDS)  # until other processes that create it at the same moment have done so, too
        return self._has(path)

    def _has(self, path: str) -> bool:
        """Whether the file is this process's own, created by a request that was retried as its answer was lost."""
        work = self.claims.read(path)
        return work is not None and work.token == self.work.token

    def _is_all_there_is(self) -> bool:
        return all(is_claim(path.removeprefix(f"{self.key}/")) for path in self.files.listing(self.key))

    def _is_ours(self) -> bool:
        return max(self._numbers(), default=0) == self.number

    def _numbers(self) -> list[int]:
        return [int(found[1]) for name in self.files.facts_in(self.key) if (found := NUMBERED.fullmatch(name))]

    def _write_claim(self) -> None:
        self.files.put(f"{self.key}/.claim-{self.number}", work_json(self.work))

    def release(self, has_failed: bool) -> None:
        try:
            self.check()
        except ClaimLost:
            status = self.claims.status(self.key)
            if status and status.token == self.work.token:  # written late, as the process was suspended
                self.files.remove_file(f"{self.key}/{STATUS}")
            return
        self.files.remove_file(f"{self.key}/{STATUS}")
        if self.is_forgotten or (has_failed and self._is_all_there_is()):
            numbers = sorted(self._numbers())
            for number in numbers if numbers[-1:] == [self.number] else []:  # this process's own last
                self.files.remove_file(f"{self.key}/.claim-{number}")
            return
        self.work = replace(self.work, ended=datetime.now(UTC).isoformat(timespec="seconds"))
        self._write_claim()


def _now() -> tuple[float, float]:
    """Return the time by two clocks: one may stand still while a machine is suspended, the other may be set."""
    return time.monotonic(), time.time()


def _since(then: tuple[float, float]) -> float:
    return max(now - before for now, before in zip(_now(), then, strict=True))


def _umask() -> int:
    """Return the umask, the permissions that new files must not have; to read it, it must be set."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
