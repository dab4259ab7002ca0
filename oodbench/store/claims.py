"""Who works on a run: one process at a time, however many machines share the store.

On a local disk a process holds the lock file ``.lock``, which the system lets go of when the process ends. In object
storage, where there are no locks, it creates ``.claim-1`` exclusively. It writes that file again every tenth of its
lease (``OODBENCH_LEASE_SECONDS``, 300), and marks it as ended at last. Who finds that it has not been written for a
whole lease, by the store's own clock, creates ``.claim-2`` exclusively, and so on: the files are the run's history. A
process that was stopped for so long finds the higher number before its next change, and works on something else. At
worst a run is computed twice.

A lock file may lie on a file system that several machines share, as NFS. Some keep the lock of a machine that is dead,
others keep locks on each machine by itself. So the holder of a lock says in ``status.json`` who it is, every tenth of
its lease, and another machine believes that, too.
"""

from __future__ import annotations

import getpass
import math
import os
import platform
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import filelock

from oodbench.atomic import has_ended, machine
from oodbench.errors import OODBenchError, StoreError
from oodbench.store import records
from oodbench.store.files import Files
from oodbench.store.records import Work
from oodbench.text import shorten

LOCK, STATUS = ".lock", "status.json"
NUMBERED = re.compile(r"\.claim-(\d+)")
LEASE_SECONDS = 300.0
STATUS_SECONDS = 10.0
"""At most so often is it written how far a run is."""
LOCAL_POLL, REMOTE_POLL = 0.2, 5.0
"""Seconds between two looks at a run that another process works on."""
SETTLE_SECONDS = 1.0


class Busy(StoreError):
    """Another process works on a run.

    Args:
        key: of the run.
        work: who it is; None where that is not on record yet.
    """

    def __init__(self, key: str, work: Work | None = None):
        super().__init__(f"another process works on {described(key, work)}")
        self.key, self.work = key, work


class ClaimLost(Busy):
    """This process was stopped for longer than its claim lasts, and another works on the run now."""


def described(key: str, work: Work | None) -> str:
    """Return ``KEY (HOST, process 12)``; the key alone where it is not known who works on it."""
    return f"{key} ({work.where})" if work else key


def is_claim(name: str) -> bool:
    """Whether a file in a run's folder says who works, or has worked, on it."""
    return name in (LOCK, STATUS) or NUMBERED.fullmatch(name) is not None


def lease_seconds() -> float:
    """Return how long a claim lasts that is not renewed: ``OODBENCH_LEASE_SECONDS`` if it is set, else five minutes.

    Raises OODBenchError where the variable is no number from 1.
    """
    text = os.environ.get("OODBENCH_LEASE_SECONDS", "")
    if not text:
        return LEASE_SECONDS
    with suppress(ValueError):
        if math.isfinite(float(text)) and float(text) >= 1:
            return float(text)
    raise OODBenchError(f"OODBENCH_LEASE_SECONDS is {shorten(repr(text))}: give a number of seconds from 1")


def host() -> str:
    """Return what this machine is called in claims: ``OODBENCH_HOST`` if it is set, else its name in the network."""
    return os.environ.get("OODBENCH_HOST") or platform.node() or "unknown"


def this_process(run: str = "", title: str = "") -> Work:
    """Return the record of this process, as it begins to work on a run.

    Args:
        run: the run's key without its data's fingerprint.
        title: what people call the run.
    """
    try:
        owner = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        owner = ""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Work(host(), owner, os.getpid(), _this_machine(), secrets.token_hex(8), since, lease_seconds(), run, title)


def _this_machine() -> str:
    """What process numbers are valid for; of two names (see ``host``) none are the other's."""
    return sha256(f"{machine()} {host()}".encode()).hexdigest()[:12]


def is_alive(work: Work, age: float) -> bool:
    """Whether the process may still be at it, ``age`` seconds after it last said so."""
    if work.ended or (work.machine == _this_machine() and has_ended(work.pid)):
        return False
    return age <= work.lease


class Claims:
    """The claims on the runs of one store.

    Attributes:
        exclusive: whether the store creates files exclusively, as far as it is known.
    """

    def __init__(self, files: Files):
        self.files = files
        self.exclusive = True
        self._is_probed = files.local

    def probe(self, on_warning: Callable[[str], None]) -> None:
        """Find out, once, whether object storage creates files exclusively; a warning says where it does not."""
        if self._is_probed:
            return
        self.exclusive, self._is_probed = self.files.creates_exclusively(), True
        if not self.exclusive:
            on_warning(
                f"{shorten(self.files.address)} does not create files exclusively: two processes may begin the same "
                "run, which is then computed twice"
            )

    @contextmanager
    def hold(
        self, key: str, work: Work, wait: bool = True, on_wait: Callable[[str], None] | None = None
    ) -> Iterator[Claim]:
        """Work on a run while no other process does.

        Args:
            work: of this process (see ``this_process``).
            wait: for another process that works on it; if not, Busy is raised.
            on_wait: called once before, with a sentence.

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
            with suppress(StoreError):  # it then expires
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
        """Seconds between two looks at a run that another process works on."""
        return LOCAL_POLL if self.files.local else min(REMOTE_POLL, lease_seconds() / 10)

    def holder(self, key: str) -> Work | None:
        """Return who works on a run now; None where nobody does."""
        if not self.files.local:
            return self.latest(key)[1]
        work = self.status(key)
        return work if work and is_alive(work, self.age(f"{key}/{STATUS}", work)) else None

    def latest(self, key: str) -> tuple[int, Work | None]:
        """Return the highest number of a claim on a run, 0 for none, and who works on it by that claim, if anyone."""
        listed = {name: facts for name, facts in self.files.facts_in(key).items() if NUMBERED.fullmatch(name)}
        if not listed:
            return 0, None
        number = max(int(name.rpartition("-")[2]) for name in listed)
        name = f".claim-{number}"
        work = self._read(f"{key}/{name}")
        if work is None:  # nobody can say how long it lasts
            work = replace(this_process(), host="unknown", owner="", pid=0, machine="", token="")
        elif work.ended:
            return number, None
        age = self.files.now() - listed[name].modified
        return number, work if is_alive(work, age) else None

    def age(self, path: str, work: Work) -> float:
        """Return the seconds since a file was written, by the store's clock; 0 where that need not be known."""
        if work.machine == _this_machine() and self.files.local:
            return 0.0  # the process itself is looked for
        try:
            return self.files.now() - self.files.facts(path).modified
        except StoreError:  # it has gone, or this user may not write here
            return 0.0

    def status(self, key: str) -> Work | None:
        """Return how far the run is, as its process wrote last; None where there is nothing that can be read."""
        return self._read(f"{key}/{STATUS}")

    def _read(self, path: str) -> Work | None:
        try:
            return self.files.read(path, records.parse_work)
        except StoreError:
            return None


class Claim:
    """A run that this process works on, with the thread that says so to others.

    Args:
        work: of this process; how far it is changes with ``report``.
    """

    def __init__(self, claims: Claims, key: str, work: Work):
        self.claims, self.files, self.key, self.work = claims, claims.files, key, work
        self.is_forgotten = False
        self._is_lost = False
        self._has_news = False
        self._renewed = _now()
        self._reported = _now()
        self._writing = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"claim on {key}", daemon=True)

    def take(self) -> None:
        """Claim the run. Raises Busy where another process has it."""
        raise NotImplementedError

    def release(self, has_failed: bool) -> None:
        """Let others have the run; where the work has failed and left nothing else, its claims go, too."""
        raise NotImplementedError

    def _is_ours(self) -> bool:
        """Whether no other process has taken over the run."""
        raise NotImplementedError

    def _write_claim(self) -> None:
        """Say that this process is at it."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to renew the claim, until ``stop``."""
        self._thread.start()

    def stop(self) -> None:
        """Renew the claim no more."""
        self._stopping.set()
        self._thread.join()

    def report(self, phase: str, share: float, seconds_left: float | None) -> None:
        """Say how far the run is; it is written at most every ten seconds."""
        self.work = replace(self.work, phase=phase, share=share, seconds_left=seconds_left)
        self._has_news = True

    def forget(self) -> None:
        """Leave no history at the end, as of a run that is removed."""
        self.is_forgotten = True

    def check(self, at_once: bool = False) -> None:
        """Raise ClaimLost where another process has taken over the run.

        Args:
            at_once: look even if the claim was renewed a moment ago.
        """
        if at_once:
            self._is_lost = self._is_lost or not self._is_ours()
        if not self._is_lost and _since(self._renewed) > self.work.lease / 2:
            self._renew()
        if self._is_lost:
            raise ClaimLost(self.key)

    def _renew(self) -> None:
        with self._writing:
            if self._is_ours():
                self._write_claim()
                self._renewed = _now()
            else:
                self._is_lost = True

    def _beat(self) -> None:
        pause = min(STATUS_SECONDS, self.work.lease / 10)
        while not self._stopping.wait(pause) and not self._is_lost:
            with suppress(StoreError):  # the next time may do better; until then the claim grows older
                if _since(self._renewed) >= self.work.lease / 10:
                    self._renew()
                if self._has_news and not self._is_lost:
                    self._has_news = False
                    self.files.put(f"{self.key}/{STATUS}", records.work_json(self.work))


class LockClaim(Claim):
    """A claim by a lock file, on a local disk or one that looks like it."""

    def take(self) -> None:
        self.lock = filelock.FileLock(self.files.where(f"{self.key}/{LOCK}"), mode=0o666 & ~_umask())
        try:
            Path(self.lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            if not self._acquire() and not self._acquire_of_the_dead():
                raise Busy(self.key, self.claims.status(self.key))
        except OSError as error:
            raise self.files.unwritable(f"{self.key}/{LOCK}", error) from error
        other = self.claims.status(self.key)
        if other and other.machine != self.work.machine and self._is_alive(other):
            self.lock.release()  # the file system keeps locks on each machine by itself
            raise Busy(self.key, other)
        try:
            self._write_claim()
        except StoreError:
            self.release(has_failed=True)
            raise

    def _acquire(self) -> bool:
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        return True

    def _acquire_of_the_dead(self) -> bool:
        """Take a lock that the file system keeps for a machine which has not been heard of for its whole lease.

        Two that find so at the same moment may both get it, within milliseconds: at worst the run is computed twice.
        """
        other = self.claims.status(self.key)
        if other is None or other.machine == self.work.machine or self._is_alive(other):
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
        self.files.put(f"{self.key}/{STATUS}", records.work_json(self.work))

    def release(self, has_failed: bool) -> None:
        folder = Path(self.lock.lock_file).parent
        try:
            if not self._is_lost:
                self.files.remove_file(f"{self.key}/{STATUS}")
                with suppress(OSError):
                    if [entry.name for entry in os.scandir(folder)] == [LOCK]:
                        os.unlink(self.lock.lock_file)  # still held: who waits for it notices, and makes another
                        folder.rmdir()
        finally:
            self.lock.release()


class NumberedClaim(Claim):
    """A claim by a file with a number, in object storage."""

    number = 0

    def take(self) -> None:
        if not self._create(1):  # most runs were never claimed before, and need not be asked
            latest, other = self.claims.latest(self.key)
            if other or not self._create(latest + 1):
                raise Busy(self.key, other)
        self._renewed = _now()

    def _create(self, number: int) -> bool:
        path, data = f"{self.key}/.claim-{number}", records.work_json(self.work)
        self.number = number
        if self.files.create(path, data):
            if self.claims.exclusive:
                return True
            time.sleep(SETTLE_SECONDS)  # until whoever created it at the same moment has done so, too
        return self._has(path)

    def _has(self, path: str) -> bool:
        """Whether the file is of this process, whose request was made twice as its answer was lost."""
        work = self.claims._read(path)
        return work is not None and work.token == self.work.token

    def _is_all_there_is(self) -> bool:
        return all(is_claim(path.removeprefix(f"{self.key}/")) for path in self.files.listing(self.key))

    def _is_ours(self) -> bool:
        return max(self._numbers(), default=0) == self.number

    def _numbers(self) -> list[int]:
        return [int(found[1]) for name in self.files.facts_in(self.key) if (found := NUMBERED.fullmatch(name))]

    def _write_claim(self) -> None:
        self.files.put(f"{self.key}/.claim-{self.number}", records.work_json(self.work))

    def release(self, has_failed: bool) -> None:
        if self._is_lost:
            return
        self.files.remove_file(f"{self.key}/{STATUS}")
        if self.is_forgotten or (has_failed and self._is_all_there_is()):
            for number in sorted(self._numbers()):  # the own one last
                self.files.remove_file(f"{self.key}/.claim-{number}")
            return
        self.work = replace(self.work, ended=datetime.now(UTC).isoformat(timespec="seconds"))
        self._write_claim()


def _now() -> tuple[float, float]:
    """The time by two clocks: one of them may stand still while a machine is suspended, the other may be set."""
    return time.monotonic(), time.time()


def _since(then: tuple[float, float]) -> float:
    return max(now - before for now, before in zip(_now(), then, strict=True))


def _umask() -> int:
    """Return the umask, the permissions that new files must not have; to read it, it must be set."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
