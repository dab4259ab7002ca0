"""One process at a time works on a run, on a local disk, on one that looks like it, and in object storage."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from oodbench.api import Run
from oodbench.errors import OODBenchError
from oodbench.store.processes import Busy, ClaimLost, lease_seconds, this_process
from oodbench.store.store import Store
from oodbench.store.work import Work, parse_work, work_json

KEY = "ae-mnist-s0-01234567"


@pytest.fixture(params=["memory", "s3"])
def address(request):
    return f"memory://{uuid.uuid4().hex}" if request.param == "memory" else request.getfixturevalue("s3")


@pytest.fixture
def short(monkeypatch):
    """A short lease; the times that object storage says are of whole seconds, and may be off by one."""
    monkeypatch.setenv("OODBENCH_LEASE_SECONDS", "2.5")


EXPIRED = 3.6
"""Seconds."""


def on(host: str, monkeypatch) -> None:
    monkeypatch.setenv("OODBENCH_HOST", host)


def files_of(store: Store) -> list[str]:
    return sorted(store.files.listing(KEY))


def read_claim(store: Store, number: int) -> Work:
    return store.files.read(f"{KEY}/.claim-{number}", parse_work)


# ---------------------------------------------------------------------------------- object storage


def test_a_claim_says_who_works_and_is_kept_as_history(address, monkeypatch):
    on("machine-a", monkeypatch)
    store, other = Store(address), Store(address)
    run = Run("ae", "1", "{}", "mnist")
    with store.claim(KEY, run=run, title="ae on mnist, seed 0"):
        store.files.write(f"{KEY}/run.json", b"{}")
        holder = other.claims.holder(KEY)
        assert (holder.host, holder.pid, holder.run) == ("machine-a", os.getpid(), run.key(""))
        with pytest.raises(Busy, match=rf"another process works on {KEY} \(machine-a, process \d+\)"):
            other.claim(KEY, wait=False).__enter__()
    assert other.claims.holder(KEY) is None
    with other.claim(KEY, on_wait=pytest.fail):
        pass
    works = [read_claim(store, number) for number in (1, 2)]
    assert all(work.ended >= work.since for work in works)
    assert works[0].title == "ae on mnist, seed 0" and works[0].token != works[1].token
    assert files_of(store) == [f"{KEY}/.claim-1", f"{KEY}/.claim-2", f"{KEY}/run.json"]


def test_a_claim_that_left_nothing_leaves_no_file(address):
    store = Store(address)
    with pytest.raises(ZeroDivisionError), store.claim(KEY):
        1 / 0  # noqa: B018
    assert files_of(store) == []


def test_a_claim_is_renewed_for_longer_than_its_lease(address, short):
    store, other = Store(address), Store(address)
    with store.claim(KEY):
        time.sleep(EXPIRED)
        assert other.claims.holder(KEY) is not None
        store.files.write(f"{KEY}/run.json", b"{}")
    assert read_claim(store, 1).ended and not store.files.exists(f"{KEY}/.claim-2")


def test_who_was_stopped_for_longer_than_its_lease_can_change_nothing_any_more(address, short, monkeypatch):
    store, other = Store(address), Store(address)
    on("stopped", monkeypatch)
    with store.claim(KEY) as claim:
        store.files.write(f"{KEY}/checkpoint.pt", b"first")
        claim.stop()  # as is the thread of a process that is stopped
        time.sleep(EXPIRED)
        on("quick", monkeypatch)
        with other.claim(KEY, wait=False):
            other.files.write(f"{KEY}/checkpoint.pt", b"second")
            with pytest.raises(ClaimLost):
                store.files.write(f"{KEY}/checkpoint.pt", b"late")
            with pytest.raises(ClaimLost):
                store.clear(KEY)
    assert store.files.read(f"{KEY}/checkpoint.pt", bytes) == b"second"
    assert not read_claim(store, 1).ended and read_claim(store, 1).host == "stopped"
    assert read_claim(store, 2).ended and read_claim(store, 2).host == "quick"


@pytest.mark.parametrize("late", ["status.json", "checkpoint.pt"])
def test_what_was_written_late_does_not_stay_in_a_run_that_is_finished(late, address, short, monkeypatch):
    """Its process was stopped when it had looked whether the run is its own, and had not written yet."""
    store, other = Store(address), Store(address)
    put, is_late, is_done = store.files.put, threading.Event(), threading.Event()

    def put_late(path, data):
        if path == f"{KEY}/{late}" and not is_late.is_set():
            is_late.set()
            time.sleep(EXPIRED)
            with other.claim(KEY, wait=False):
                other.files.write(f"{KEY}/run.json", b"{}")
            is_done.set()
        put(path, data)

    monkeypatch.setattr(store.files, "put", put_late)

    def work():
        with store.claim(KEY) as claim:
            if late == "checkpoint.pt":
                claim.stop()  # as is the thread of a process that is stopped
            claim.report("training", 0.5, None)
            if late == "status.json":
                assert is_late.wait(60)
            store.files.write(f"{KEY}/checkpoint.pt", b"late")
            assert is_done.wait(60)
            store.files.guard(KEY, at_once=True)

    with pytest.raises(ClaimLost):
        work()
    assert files_of(store) == [f"{KEY}/.claim-1", f"{KEY}/.claim-2", f"{KEY}/run.json"]


def test_who_was_stopped_for_longer_while_it_claimed_a_run_has_nothing(address, short, monkeypatch):
    """And does not say later that it ended its work."""
    store, other = Store(address), Store(address)
    create = store.files.create

    def create_late(path, data):
        created = create(path, data)
        if path == f"{KEY}/.claim-1":  # it is there, and its process does not know yet
            time.sleep(EXPIRED)
            with other.claim(KEY, wait=False):
                other.files.write(f"{KEY}/run.json", b"{}")
        return created

    monkeypatch.setattr(store.files, "create", create_late)
    with store.claim(KEY):
        pass  # there is nothing left to do
    assert not read_claim(store, 1).ended and read_claim(store, 2).ended


def test_a_fit_is_kept_only_while_nobody_else_has_the_run(address):
    """Even where the claim was renewed a moment ago: of weights and record both are one process's."""
    store = Store(address)
    run = Run("ae", "1", "{}", "mnist")
    with store.claim(KEY) as claim:
        store.files.put(f"{KEY}/.claim-2", work_json(claim.work))
        with pytest.raises(ClaimLost):
            store.write_fit(KEY, run, None, {}, [])
    assert not store.is_fitted(KEY)


def test_the_claim_of_a_process_of_this_machine_that_has_died_is_no_claim(address):
    """It does not have to expire."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    store = Store(address)
    work = parse_work(work_json(this_process()))
    record = json.loads(work_json(work)) | {"pid": dead.pid}
    store.files.write(f"{KEY}/.claim-1", json.dumps(record).encode())
    with store.claim(KEY, pytest.fail) as claim:
        assert claim.number == 2


@pytest.mark.parametrize("content", [b"{", b'{"host": 3}'])
def test_a_claim_that_cannot_be_read_counts_until_it_expires(address, short, content):
    store = Store(address)
    store.files.write(f"{KEY}/.claim-1", content)
    with pytest.raises(Busy):
        store.claim(KEY, wait=False).__enter__()
    time.sleep(EXPIRED)
    with store.claim(KEY, wait=False) as claim:
        assert claim.number == 2


def test_of_many_that_claim_at_once_one_gets_the_run(address):
    from concurrent.futures import ThreadPoolExecutor

    def take(_):
        store = Store(address)
        try:
            with store.claim(KEY, wait=False):
                store.files.write(f"{KEY}/run.json", b"{}")
                time.sleep(1.5)
                return 1
        except Busy:
            return 0

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(6))) == 1


def test_how_far_a_run_is_can_be_read_elsewhere_while_it_is_worked_on(address, short):
    store, other = Store(address), Store(address)
    with store.claim(KEY, title="ae on mnist") as claim:
        claim.report("pretraining", 0.25, 30.0)
        end = time.monotonic() + 30
        while other.claims.status(KEY) is None and time.monotonic() < end:
            time.sleep(0.05)
        status = other.claims.status(KEY)
        assert (status.phase, status.share, status.seconds_left) == ("pretraining", 0.25, 30.0)
        store.files.write(f"{KEY}/run.json", b"{}")
    assert other.claims.status(KEY) is None


class Overwriting:
    """Files of a store that ignores ``mode``, as obstore does."""

    def __init__(self, fs):
        self.fs = fs

    def __getattr__(self, name):
        return getattr(self.fs, name)

    def pipe_file(self, path, data, mode="overwrite"):
        self.fs.pipe_file(path, data)


def test_a_store_that_does_not_create_exclusively_is_named_once(address):
    store, said = Store(address), []
    store.check_writable(said.append)
    assert said == [] and store.claims.exclusive
    store = Store(address)
    store.files.fs = Overwriting(store.files.fs)
    store.check_writable(said.append)
    store.check_writable(said.append)
    (line,) = said
    assert line.startswith(f"{address} does not create files exclusively: two processes may begin the same run")
    with store.claim(KEY, pytest.fail):
        assert store.claims.holder(KEY) is not None
    assert not [path for path in store.files.listing() if ".probe" in path]


# ------------------------------------------------------------------------------------ a local disk


@pytest.fixture
def local(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def lock_of_another_machine(store: Store, monkeypatch, silent: float, lease: float = 300.0) -> int:
    """The lock of a process on another machine, as a file server keeps it: its descriptor here."""
    on("far", monkeypatch)
    work = this_process()
    on("near", monkeypatch)
    store.files.put(f"{KEY}/status.json", json.dumps(json.loads(work_json(work)) | {"lease": lease}).encode())
    status, lock = Path(store.where(f"{KEY}/status.json")), Path(store.where(f"{KEY}/.lock"))
    os.utime(status, (time.time() - silent,) * 2)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_the_lock_of_a_machine_that_is_dead_is_noticed_and_taken(local, monkeypatch):
    descriptor = lock_of_another_machine(local, monkeypatch, silent=301)
    assert local.claims.holder(KEY) is None
    with local.claim(KEY, wait=False):
        assert local.claims.status(KEY).host == "near"
        with pytest.raises(Busy, match="near, process"):
            Store(local.address).claim(KEY, wait=False).__enter__()
    os.close(descriptor)
    assert not Path(local.where(KEY)).exists()


def test_the_lock_of_a_machine_that_was_heard_of_lately_counts(local, monkeypatch):
    descriptor = lock_of_another_machine(local, monkeypatch, silent=290)
    with pytest.raises(Busy, match=rf"{KEY} \(far, process \d+\)"):
        local.claim(KEY, wait=False).__enter__()
    os.close(descriptor)  # now the file system knows of no lock, as one that keeps them on each machine by itself
    with pytest.raises(Busy, match=rf"{KEY} \(far, process \d+\)"):
        local.claim(KEY, wait=False).__enter__()


def test_a_stopped_process_of_this_machine_keeps_its_lock_for_any_time(local, monkeypatch):
    """Its lock is proof that it is there."""
    descriptor = lock_of_another_machine(local, monkeypatch, silent=10_000)
    status = json.loads(Path(local.where(f"{KEY}/status.json")).read_text())
    here = json.loads(work_json(this_process()))
    Path(local.where(f"{KEY}/status.json")).write_text(json.dumps(status | {"machine": here["machine"]}))
    os.utime(local.where(f"{KEY}/status.json"), (0, 0))
    with pytest.raises(Busy):
        local.claim(KEY, wait=False).__enter__()
    os.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says so")
def test_nobody_waits_for_a_killed_process_that_its_parent_has_not_asked_for(local):
    holding = "import sys; from oodbench.store.store import Store\n"
    holding += "with Store(sys.argv[1]).claim(sys.argv[2]): print(flush=True), input()"
    command = [sys.executable, "-c", holding, local.address, KEY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert local.claims.holder(KEY).pid == process.pid
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert local.claims.holder(KEY) is None


def test_who_lost_its_lock_to_another_machine_can_change_nothing_any_more(local, short, monkeypatch):
    other = Store(local.address)
    on("far", monkeypatch)
    with local.claim(KEY) as claim:
        claim.stop()
        time.sleep(EXPIRED)
        on("near", monkeypatch)
        with other.claim(KEY, wait=False), pytest.raises(ClaimLost):
            local.files.write(f"{KEY}/run.json", b"late")
    assert not local.is_fitted(KEY)


def test_who_gets_a_lock_whose_file_was_removed_meanwhile_has_nothing(local, monkeypatch):
    """As of a run that failed: the next two would both have a lock, on two files. Before 3.20.4 filelock let them."""
    first = local.claim(KEY)
    first.__enter__()
    flock, left = fcntl.flock, [first]

    def flock_late(descriptor, operation):
        if operation & fcntl.LOCK_EX and left:  # it has opened the file, and is late to lock it
            left.pop().__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        return flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    with pytest.raises(Busy):
        Store(local.address).claim(KEY, wait=False).__enter__()
    assert left == [] and not Path(local.where(KEY)).exists()


@pytest.mark.parametrize("step", ["mkdir", "open"])
def test_who_claims_a_run_as_its_folder_is_removed_makes_another(local, monkeypatch, step):
    """As of a run that failed: the store can be written to all the same."""
    first = local.claim(KEY)
    first.__enter__()
    real, left = getattr(os, step), [first]

    def late(path, *arguments, **options):
        if left and KEY in str(path):
            left.pop().__exit__(ZeroDivisionError, ZeroDivisionError(), None)
            if step == "mkdir":
                raise FileExistsError(path)  # as it was there a moment ago
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, step, late)
    with Store(local.address).claim(KEY, wait=False):
        assert left == [] and Path(local.where(f"{KEY}/.lock")).exists()


def test_a_lease_that_is_none_is_refused(monkeypatch):
    for text in ("0", "-3", "nan", "inf", "five"):
        monkeypatch.setenv("OODBENCH_LEASE_SECONDS", text)
        with pytest.raises(OODBenchError, match=f"OODBENCH_LEASE_SECONDS is '{text}': give a number of seconds from 1"):
            lease_seconds()
    monkeypatch.setenv("OODBENCH_LEASE_SECONDS", "7.5")
    assert lease_seconds() == 7.5
