"""Processes of several machines share the runs of one store, whatever becomes of some of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from oodbench.api import Progress
from oodbench.plan.requests import RunRequest
from oodbench.runs.pipeline import ExecutionOptions, run
from oodbench.store.store import Store
from oodbench.store.work import Work, parse_work

PLUGIN = """
import os, time
from pathlib import Path
from oodbench_toys import MeanDistance
from oodbench import hookimpl, param, Params

class SlowParams(Params):
    power: float = param(2.0, "power of the distance", gt=0)

class Slow(MeanDistance):
    name = "slow"
    Params = SlowParams

    def fit(self, train, validation, context):
        host = os.environ.get("OODBENCH_HOST", "here")
        Path(os.environ["OODBENCH_DATA"], f"{host}.{context.seed}").touch()
        context.progress.plan({"averaging": 1.0})
        steps = int(os.environ.get("SLOW_STEPS", "1"))
        done = context.checkpoints.load() or {"step": 0}
        for step in range(done["step"], steps):
            time.sleep(0.1)
            context.progress.advance("averaging", (step + 1) / steps, "", {})
            context.checkpoints.save({"step": step + 1})
        self.mean = next(train.batches(len(train), context.device)).mean(0) + context.seed
        context.history.append({"phase": "averaging", "epoch": 1})
        return self

@hookimpl
def register_detectors():
    return [Slow]
"""
RUNS = 24
LEASE = 4.0


@pytest.fixture
def data(toys, install, tmp_path) -> Path:
    install("slow", "slow_module", PLUGIN)
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def start():
    """``start(store, host)``: a process on a machine of this name, which ends with the test at the latest."""
    processes: list[subprocess.Popen[str]] = []

    def start(store: str, host: str, steps: int, seeds: int = RUNS) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "oodbench", "run", "--detector", "slow", "--in", "bars:0", "--out", "white"]
        command += ["--out", "bars:1", "--seeds", str(seeds), "--store", store, "--device", "cpu"]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OODBENCH_HOST": host,
            "OODBENCH_LEASE_SECONDS": str(LEASE),
            "SLOW_STEPS": str(steps),
        }
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, env=environment, **pipes))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def begun(data: Path, host: str) -> set[int]:
    """The seeds whose fit this machine has begun."""
    return {int(path.suffix[1:]) for path in data.glob(f"{host}.*")}


def wait_for(true, seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def history(store: Store, key: str) -> list[Work]:
    """The claims on a run, in order."""
    names = [name for name in store.files.names(key, hidden=True) if name.startswith(".claim-")]
    names.sort(key=lambda name: int(name.rpartition("-")[2]))
    return [store.files.read(f"{key}/{name}", parse_work) for name in names]


def stop_in_a_fit(process: subprocess.Popen[str], store: Store, host: str) -> None:
    """Stop a process while it has a run whose fit is not stored yet; between two runs it would leave nothing behind."""

    def has_a_fit() -> bool:
        unfitted = [key for key in store.files.names() if not store.files.exists(f"{key}/run.json")]
        return any(work.host == host and not work.ended for key in unfitted for work in history(store, key)[-1:])

    def is_stopped() -> bool:
        if not has_a_fit():  # it is left to work until then, or the others would have done all of it
            return False
        process.send_signal(signal.SIGSTOP)
        if has_a_fit():
            return True
        process.send_signal(signal.SIGCONT)
        return False

    wait_for(is_stopped)


def assert_same(store: Store, other: Store, keys: list[str]) -> None:
    """Every run is whole, and has the weights and scores that it has in the other store."""
    assert store.keys() == sorted(keys) == other.keys()
    assert store.read_failures().empty
    for key in keys:
        np.testing.assert_equal(
            {name: tensor.numpy() for name, tensor in store.read_weights(key).items()},
            {name: tensor.numpy() for name, tensor in other.read_weights(key).items()},
        )
        assert len(store.read_history(key)) == 1
        for out in (None, "white", "bars:1"):
            np.testing.assert_array_equal(store.read_scores(key, out).values, other.read_scores(key, out).values)
        assert not {"status.json", "checkpoint.pt"} & set(store.files.names(key))
    columns = ["run", "out_dataset", "metric", "value"]
    rows = [each.read_results()[columns].sort_values(columns[:3], ignore_index=True) for each in (store, other)]
    assert rows[0].equals(rows[1])


def on_one_machine(data: Path, tmp_path: Path, seeds: int = RUNS) -> Store:
    request = RunRequest(("slow",), ("bars:0",), ("white", "bars:1"), seeds=tuple(range(seeds)))
    store = Store(str(tmp_path / "alone"))
    outcome = run(request, options=ExecutionOptions(store.address, data, device="cpu"))
    assert len(outcome.keys) == seeds
    return store


def test_three_machines_share_24_runs_though_one_is_killed_and_one_stopped(start, s3, data, tmp_path):
    killed, stopped, survivor = (start(s3, host, steps=12) for host in ("killed", "stopped", "survivor"))
    wait_for(lambda: len(begun(data, "killed")) >= 2)
    stop_in_a_fit(killed, Store(s3), "killed")
    killed.send_signal(signal.SIGKILL)
    wait_for(lambda: len(begun(data, "stopped")) >= 2)
    stop_in_a_fit(stopped, Store(s3), "stopped")
    _, said = survivor.communicate(timeout=300)
    assert survivor.returncode == 0, said
    stopped.send_signal(signal.SIGCONT)
    _, told = stopped.communicate(timeout=300)
    assert stopped.returncode == 0, told
    killed.communicate(timeout=60)

    store, alone = Store(s3), on_one_machine(data, tmp_path)
    assert_same(store, alone, alone.keys())
    claims = {key: history(store, key) for key in store.keys()}
    for works in claims.values():
        assert works[-1].ended and works[-1].title.startswith("slow on bars:0, seed")
    given_up = [work.host for works in claims.values() for work in works[:-1] if not work.ended]
    assert "killed" in given_up and "stopped" in given_up
    assert all(begun(data, host) for host in ("killed", "stopped", "survivor")), "each had its share"


@pytest.mark.slow
def test_the_same_command_twice_on_one_machine_shares_the_runs_and_waits_for_the_last(start, s3, data, tmp_path):
    """A process that ends leaves no claim behind: nobody waits for a lease."""
    first, second = (start(s3, host, steps=3, seeds=6) for host in ("one", "two"))
    ends = [process.communicate(timeout=240) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), ends
    alone = on_one_machine(data, tmp_path, seeds=6)
    assert_same(Store(s3), alone, alone.keys())
    assert begun(data, "one") | begun(data, "two") == set(range(6))
    assert sum(said.count("fitting to") for _, said in ends) == 6
    assert sum(said.count("finished already") for _, said in ends) == 6


class Heard(Progress):
    """Keeps what it hears, and touches a file when this process begins to wait."""

    def __init__(self, waits: Path | None = None):
        self.texts: list[str] = []
        self.waits = waits

    def message(self, text):
        self.texts.append(text)
        if self.waits and text.startswith("waiting for"):
            self.waits.touch()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_busy_run_is_put_aside_and_done_when_nothing_else_is_left(data, tmp_path, jobs):
    """On a local disk; the first of four runs is another process's until there is nothing else to do."""
    store = Store(str(tmp_path / "store"))
    request = RunRequest(("slow",), ("bars:0",), ("white",), seeds=(0, 1, 2, 3))
    alone = on_one_machine(data, tmp_path, seeds=4)
    first = next(key for key in alone.keys() if "-s0-" in key)
    for path in data.iterdir():
        path.unlink()
    holding = """
import sys, time
from pathlib import Path
from oodbench.store.store import Store
with Store(sys.argv[1]).claim(sys.argv[2]):
    print("claimed", flush=True)
    while not Path(sys.argv[3]).exists():
        time.sleep(0.05)
"""
    command = [sys.executable, "-c", holding, store.address, first, str(data / "waits")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    heard = Heard(data / "waits")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "claimed\n"
        outcome = run(request, options=ExecutionOptions(store.address, data, device="cpu", jobs=jobs), progress=heard)
    assert outcome.failures == [] and len(outcome.keys) == 4
    fits = [text for text in heard.texts if "fitting to" in text]
    assert len(fits) == 4 and "seed 0" in fits[-1]
    waits = [text for text in heard.texts if text.startswith("waiting for another process that works on")]
    assert len(waits) == 1 and f"{first} (" in waits[0] and f"process {holder.pid})" in waits[0]


def test_what_stands_on_a_busy_base_is_put_aside_with_it(standing, tmp_path):
    """Fitted on the base that the other process has made, not a failure for want of one."""
    plain = Store(str(tmp_path / "plain"))
    words = dict(in_datasets=("bars:0",), out_datasets=("white",))
    run(RunRequest(("centre",), **words), options=ExecutionOptions(plain.address, device="cpu"))
    (base,) = plain.keys()
    standing()
    store = Store(str(tmp_path / "store"))
    making = """
import sys, time
from pathlib import Path
from oodbench.plan.requests import RunRequest
from oodbench.runs.pipeline import ExecutionOptions, run
from oodbench.store.store import Store
request = RunRequest(("centre",), ("bars:0",), ("white",))
store = Store(sys.argv[1])
with store.claim(sys.argv[2]):
    print("claimed", flush=True)
    time.sleep(2)
    run(request, options=ExecutionOptions(sys.argv[3], device="cpu"))
    for path in Path(sys.argv[3], sys.argv[2]).rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            name = path.relative_to(Path(sys.argv[3])).as_posix()
            store.files.write(name, path.read_bytes())
"""
    command = [sys.executable, "-c", making, store.address, base, str(tmp_path / "third")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    heard = Heard()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout.readline() == "claimed\n"
        requests = [RunRequest(("offset",), **words), RunRequest(("mean-distance",), **words)]
        outcome = run(*requests, options=ExecutionOptions(store.address, device="cpu"), progress=heard)
    assert outcome.failures == [] and len(outcome.keys) == 2
    fits = [text.partition("]")[2] for text in heard.texts if "fitting to" in text]
    assert [text.split()[0] for text in fits] == ["mean-distance", "offset"]
    assert standing().count("fit centre seed 0") == 1, "by the other process alone"
