"""The executor ``ray``: each task becomes a Ray task, which is retried if its machine is lost."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from oodbench import Executor, Job, OODBenchError, Open, Params, Progress, WorkerDied, deliver, param, reason

POLL_SECONDS = 0.2
CLOSE_SECONDS = 30.0
GIB = 2**30
CARRIED = ("OODBENCH_CHECKPOINT_SECONDS", "OODBENCH_OFFLINE", "OODBENCH_PLUGINS")
"""Variables that workers get from the process that planned; where they share files, all that begin with OODBENCH_."""


class RayParams(Params):
    address: str = param(
        "",
        "address of a running cluster, as in auto or 10.0.0.1:6379; if empty RAY_ADDRESS, and else a cluster of this "
        "machine alone is started, and ended with the call",
    )
    cpus: float = param(1.0, "CPUs that each task reserves; it computes with as many threads", ge=0)
    gpus: float = param(0.0, "GPUs that each task reserves; .5 lets two tasks share one", ge=0)
    memory: float = param(0.0, "memory that each task reserves; 0 for none", unit="GiB", ge=0)
    minutes: float = param(0.0, "time limit of each task; 0 for none", unit="minutes", ge=0)
    retries: int = param(3, "how often a task is begun again after its machine was lost", ge=0)
    shares_files: bool = param(False, "whether all machines of the running cluster see this machine's files")


class RayExecutor(Executor):
    """An executor that runs tasks with Ray Core, on a running cluster or one started on this machine for the call."""

    name = "ray"
    summary = "a Ray cluster: one that runs, or this machine's own"
    Params = RayParams

    @property
    def address(self) -> str:
        """The address of the running cluster; empty if one is to be started."""
        return str(self.params.address or os.environ.get("RAY_ADDRESS", ""))

    @property
    def shares_files(self) -> bool:
        """Whether workers find this machine's files; always true on a cluster of this machine alone."""
        return bool(self.params.shares_files) or not self.address

    def work(
        self, tasks: Mapping[str, Job], open_: Open, slots: int | None, progress: Progress
    ) -> Generator[tuple[str, Any], None, None]:
        """Run the tasks as Ray tasks (see Executor)."""
        with self._connected():
            self._check_room(progress)
            hand = _Hand(self, open_, progress)
            waiting, ended = dict(tasks), set[str]()
            try:
                while waiting or hand.running:
                    for title in [title for title, job in waiting.items() if job.may_start(ended)]:
                        if slots is None or len(hand.running) < slots:
                            hand.submit(title, waiting.pop(title).arguments)
                    for title, outcome in hand.collect():
                        ended.add(title)
                        yield title, outcome
            finally:
                hand.close()

    def options(self) -> dict[str, Any]:
        """Return what each task reserves, as Ray options. Retries are made here, not by Ray: see ``_Hand``."""
        memory = {"memory": int(self.params.memory * GIB)} if self.params.memory else {}
        return {"num_cpus": self.params.cpus, "num_gpus": self.params.gpus, "max_retries": 0, **memory}

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Return a context in which this process is connected to a cluster; an existing connection is left open."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if ray.is_initialized():
            yield
            return
        own: dict[str, Any] = {} if self.address else {"include_dashboard": False}
        try:
            ray.init(address=self.address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:  # Ray raises plain ones too, such as when its start takes over 30 s
            where, why = self.address or "this machine", reason(error)
            raise OODBenchError(f"no Ray cluster at {where}: {why}; `ray status` shows what there is") from None
        try:
            yield
        finally:
            ray.shutdown()

    def _check_room(self, progress: Progress) -> None:
        """Report if no machine has what a task reserves, as Ray would wait silently.

        Raises OODBenchError in that case if the cluster is this machine's own.
        """
        import ray

        wanted = {"CPU": self.params.cpus, "GPU": self.params.gpus, "memory": self.params.memory * GIB}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(all(node.get(name, 0) >= much for name, much in wanted.items()) for node in nodes):
            return
        said = ", ".join(f"{name}={getattr(self.params, name)}" for name in ("cpus", "gpus", "memory"))
        line = f"no machine of the Ray cluster has {said} for a task"
        if not self.address:
            raise OODBenchError(f"{line}: lower them with --executor-set, or name a cluster with address=…")
        progress.message(f"{line}: waiting for one; `ray status` shows what there is")


@dataclass
class _Running:
    title: str
    arguments: bytes
    progress: Progress
    attempts: int = 1
    began: float | None = None
    too_long: bool = False


class _Hand:
    """The tasks that Ray is running, and the mailbox of their progress.

    A task is submitted again if its machine was lost. Ray's own retries are off, as they would also repeat a task that
    kills its process, such as one that needs too much memory.
    """

    def __init__(self, executor: RayExecutor, open_: Open, progress: Progress):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from oodbench_ray.worker import Call, Mailbox, work_on

        self.params, self.progress = executor.params, progress
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self.mailbox: Any = ray.remote(Mailbox).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
        path = [folder or os.getcwd() for folder in sys.path] if executor.shares_files else []
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in CARRIED or (executor.shares_files and name.startswith("OODBENCH_"))
        }
        call = Call(uuid.uuid4().hex, self.mailbox, pickle.dumps(open_), path, environment)
        remote: Any = ray.remote(work_on).options(**executor.options())
        self.start: Callable[[str, bytes], Any] = lambda title, arguments: remote.remote(call, title, arguments)
        self.running: dict[Any, _Running] = {}

    def submit(self, title: str, arguments: tuple[Any, ...]) -> None:
        task = _Running(title, pickle.dumps(arguments), self.progress.for_run(title))
        self.running[self.start(title, task.arguments)] = task

    def collect(self) -> list[tuple[str, Any]]:
        """Deliver progress, and return title and outcome of each task that has ended; wait briefly for one."""
        import ray

        done, _ = ray.wait([*self.running], num_returns=1, timeout=POLL_SECONDS)
        self._deliver()
        self._stop_what_takes_too_long()
        ended = []
        for reference in done:
            task = self.running.pop(reference)
            outcome = self._outcome(reference, task)
            if outcome is not None:
                task.progress.close()
                ended.append((task.title, outcome[0]))
        return ended

    def _deliver(self) -> None:
        import ray

        tasks = {task.title: task for task in self.running.values()}
        letters: list[tuple[str, tuple[Any, ...]]] = []
        with suppress(ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):  # Ray restarts it, empty
            letters = ray.get(self.mailbox.take.remote(), timeout=CLOSE_SECONDS)
        for title, event in letters:
            task = tasks.get(title)
            if task is not None and event[0] == "began":
                task.began = time.monotonic()
            elif task is not None:
                deliver(event, task.progress)

    def _outcome(self, reference: Any, task: _Running) -> tuple[Any] | None:
        """Return the outcome in a 1-tuple; None if the task was submitted again. Raises OODBenchError if it raised."""
        import ray

        try:
            kind, value = ray.get(reference)
        except ray.exceptions.RayError as error:
            if type(error) is ray.exceptions.LocalRayletDiedError:
                raise OODBenchError("the Ray process of this machine has ended; run the command again") from None
            lost = _lost_its_machine(error) and not task.too_long
            if lost and task.attempts <= self.params.retries:
                task.progress.message(f"the machine that worked on it was lost: begun again ({task.attempts})")
                task.attempts, task.began = task.attempts + 1, None
                self.running[self.start(task.title, task.arguments)] = task
                return None
            died = WorkerDied(self._how_it_ended(error, task))
        else:
            if kind == "raised":
                raise OODBenchError(value)
            return (value,)
        task.progress.message(f"failed: {died}")
        return (died,)

    def _how_it_ended(self, error: Exception, task: _Running) -> str:
        import ray

        if task.too_long:
            return f"it took longer than {self.params.minutes:g} minutes; --executor-set minutes=… allows more"
        if _lost_its_machine(error):
            return f"its machine was lost, as were those of {self.params.retries} attempts before"
        if isinstance(error, ray.exceptions.OutOfMemoryError):
            return "memory ran out on its machine, and Ray ended its process; --executor-set memory=… reserves more"
        if isinstance(error, ray.exceptions.WorkerCrashedError):
            return "its process was killed, as happens when memory runs out; --executor-set memory=… reserves more"
        return f"Ray lost it: {reason(getattr(error, 'cause', error))}"

    def _stop_what_takes_too_long(self) -> None:
        import ray

        limit = 60 * self.params.minutes or float("inf")
        for reference, task in self.running.items():
            if task.began and not task.too_long and time.monotonic() - task.began > limit:
                task.too_long = True
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """End all tasks, and wait until they have ended."""
        import ray

        for reference in self.running:
            ray.cancel(reference, force=True)
        if self.running:
            ray.wait([*self.running], num_returns=len(self.running), timeout=CLOSE_SECONDS)
        ray.kill(self.mailbox)


def _lost_its_machine(error: Exception) -> bool:
    """Whether a task failed because its machine was lost.

    A task returns its own exceptions as outcomes. So an exception that Ray reports as the task's is Ray's own: the
    first sign of the machine's loss, which the worker noticed and could still report.
    """
    import ray

    if isinstance(error, ray.exceptions.RayTaskError):
        return isinstance(error.cause, ray.exceptions.RayError)
    return isinstance(error, ray.exceptions.NodeDiedError)
