"""Several tasks at once in processes of their own: none is lost, none outlives its parent, none disturbs another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from oodbench.api import Job, Progress
from oodbench.errors import OODBenchError, WorkerDied
from oodbench.runs.executors import local
from oodbench.runs.executors.local import Local
from oodbench.testing import EXECUTOR_CHECKS, ExecutorCase


def do(progress: Progress, slot: int) -> Callable[..., object]:
    """Runs in the other process: a function that does what it is told."""

    def perform(title: str, what: str, *more: object) -> object:
        progress.message(f"{title} begins")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "exit":
            os._exit(7)
        if what == "raise":
            raise ValueError("two\nlines")
        if what == "print":
            print("a detector's own words")
        if what == "wait":
            Path(str(more[0])).with_suffix(f".{os.getpid()}").touch()
            time.sleep(600)
        if what == "threads":
            import torch

            return torch.get_num_threads()
        return os.getpid(), what, *more

    return perform


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """This module, for the other processes."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "test_local", module)
    monkeypatch.setattr(do, "__module__", "test_local")


class Heard(Progress):
    def __init__(self):
        self.texts: list[str] = []
        self.ended = 0

    def message(self, text):
        self.texts.append(text)

    def close(self):
        self.ended += 1


def all_of(tasks, count=2, progress=None, threads=1):
    jobs = {title: Job(arguments) for title, arguments in tasks.items()}
    with closing(Local(Local.Params(threads=threads)).work(jobs, do, count, progress or Heard())) as outcomes:
        return dict(outcomes)


def test_every_task_is_done_in_one_of_few_processes():
    heard = Heard()
    outcomes = all_of({f"task {number}": ("echo", number) for number in range(5)}, progress=heard)
    assert {title: outcome[1:] for title, outcome in outcomes.items()} == {
        f"task {number}": ("echo", number) for number in range(5)
    }
    processes = {outcome[0] for outcome in outcomes.values()}
    assert 1 <= len(processes) <= 2 and os.getpid() not in processes
    assert sorted(heard.texts) == [f"task {number} begins" for number in range(5)]
    assert heard.ended == 5


@pytest.mark.parametrize(("fault", "message"), [("die", "its process was killed"), ("exit", "with exit code 7")])
def test_a_process_that_dies_loses_its_task_alone(fault, message):
    outcomes = all_of({"a": ("echo",), "b": (fault,), "c": ("echo",), "d": ("echo",)}, count=1)
    assert isinstance(outcomes["b"], WorkerDied)
    assert message in str(outcomes["b"])
    assert [outcomes[title][1] for title in "acd"] == ["echo"] * 3
    assert outcomes["a"][0] != outcomes["c"][0] == outcomes["d"][0], "one new process for the rest"


def test_a_process_that_cannot_begin_is_a_task_that_failed(monkeypatch):
    monkeypatch.setattr(do, "__module__", "no_such_module_there")
    monkeypatch.setitem(sys.modules, "no_such_module_there", sys.modules[__name__])
    outcomes = all_of({"a": ("echo",), "b": ("echo",)}, count=1)
    assert all(isinstance(outcome, WorkerDied) for outcome in outcomes.values())


def test_an_exception_ends_it_all_in_one_line(tmp_path):
    with pytest.raises(OODBenchError, match="^ValueError: two lines$"):
        all_of({"a": ("raise",), "b": ("wait", str(tmp_path / "b"))})


def test_what_a_task_prints_is_not_in_the_output_of_the_command(capfd):
    all_of({"a": ("print",)}, count=1)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "a detector's own words" in printed.err


def test_a_process_has_the_threads_it_is_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert all_of({"a": ("threads",)}, count=1, threads=1)["a"] == 1


def test_the_cores_are_shared_and_a_limit_of_the_user_s_holds(monkeypatch):
    import torch

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert [local.threads_each(count) for count in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert [local.threads_each(count) for count in (1, 2, 4)] == [3, 3, 2]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def soon(due: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not due() and time.monotonic() < end:
        time.sleep(0.02)
    return due()


PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever these tests were started with
from contextlib import closing
from oodbench.api import Job, Progress
from oodbench.runs.executors.local import Local
from oodbench.testing import EXECUTOR_CHECKS, ExecutorCase
from test_local import do
jobs = {name: Job(("wait", f"{sys.argv[1]}/{name}")) for name in "ab"}
with closing(Local(Local.Params(threads=1)).work(jobs, do, 2, Progress())) as outcomes:
    list(outcomes)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_the_one_that_started_it(end, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], env=environment, stderr=subprocess.DEVNULL)
    assert soon(lambda: len(list(tmp_path.iterdir())) == 2)
    processes = [int(path.suffix[1:]) for path in tmp_path.iterdir()]
    assert all(map(is_alive, processes))
    parent.send_signal(end)
    assert parent.wait(120) != 0
    assert soon(lambda: not any(map(is_alive, processes)))


@pytest.mark.parametrize("check", EXECUTOR_CHECKS)
def test_contract(check, tmp_path):
    check(ExecutorCase(lambda: Local(Local.Params(threads=1)), tmp_path))
