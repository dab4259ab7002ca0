"""The executor ``slurm``: each task is a job of an array, requeued if its time is up or its machine is lost."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oodbench import Executor, Job, OODBenchError, Open, Params, Progress, WorkerDied, deliver, param

CLOSE_SECONDS = 60.0
LATE_SECONDS = 10.0
"""How long a result may come after the end of its job: shared folders show new files late."""
QUEUE_POLLS = 5
"""Slurm is asked once in so many looks at the files."""
TO_BE_SET = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class SlurmParams(Params):
    partition: str = param("", "partition; empty for the cluster's default")
    account: str = param("", "account that is charged; empty for the user's default")
    qos: str = param("", "quality of service; empty for the default")
    cpus: int = param(1, "CPUs of each task; it computes with as many threads", ge=1)
    gpus: int = param(
        0, "whole GPUs of each task; for a share, where the cluster has shards: options=gres=shard:1", ge=0
    )
    memory: float = param(0.0, "memory of each task; 0 for the cluster's default", unit="GiB", ge=0)
    minutes: int = param(240, "time limit of a job; a task that reaches it is queued again", unit="minutes", ge=1)
    requeues: int = param(20, "how often a task that reaches its time limit is queued again", ge=0)
    warning: int = param(90, "seconds before the time limit at which a task is ended and queued again", unit="s", ge=1)
    options: str = param("", "further options of sbatch, as in constraint=a100,nice=100")
    folder: str = param("", "folder for scripts and logs, seen by all nodes; empty for one in the user's cache folder")
    poll: float = param(
        2.0, "seconds between two looks at the files; the queue is asked at every fifth", unit="s", gt=0
    )
    silence: float = param(
        60.0, "seconds without a result, a place in the queue and a word of the accounting: the task is lost", gt=0
    )


class SlurmExecutor(Executor):
    """An executor that runs tasks as Slurm jobs, submitted by submitit from a machine that has ``sbatch``."""

    name = "slurm"
    summary = "jobs of a Slurm cluster, an array of them"
    Params = SlurmParams

    def work(
        self, tasks: Mapping[str, Job], open_: Open, slots: int | None, progress: Progress
    ) -> Generator[tuple[str, Any], None, None]:
        """Run the tasks as jobs (see Executor).

        Tasks that must wait for others are submitted when those have ended. If this process is killed, the jobs
        continue, and their results are in the store.
        """
        array = _Array(self, open_, progress)
        waiting, ended = dict(tasks), set[str]()
        try:
            while waiting or array.running:
                room = len(tasks) if slots is None else slots - len(array.running)
                ready = [title for title, job in waiting.items() if job.may_start(ended)] if room > 0 else []
                if ready:
                    array.submit({title: waiting.pop(title) for title in ready}, room)
                for title, outcome in array.collect():
                    ended.add(title)
                    yield title, outcome
        finally:
            array.close()


@dataclass
class _Running:
    title: str
    job: Any
    progress: Progress
    told: Path
    read: int = 0
    missing_since: float | None = None


class _Array:
    """The jobs of one call of ``work``: submits them, follows their progress, and cancels them."""

    def __init__(self, executor: SlurmExecutor, open_: Open, progress: Progress):
        self.params, self.open_, self.progress = executor.params, open_, progress
        base = Path(self.params.folder).expanduser().absolute() if self.params.folder else executor.folder
        self.folder = base / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        self.running: dict[str, _Running] = {}
        self.polls = 0
        self.keep = False

    def submit(self, jobs: Mapping[str, Job], slots: int) -> None:
        """Submit these as one array, of which ``slots`` may run at once. Raises OODBenchError if Slurm refuses."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from oodbench_slurm.worker import Work

        self.folder.mkdir(parents=True, exist_ok=True)
        told = {title: self.folder / f"{uuid.uuid4().hex}.jsonl" for title in jobs}
        try:
            executor = submitit.SlurmExecutor(folder=self.folder, max_num_timeout=self.params.requeues)
            executor.update_parameters(**self._parameters(slots))
            with executor.batch():
                submitted = [
                    executor.submit(Work(self.open_, title, job.arguments, told[title])) for title, job in jobs.items()
                ]
        except (FailedJobError, FailedSubmissionError, RuntimeError, OSError, ValueError) as error:
            raise OODBenchError(f"Slurm takes no job: {_last_line(str(error))}") from None
        for title, job in zip(jobs, submitted, strict=True):
            self.running[title] = _Running(title, job, self.progress.for_run(title), told[title])

    def _parameters(self, slots: int) -> dict[str, Any]:
        """Return submitit's parameters for the jobs."""
        params = self.params
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        threads = [f"export {name}=${{SLURM_CPUS_PER_TASK:-1}}" for name in TO_BE_SET]
        given = {name: getattr(params, name) for name in ("partition", "account", "qos") if getattr(params, name)}
        more: dict[str, Any] = {"requeue": True}  # if a node is lost, whatever the cluster's default
        for option in filter(None, params.options.split(",")):
            name, equals, value = option.strip().partition("=")
            more[name.removeprefix("--")] = value if equals else True
        return given | {
            "job_name": "oodbench",
            "time": params.minutes,
            "cpus_per_task": params.cpus,
            "array_parallelism": slots,
            "signal_delay_s": params.warning,
            "setup": [f"export PYTHONPATH={shlex.quote(path)}", *threads],
            "additional_parameters": more,
            "stderr_to_stdout": True,
            **({"gpus_per_node": params.gpus} if params.gpus else {}),
            **({"mem": f"{round(params.memory * 1024)}M"} if params.memory else {}),
        }

    def collect(self) -> list[tuple[str, Any]]:
        """Deliver progress, and return title and outcome of each task that has ended, after a short wait."""
        time.sleep(self.params.poll)
        self.polls += 1
        finished = {title for title, task in self.running.items() if task.job.paths.result_pickle.exists()}
        for task in self.running.values():
            _deliver(task)
        lost = self._lost(set(self.running) - finished) if self.polls % QUEUE_POLLS == 0 else {}
        ended = []
        for title in [*finished, *lost]:
            task = self.running.pop(title)
            outcome = self._outcome(task) if title in finished else WorkerDied(lost[title])
            if isinstance(outcome, WorkerDied):
                self.keep = True
                task.progress.message(f"failed: {outcome}")
            task.progress.close()
            ended.append((title, outcome))
        return ended

    def _outcome(self, task: _Running) -> Any:
        """Return a finished task's value; WorkerDied if its job failed or ran out of requeues.

        Raises OODBenchError if the task raised.
        """
        from submitit.core.utils import FailedJobError

        try:
            kind, value = task.job.result()
        except FailedJobError as error:
            return WorkerDied(f"{_last_line(str(error))}; its log is {task.job.paths.stdout}")
        if kind == "raised":
            raise OODBenchError(value)
        return WorkerDied(value) if kind == "died" else value

    def _lost(self, titles: set[str]) -> dict[str, str]:
        """Return title → reason, for the tasks whose jobs have ended without a result.

        Without accounting, Slurm forgets a killed job: it counts as lost after ``silence`` seconds without a sign.
        """
        from oodbench_slurm.queue import OVER, accounted, queued

        states = queued()
        if states is None:  # Slurm does not answer, which says nothing about the jobs
            return {}
        missing = {title for title in titles if self.running[title].job.job_id not in states}
        known = accounted({self.running[title].job.job_id for title in missing}) if missing else {}
        lost, now = {}, time.monotonic()
        for title in titles:
            task = self.running[title]
            state = known.get(task.job.job_id, "")
            if title not in missing or (state and state not in OVER):
                task.missing_since = None
                continue
            task.missing_since = task.missing_since or now
            log = f"its log is {task.job.paths.stdout}"
            if state and now - task.missing_since >= min(LATE_SECONDS, self.params.silence):
                lost[title] = f"Slurm says {state} of job {task.job.job_id}; {log}"
            elif not state and now - task.missing_since >= self.params.silence:
                lost[title] = f"job {task.job.job_id} is gone and left no result, as one that was killed; {log}"
        return lost

    def close(self) -> None:
        """Cancel all jobs and wait until they have ended; remove their scripts and logs unless a task died."""
        from oodbench_slurm.queue import cancel, queued

        jobs = [task.job.job_id for task in self.running.values()]
        if jobs:
            cancel(jobs)
            end = time.monotonic() + CLOSE_SECONDS
            while ((states := queued()) is None or set(jobs) & set(states)) and time.monotonic() < end:
                time.sleep(self.params.poll)
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def _deliver(task: _Running) -> None:
    """Deliver a task's progress since the last call; a line that is still being written waits."""
    if not task.told.exists():
        return
    with task.told.open("rb") as file:
        file.seek(task.read)
        lines = file.read().rpartition(b"\n")[0]
    if lines:
        task.read += len(lines) + 1
        for line in lines.splitlines():
            event = json.loads(line)
            if event[0] != "began":
                deliver(event, task.progress)


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"
