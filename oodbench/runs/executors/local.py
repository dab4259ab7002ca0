"""The local executor: several tasks at once, in processes that end when this one does, even if this one is killed."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from oodbench.api import Executor, Job, Open, Params, Perform, Progress, ProgressSender, deliver, param
from oodbench.errors import OODBenchError, WorkerDied, reason
from oodbench.plugin.hookspecs import hookimpl

THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@hookimpl
def register_executors() -> list[type[Executor]]:
    """Return the executor that needs nothing but this machine."""
    return [Local]


class LocalParams(Params):
    threads: int = param(0, "threads of each process; 0 for its share of the cores", ge=0)


class Local(Executor):
    """An executor that runs tasks in processes of this machine, one process per slot; one slot by default."""

    name = "local"
    summary = "processes of this machine, each with its share of the cores"
    Params = LocalParams

    def work(
        self, tasks: Mapping[str, Job], open_: Open, slots: int | None, progress: Progress
    ) -> Generator[tuple[str, Any], None, None]:
        """Run the tasks, started in their order (see Executor). Closing the generator ends all processes at once."""
        count = min(slots or 1, len(tasks)) or 1
        threads = self.params.threads or threads_each(count)
        workers = [_Worker(open_, slot, threads) for slot in range(count)]
        waiting, free, ended = dict(tasks), deque(workers), set[str]()
        busy: dict[Connection, _Worker] = {}
        try:
            while waiting or busy:
                ready = [title for title, job in waiting.items() if job.may_start(ended)]
                for title in ready[: len(free)]:
                    worker = free.popleft()
                    worker.start_task(title, waiting.pop(title).arguments, progress)
                    busy[worker.connection] = worker
                for connection in wait([*busy]):
                    worker = busy[connection]  # type: ignore[index]
                    if worker.receive():
                        free.append(busy.pop(worker.connection))
                        ended.add(worker.title)
                        yield worker.title, worker.outcome
        finally:
            for worker in workers:
                worker.stop()


def threads_each(count: int) -> int:
    """Return the threads of each of ``count`` processes: its share of the cores, but no more than this process uses."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), cores // count))


class _Worker:
    """One process, started for its first task, and again after a task that killed it."""

    connection: Connection

    def __init__(self, open_: Open, slot: int, threads: int):
        self.open, self.slot = open_, slot
        self.threads = threads
        self.process: subprocess.Popen[bytes] | None = None
        self.title = ""
        self.outcome: Any = None

    def start_task(self, title: str, task: tuple[Any, ...], progress: Progress) -> None:
        if self.process is None:
            self._start()
        self.title, self.progress = title, progress.for_run(title)
        self._send((title, *task))

    def receive(self) -> bool:
        """Handle one message from the process. Returns True if it ends the task."""
        try:
            kind, *values = self.connection.recv()
        except (EOFError, OSError):
            self.outcome = WorkerDied(_how_it_ended(self.stop()))
            self.progress.message(f"failed: {self.outcome}")
        else:
            if kind == "raised":
                raise OODBenchError(*values)
            if kind != "done":
                deliver((kind, *values), self.progress)
                return False
            (self.outcome,) = values
        self.progress.close()
        return True

    def stop(self) -> int:
        """End the process, and return its exit code; 0 if none is running."""
        if self.process is None:
            return 0
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):  # if it is ending by itself, get its own exit code
            self.process.wait(0.05)
        self.process.kill()
        code = self.process.wait()
        self.process = None
        return code

    def _start(self) -> None:
        """Start the process in its own session: Ctrl-C in a terminal reaches only its parent, which then stops it."""
        self.connection, theirs = Pipe()
        limits = dict.fromkeys(THREAD_LIMITS, str(self.threads))
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        serving = f"from oodbench.runs.executors.local import serve; serve({theirs.fileno()})"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-c", serving],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a detector prints must not get into the command's output
                env={**os.environ, **limits, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._send((self.open, self.slot))

    def _send(self, order: object) -> None:
        with suppress(BrokenPipeError):  # the process has died; the next receive reports it
            self.connection.send(order)


def _how_it_ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, as happens when memory runs out; fewer --jobs at once need less"
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"its process ended {how}; --jobs 1 may show why"


# ------------------------------------------------------------------------------ in the other process


def serve(descriptor: int) -> None:
    """Run the tasks received over the connection until it is closed."""
    connection = Connection(descriptor)
    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, orders), daemon=True).start()
    open_, slot = pickle.loads(orders.get())
    kind, perform = _attempt(open_, (ProgressSender(connection.send), slot))
    if kind == "raised":
        connection.send((kind, perform))
    while kind == "done":
        connection.send(_attempt(perform, pickle.loads(orders.get())))


def _listen(connection: Connection, orders: queue.SimpleQueue[bytes]) -> None:
    """Queue what is received. The connection closes when the parent ends, even by kill -9; then end this process."""
    with suppress(EOFError, OSError):
        while True:
            orders.put(connection.recv_bytes())
    os._exit(0)


def _attempt(perform: Perform, task: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "done", perform(*task)
    except Exception as error:
        return "raised", reason(error)
