"""The Python API: words → tasks → one task after the other, or several at once → their results.

from oodbench.runs.pipeline import RunRequest, run
request = RunRequest(detectors=("ae",), in_datasets=("mnist5k:0,2-9",), out_datasets=("noise",), preset="quick")
outcome = run(request)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from oodbench.api import SPLITS, Metric, Progress
from oodbench.data.loading import Loader
from oodbench.errors import OODBenchError, StoreError, reason
from oodbench.folders import cache_folder, data_folder
from oodbench.leaderboard import figures
from oodbench.plan.tasks import RunRequest, Task, plan
from oodbench.plugin.registry import Registry, load_registry
from oodbench.runs.devices import assign_devices, find_device
from oodbench.runs.executors import local
from oodbench.runs.task_runner import Failure, TaskRunner, evaluate, title_of
from oodbench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Failure", "Outcome", "RunRequest", "cache_folder", "data_folder", "evaluate_store", "figure", "run"]


@dataclass(frozen=True)
class Outcome:
    """The keys of the runs asked for, their results on the out-data sets asked for, and what failed."""

    keys: list[str]
    results: pd.DataFrame
    failures: list[Failure]


def run(
    *words: RunRequest,
    store: str = "results",
    data_dir: Path | None = None,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
    registry: Registry | None = None,
    jobs: int = 1,
) -> Outcome:
    """Fit, score and evaluate what is not in the store yet. A combination that fails does not stop the others.

    jobs: how many runs at once, each in a process of its own, which finds the installed plugins for itself and has its
        share of the cores; the runs take turns on the GPUs.

    Raises OODBenchError before anything is run if a word, the device or the store is no good.
    """
    registry = registry or load_registry()
    loader = open_loader(registry, data_dir, progress)
    return execute(plan(words, registry, loader), registry, loader, store, device, force, progress, jobs)


def open_loader(registry: Registry, data_dir: Path | None, progress: Progress | None = None) -> Loader:
    """Data sets from ``data_dir``, else from the user's folder; ``progress`` is told how far their decoding is."""
    told = progress or Progress()
    planned: set[str] = set()

    def tell(what: str, done: int, of: int) -> None:
        phase = f"decoding {what}"
        if phase not in planned:
            planned.add(phase)
            told.plan({phase: of})
        told.advance(phase, done / of, "", {})

    return Loader(registry, data_dir or data_folder(), cache_folder(), tell)


def execute(
    tasks: Sequence[Task],
    registry: Registry,
    loader: Loader,
    store: str,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
    jobs: int = 1,
) -> Outcome:
    """``run``, of tasks already planned. Only those of the split ``test`` have results."""
    line = TaskRunner(registry, loader, Store(store), find_device(device), progress or Progress(), force)
    line.store.check_writable()
    titled = {f"[{number}/{len(tasks)}] {title_of(task.run)}": task for number, task in enumerate(tasks, 1)}
    if min(jobs, len(tasks)) > 1:
        _at_once(line, titled, assign_devices(device, min(jobs, len(tasks))))
    else:
        for title, task in titled.items():
            line.execute(task, title)
    return Outcome([*line.out_datasets_by_run], _asked(line.store, line.out_datasets_by_run), line.failures)


def _at_once(line: TaskRunner, tasks: Mapping[str, Task], devices: Sequence[str]) -> None:
    """Several tasks at once, in a process for each of the devices; what came of them is told in the order planned."""
    _decode(tasks.values(), line)
    store, root = line.store.address, line.loader.root
    opens = [partial(_open, store, root, device, line.force) for device in devices]
    threads = local.threads_each(len(devices))
    lines: dict[str, TaskRunner] = {}
    arguments = {title: (task,) for title, task in tasks.items()}
    with closing(local.work(arguments, opens, threads, line.progress)) as outcomes:
        for title, outcome in outcomes:
            own = lines[title] = replace(line, out_datasets_by_run={}, failures=[])
            if isinstance(outcome, local.WorkerDied):
                own.record_failure(tasks[title].run, None, outcome)
            else:
                own.out_datasets_by_run, own.failures = outcome
    for title in tasks:
        line.out_datasets_by_run |= lines[title].out_datasets_by_run
        line.failures += lines[title].failures


Done = tuple[dict[str, list[str]], list[Failure]]


def _open(store: str, root: Path, device: str, force: bool, progress: Progress) -> Callable[[str, Task], Done]:
    """The same line in another process: a function that executes a task there."""
    registry = load_registry()
    line = TaskRunner(
        registry, open_loader(registry, root, progress), Store(store), find_device(device), progress, force
    )

    def execute(title: str, task: Task) -> Done:
        own = replace(line, out_datasets_by_run={}, failures=[])
        own.execute(task, title)
        return own.out_datasets_by_run, own.failures

    return execute


def _decode(tasks: Collection[Task], line: TaskRunner) -> None:
    """Put all data sets into the cache, so that several processes need not each decode, or fetch, the same one."""
    loader = line.loader
    in_datasets = [(task.run.in_dataset, split, None) for task in tasks for split in SPLITS]
    out_datasets = [(out, task.split, loader.shape(task.run.in_dataset)) for task in tasks for out in task.out_datasets]
    for name, split, shape in dict.fromkeys([*in_datasets, *out_datasets]):
        with suppress(Exception):  # the run that needs it will say so
            loader.load(name, split, shape)


def evaluate_store(store: str, metrics: Iterable[Metric] | None = None, registry: Registry | None = None) -> Outcome:
    """Apply the metrics (all of them by default) to the stored scores of every finished run again."""
    if metrics is None:
        metrics = (registry or load_registry()).metrics.values()
    record, chosen = Store(store), list(metrics)
    if not record.keys():
        raise StoreError(f"there is no finished run in {store}; `oodbench run` makes one, --store says where")
    record.check_writable()
    failures: list[Failure] = []
    keys = []
    for key in record.keys():
        try:
            with record.claim(key):
                failed = evaluate(record, key, record.out_datasets(key), chosen)
            failures += [Failure(key, out, reason(error)) for out, error in failed.items()]
            keys.append(key)
        except Exception as error:
            failures.append(Failure(key, "", reason(error)))
    return Outcome(keys, record.read_results(keys), failures)


def figure(
    *words: RunRequest,
    path: Path,
    store: str = "results",
    data_dir: Path | None = None,
    count: int = 8,
    title: str = "",
    registry: Registry | None = None,
) -> None:
    """Draw the finished runs that the words name, side by side: one in-data set, and of several seeds the first."""
    registry = registry or load_registry()
    loader = open_loader(registry, data_dir)
    tasks = plan(words, registry, loader)
    in_datasets = list(dict.fromkeys(task.run.in_dataset for task in tasks))
    if len(in_datasets) > 1:
        raise OODBenchError(
            f"a figure shows one in-data set, not {len(in_datasets)}; choose with --in {in_datasets[0]}"
        )
    tasks = [task for task in tasks if task.run.seed == tasks[0].run.seed]
    line = TaskRunner(registry, loader, Store(store), find_device("cpu"), Progress(), force=False)
    splits = {split: loader.load(in_datasets[0], split) for split in SPLITS}
    out_datasets = list(dict.fromkeys(out for task in tasks for out in task.out_datasets))
    sets = [splits["test"], *(loader.load(out, "test", splits["test"].shape) for out in out_datasets)]
    shown = {images.name: images.images[:count] for images in sets}
    figures.draw(shown, [line.panel(task, splits, shown) for task in tasks], path, title)


def _asked(store: Store, out_datasets_by_run: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The results on the out-data sets that this call asked for."""
    results = store.read_results(list(out_datasets_by_run))
    asked = [out in out_datasets_by_run[key] for key, out in zip(results["run"], results["out_dataset"], strict=True)]
    return results[asked].reset_index(drop=True)
