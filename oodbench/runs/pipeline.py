"""All steps in one call: requests → tasks, run one after the other or several at once → their results.

from oodbench.plan.requests import RunRequest
from oodbench.runs.pipeline import run

request = RunRequest(detectors=("ae",), in_datasets=("mnist5k:0,2-9",), out_datasets=("noise",), preset="quick")
outcome = run(request)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.api import SPLITS, Executor, Job, Progress
from oodbench.api.full_spectrum import covariate_sets
from oodbench.data.loading import Loader, open_loader
from oodbench.errors import OODBenchError, WorkerDied
from oodbench.plan.executors import LOCAL, new_executor
from oodbench.plan.origins import naming_origins
from oodbench.plan.requests import RunRequest
from oodbench.plan.tasks import Task, plan, with_bases
from oodbench.plugin.registry import Registry, load_registry
from oodbench.runs.devices import assign_devices, find_device, parse_device
from oodbench.runs.fitting import checkpoint_seconds
from oodbench.runs.same_code import check_code, code_of
from oodbench.runs.task_runner import Failure, TaskOutcome, TaskRunner
from oodbench.store.outputs import size_limit
from oodbench.store.processes import described, lease_seconds
from oodbench.store.records import Combination
from oodbench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import torch

POLL_SECONDS_EACH = 0.05
"""Seconds between checks, per run that is waited for: in object storage, checking many takes longer."""


@dataclass(frozen=True)
class ExecutionOptions:
    """Where and how a request is run; none of it changes the identity of a run.

    Args:
        store: folder or fsspec address of the store.
        data_dir: folder of the data sets' files; None for the user's data folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        jobs: number of runs at once; None for one on this machine, and elsewhere for as many as there is room for. On
            this machine each runs in its own process with its share of the cores, and the GPUs are assigned in turn.
        force: do everything again, even what is finished.
        executor: name of the executor that runs the tasks; ``local`` is this machine.
        executor_settings: its settings, dotted name → value.
    """

    store: str = "results"
    data_dir: Path | None = None
    device: str = "auto"
    jobs: int | None = None
    force: bool = False
    executor: str = LOCAL
    executor_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The keys of the requested runs, their results on the requested out-data sets, and what failed."""

    keys: list[str]
    results: pd.DataFrame
    failures: list[Failure]


def run(
    *requests: RunRequest,
    options: ExecutionOptions | None = None,
    progress: Progress | None = None,
    registry: Registry | None = None,
) -> Outcome:
    """Fit, score and evaluate what is not in the store yet. A combination that fails does not stop the others.

    Raises OODBenchError before anything is run if a word of the request, the device or the store is invalid.
    """
    options, registry = options or ExecutionOptions(), registry or load_registry()
    loader = open_loader(registry, options.data_dir, progress)
    told = (progress or Progress()).message
    with naming_origins(options.store):
        tasks = plan(requests, registry, loader, on_skip=told)
    return execute(tasks, registry, loader, options, progress)


def execute(
    tasks: Sequence[Task],
    registry: Registry,
    loader: Loader,
    options: ExecutionOptions,
    progress: Progress | None = None,
) -> Outcome:
    """Do what ``run`` does, for tasks that are already planned; the bases that they use are run first.

    Only tasks of the split ``test`` have results.
    """
    requested, tasks = {task.run for task in tasks}, with_bases(tasks)
    executor = new_executor(options.executor, options.executor_settings, registry)
    device = own_device(options)
    store = Store(options.store)
    runner = TaskRunner(registry, loader, store, device, progress or Progress(), options.force)
    checkpoint_seconds(0.0)  # refuses a bad value before anything is run
    lease_seconds()  # so does this, and the next
    size_limit()
    titles = {f"[{number}/{len(tasks)}] {task.title}": task for number, task in enumerate(tasks, 1)}
    outcomes = _work_off(runner, titles, executor, options)
    asked_by_run = {
        outcome.key: (outcome.out_datasets, task.covariates)
        for task, outcome in zip(tasks, outcomes.values(), strict=True)
        if outcome.key is not None and task.run in requested
    }
    failures = [failure for outcome in outcomes.values() for failure in outcome.failures]
    return Outcome([*asked_by_run], _requested_results(store, asked_by_run), failures)


def own_device(options: ExecutionOptions) -> torch.device:
    """Return the device of this process. Raises OODBenchError where the requested one is not available.

    With an executor other than ``local`` it is the CPU; the workers check the requested device themselves.
    """
    parse_device(options.device)
    return find_device(options.device if options.executor == LOCAL else "cpu")


def _work_off(
    runner: TaskRunner, tasks: Mapping[str, Task], executor: Executor, options: ExecutionOptions
) -> dict[str, TaskOutcome]:
    """Run the tasks in rounds, and return title → outcome, in the order planned.

    A run that another process works on is put aside, with all runs that use it as base. The next round has those that
    are free by then. So this waits only when nothing else is left to do.
    """
    outcomes: dict[str, TaskOutcome] = {}
    title_by_run = {task.run: title for title, task in tasks.items()}
    left = dict(tasks)
    aside: dict[str, TaskOutcome] = {}
    while left:
        aside = {title: outcome for title, outcome in aside.items() if title not in left}
        for title, outcome in _work_round(runner, left, executor, options):
            base = left[title].run.base
            of_base = aside.get(title_by_run[base]) if base else None
            if outcome.busy:
                aside[title] = outcome
            elif of_base and outcome.lacks_base:  # the base is not fitted yet
                aside[title] = of_base
            else:
                outcomes[title] = outcome
        left = {title: tasks[title] for title in _await_free(runner, aside)}
    return {title: outcomes[title] for title in tasks}


def _work_round(
    runner: TaskRunner, tasks: Mapping[str, Task], executor: Executor, options: ExecutionOptions
) -> Iterator[tuple[str, TaskOutcome]]:
    """Run each task once, in this process or through the executor. Yields title and outcome; bases come first."""
    slots, devices = options.jobs, [options.device]
    if executor.name == LOCAL:
        slots = min(options.jobs or 1, len(tasks))
        devices = assign_devices(options.device, slots)
        if slots <= 1 and not executor.params.threads:  # run here, with this process's threads
            yield from ((title, runner.execute(task, title)) for title, task in tasks.items())
            return
    yield from _hand_out(runner, tasks, executor, slots, devices)


def _await_free(runner: TaskRunner, aside: Mapping[str, TaskOutcome]) -> list[str]:
    """Wait until a run that was put aside is free; return the titles of all tasks that are, in the order planned."""
    claims, has_said = runner.store.claims, False
    while aside:
        holders = {key: claims.holder(key) for key in dict.fromkeys(outcome.busy for outcome in aside.values())}
        free = [title for title, outcome in aside.items() if holders[outcome.busy] is None]
        if free:
            return free
        if not has_said:
            first, *more = [described(key, work) for key, work in holders.items()]
            others = f" and on {len(more)} more" if more else ""
            runner.progress.message(f"waiting for another process that works on {first}{others}")
        has_said = True
        time.sleep(max(claims.poll_seconds, POLL_SECONDS_EACH * len(holders)))
    return []


def _hand_out(
    runner: TaskRunner, tasks: Mapping[str, Task], executor: Executor, slots: int | None, devices: Sequence[str]
) -> Iterator[tuple[str, TaskOutcome]]:
    """Let an executor run the tasks that are not finished yet. Yields title and outcome of all tasks."""
    store, root = _seen_by(executor, runner.store), runner.loader.root.absolute()
    _decode(tasks.values(), runner.loader)
    left = dict(tasks)
    for title, task in tasks.items():
        if done := runner.finished(task, title):
            del left[title]
            yield title, done
    if not left:
        return
    runner.check_writable()
    title_by_run = {task.run: title for title, task in left.items()}
    jobs = {
        title: Job((task,), title_by_run.get(task.run.base) if task.run.base else None) for title, task in left.items()
    }
    code = code_of(title_by_run, runner.registry)
    files = tuple(runner.registry.plugins.files)
    open_ = partial(_open_runner, store, root, tuple(devices), runner.force, code, files)
    with closing(executor.work(jobs, open_, slots, runner.progress)) as ended:
        for title, outcome in ended:
            if isinstance(outcome, WorkerDied):
                failure = runner.record_failure(Combination(left[title].run), outcome)
                outcome = TaskOutcome(failures=[failure])
            yield title, outcome


def _seen_by(executor: Executor, store: Store) -> str:
    """Return the address at which the executor's workers find the store. Raises OODBenchError if there is none."""
    if not store.files.local:
        return store.address
    if not executor.shares_files:
        raise OODBenchError(
            f"the workers of executor {executor.name} may be on machines that do not see the folder {store.address}: "
            "name a store at an address, as s3://bucket/name, or say --executor-set shares_files=true where they do"
        )
    return str(Path(store.files.root).absolute())


def _open_runner(
    store: str,
    root: Path,
    devices: Sequence[str],
    force: bool,
    code: Mapping[str, str],
    files: Sequence[str],
    progress: Progress,
    slot: int,
) -> Callable[[str, Task], TaskOutcome]:
    """Return a function that executes a task; called in another process than the one that planned it.

    Args:
        files: the words that name detectors by file and class.
    """
    registry = load_registry(files=files)
    check_code(code, registry)
    loader, device = open_loader(registry, root, progress), find_device(devices[slot % len(devices)])
    runner = TaskRunner(registry, loader, Store(store), device, progress, force)
    return lambda title, task: runner.execute(task, title)


def _decode(tasks: Collection[Task], loader: Loader) -> None:
    """Put all data sets into the cache, so that each is fetched and decoded once, not once per process."""
    in_sets = [(task.run.in_dataset, split, None) for task in tasks for split in SPLITS]
    out_sets = [(name, task.split, loader.shape(task.run.in_dataset)) for task in tasks for name in task.scored]
    for name, split, shape in dict.fromkeys([*in_sets, *out_sets]):
        with suppress(Exception):  # the run that needs it will report the error
            loader.load(name, split, shape)


def _requested_results(store: Store, asked_by_run: Mapping[str, tuple[Sequence[str], tuple[str, ...]]]) -> pd.DataFrame:
    """Return the results of this call: on its out-data sets, also in full spectrum with its covariate-shifted sets."""
    results = store.read_results(list(asked_by_run))
    chosen = []
    for key, out_dataset, covariate in zip(results["run"], results["out_dataset"], results["covariate"], strict=True):
        out_datasets, covariates = asked_by_run[key]
        chosen.append(out_dataset in out_datasets and (*covariate_sets(covariate),) in ((), covariates))
    rows = [row for row, is_chosen in enumerate(chosen) if is_chosen]
    return results.iloc[rows].reset_index(drop=True)
