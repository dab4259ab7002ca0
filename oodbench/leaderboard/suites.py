"""The folder of a suite: what to run, its results, what others reported, and the page of all this.

suite.toml        what to run
results.parquet   the results that the page shows
reported.toml     figures that others reported (see ``reported``); may be missing
notes.md          notes by a person, for the head of the page; may be missing
README.md         the page, generated from the others, so that anyone can verify it
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api import Run
from oodbench.api.full_spectrum import covariate_sets
from oodbench.api.record import base_without_paths, without_paths
from oodbench.data.loading import Loader
from oodbench.errors import OODBenchError, StoreError
from oodbench.folders import cache_folder, data_folder
from oodbench.leaderboard import tables
from oodbench.leaderboard.failures import related_failures
from oodbench.leaderboard.groups import Groups, group_records
from oodbench.leaderboard.publication import ROW_ORDER
from oodbench.leaderboard.reported import LiteratureResult, compare, read_reported
from oodbench.leaderboard.row_labels import configurations
from oodbench.plan.requests import RunRequest, override
from oodbench.plan.suite_files import MEAN, read_suite_file
from oodbench.plan.tasks import Task, plan
from oodbench.reading import read_text
from oodbench.runs.states import suite_states
from oodbench.store.schema import IDENTITY_COLUMNS
from oodbench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.api import Metric
    from oodbench.plugin.registry import Registry

MADE_BY = "In this folder, `oodbench run suite.toml` makes them, and `oodbench publish results .` puts them here."
IDENTITY = list(IDENTITY_COLUMNS)


@dataclass(frozen=True)
class Suite:
    """The content of a suite's folder, except the results.

    Args:
        requests: what to run; empty if there is no suite, and all results are meant.
        reported: figures of others; None where there is no such file.
        notes: Markdown that opens the page.
        groups: of out-data sets, whose means are columns.
        rank: the column that rows are ranked by; ``mean`` for the mean of all.
    """

    requests: Sequence[RunRequest] = ()
    reported: Sequence[LiteratureResult] | None = None
    notes: str = ""
    groups: Groups = field(default_factory=dict)
    rank: str = MEAN

    @property
    def title(self) -> str:
        """The heading of the page; empty where the suite has none."""
        return next((request.title for request in self.requests if request.title), "")

    def named(self, field: str) -> set[str]:
        """Return the names that any of the requests has in this field, such as ``in_datasets``."""
        return {name for request in self.requests for name in getattr(request, field)}


@dataclass(frozen=True)
class StoredResults:
    """The results of a suite in a store.

    Args:
        results: of the suite's runs, failures included.
        missing: number of the suite's runs that have none.
        partial: number of those that have some, but lack an out-data set that has not failed.
        running: number of runs that a process works on now; 0 if no run is missing or partial.
        others: results of all other runs.
    """

    results: pd.DataFrame
    missing: int
    partial: int
    running: int
    others: pd.DataFrame

    def lack(self, store: str, path: Path, words: str = "") -> str:
        """Return a sentence on what is missing; empty where nothing is.

        Args:
            path: the suite's file or folder.
            words: options of ``oodbench run`` that produce the results.
        """
        if not self.missing and not self.partial:
            return ""
        how_far = f"`oodbench status {path} --store {store}`"
        runs = "1 run is" if self.running == 1 else f"{self.running} runs are"
        running = f" ({runs} being worked on: {how_far})" if self.running else ""
        lack = [f"{self.missing} of the suite's runs are not in {store}"] if self.missing else []
        lack += [f"{self.partial} of the suite's runs lack some of their out-data there"] if self.partial else []
        return f"{', and '.join(lack)}{running}; `oodbench run {path}{words}` makes them"


def open_suite(path: Path) -> Suite:
    """Return the suite in this file or folder, with the files beside it."""
    folder = path if os.path.isdir(path) else path.parent
    reported, notes = folder / "reported.toml", folder / "notes.md"
    read = read_suite_file(path)
    return Suite(
        read.requests,
        read_reported(reported) if os.path.lexists(reported) else None,
        read_text(notes).strip() if os.path.lexists(notes) else "",
        read.groups,
        read.rank,
    )


# ---------------------------------------------------------------------------------------- results


def stored_results(
    suite: Suite, store: str, registry: Registry, on_damaged: Callable[[str, StoreError], None] | None = None
) -> StoredResults:
    """Return the results of a suite in a store, and how many of the suite's runs have none.

    A result belongs to the suite if its detector, plugin version, parameters, in-data set, seed, precision and out-data
    set match, and in full spectrum also its covariate-shifted sets. Data files are needed only for in-data named by a
    path, to know their shape. A run that cannot be read is reported to ``on_damaged``, and left out.
    """
    import pandas as pd

    record = Store(store)
    results = record.read_results(on_damaged=on_damaged)
    failures = record.read_failures(on_damaged=on_damaged)
    if not suite.requests:
        failures = related_failures(failures, results)
    if len(failures):
        results = pd.concat([results, failures], ignore_index=True) if len(results) else failures
    if not suite.requests:
        return StoredResults(results, 0, 0, 0, results.iloc[:0])
    tasks = plan(suite.requests, registry, Loader(registry, data_folder(), cache_folder()))
    tasks_by_run = {_identity(task.run): task for task in tasks}
    identities = map(tasks_by_run.get, configurations(results, IDENTITY))
    places = zip(identities, results["metric"], results["out_dataset"], results["covariate"], strict=True)
    is_of_suite = np.array([task is not None and _is_wanted(task, *place) for task, *place in places], dtype=bool)
    found = _in_order(results[is_of_suite])
    done = found[found["metric"] != ""]
    there = {*configurations(done, IDENTITY)}
    known = {*configurations(found, [*IDENTITY, "out_dataset"])}  # failures, too
    partial = sum(
        any((*identity, name) not in known for name in tasks_by_run[identity].out_datasets) for identity in there
    )
    missing = len(tasks_by_run) - len(there)
    running = sum(each.state == "running" for each in suite_states(record, tasks)) if missing or partial else 0
    return StoredResults(found, missing, partial, running, _in_order(results[~is_of_suite]))


def _is_wanted(task: Task, metric: str, out_dataset: str, covariate: str) -> bool:
    """Whether a row of the task's run is a requested result, or a failure of the run or of a data set to score."""
    if not metric:
        return out_dataset in ("", *task.scored)
    covariates = (*covariate_sets(covariate),)
    return out_dataset in task.out_datasets and covariates in ((), task.covariates)


def _identity(run: Run) -> tuple[str | int, ...]:
    """Return what identifies a run, in the order of IDENTITY, without its images, which need not be available."""
    params = without_paths(run.params)
    facts = (run.detector, run.version, run.distribution, params, run.in_dataset, run.seed, run.precision)
    return (*facts, base_without_paths(run.base_text))


def installed(suite: Suite, registry: Registry, published: pd.DataFrame, on_missing: Callable[[str], None]) -> Suite:
    """Return the suite without the detectors that are not installed here; each is reported to ``on_missing``.

    Args:
        published: results that say which package a detector came from.

    Raises OODBenchError where none is installed.
    """
    wanted = dict.fromkeys(name for request in suite.requests for name in request.detectors)
    packages = dict(zip(published["detector"], published["distribution"], strict=True))
    missing = [name for name in wanted if not registry.has_detector(name)]
    for name in missing:
        origin = f" comes from {packages[name]}, which" if packages.get(name) else ""
        on_missing(f"this suite's {name}{origin} is not installed; its published results stay as they are")
    requests = [
        replace(request, detectors=tuple(name for name in request.detectors if name not in missing))
        for request in suite.requests
    ]
    if not any(request.detectors for request in requests):
        raise OODBenchError("none of the suite's detectors is installed here; nothing can be added to it")
    return replace(suite, requests=[request for request in requests if request.detectors])


def of_detectors(suite: Suite, detectors: Sequence[str]) -> Suite:
    """Return the suite with these detectors in place of its own, as ``oodbench run SUITE --detector`` runs it."""
    return replace(suite, requests=override(suite.requests, RunRequest(detectors=tuple(detectors))))


def _in_order(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in an order that does not depend on where they were read from."""
    return results.sort_values(ROW_ORDER, ignore_index=True)


# ------------------------------------------------------------------------------------------ views


def introduction(suite: Suite, results: pd.DataFrame) -> str:
    """Return the Markdown that opens the suite's page: its notes, and what to do if there are no results."""
    to_do = "" if (results["metric"] != "").any() else f"There are no results of ours here yet. {MADE_BY}"
    return "\n\n".join(filter(None, [suite.notes, to_do]))


def records(suite: Suite, results: pd.DataFrame, metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """Return our cells as ``tables.records`` does, and the means of the suite's groups.

    The list is empty if there are only reported figures.
    """
    if suite.reported is not None and not (results["metric"] != "").any():
        return []
    cells = tables.records(results, metrics)
    return [*cells, *group_records(cells, suite.groups)]


def comparison(suite: Suite, results: pd.DataFrame, metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """Return every reported figure of these metrics beside ours (see ``reported.compare``)."""
    metrics = list(metrics)
    names = {metric.name for metric in metrics}
    figures = [figure for figure in suite.reported or () if figure.metric in names]
    if not figures:
        raise OODBenchError("the suite has no reported figures; they stand in a file reported.toml beside it")
    return compare(records(suite, results, metrics), figures)
