"""A check that the stated code gives the published scores: some runs are fitted again, and their scores compared."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from oodbench.api import Progress, Run
from oodbench.errors import OODBenchError
from oodbench.leaderboard.full_spectrum import covariate_places
from oodbench.leaderboard.publication import Publication
from oodbench.leaderboard.statistics import auroc_interval
from oodbench.plan.tasks import Task
from oodbench.runs.pipeline import ExecutionOptions, execute
from oodbench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.data.loading import Loader
    from oodbench.plugin.registry import Registry


def rerun(found: Publication, count: int, registry: Registry, loader: Loader, progress: Progress) -> Iterator[str]:
    """Fit some of the runs again, and yield a line for each out-data set on which the scores deviate too much.

    With the same device, threads and versions, scores are the same, which is reported. Otherwise rounding leads to
    another fit; then the AUROC must lie within the published 95 % interval.

    Args:
        count: number of runs, chosen at random among those whose detector is installed.
    """
    rows = found.results[(found.results["metric"] != "") & found.results["detector"].isin(registry.detector_names)]
    runs = [
        str(run)
        for run, of_run in rows.groupby("run")
        if all((run, name) in found.scores for name in (of_run["in_dataset"].iloc[0], *_scored(of_run)))
    ]
    if not runs:
        raise OODBenchError("none of the published runs has all its scores and a detector that is installed here")
    for key in random.sample(runs, min(count, len(runs))):
        of_run = rows[rows["run"] == key]
        with tempfile.TemporaryDirectory() as folder:
            progress.message(f"fitting {key} again")
            task = _task(of_run, registry, progress)
            outcome = execute([task], registry, loader, ExecutionOptions(store=folder), progress)
            if outcome.failures or not outcome.keys:
                yield f"{key} cannot be fitted again: {outcome.failures[0].error}"
                continue
            yield from _compared(found, key, of_run, Store(folder), outcome.keys[0], progress)


def _task(rows: pd.DataFrame, registry: Registry, progress: Progress) -> Task:
    """Return a task for the run and its bases, with the installed code, which may be newer."""
    row = rows.iloc[0]
    then = Run(
        row["detector"], row["plugin_version"], row["params"], row["in_dataset"], int(row["seed"]), row["precision"],
        row["preset"], row["distribution"],
    ).with_base_text(row["base"])  # fmt: skip
    here = _with_code_here(then, registry)
    if here != then:
        code = (f"{each.distribution} {each.version}" for each in (then, here))
        progress.message("{} was run by {}; here is {}".format(row["run"], *code))
    return Task(here, _scored(rows))


def _scored(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the out-data sets, then the covariate-shifted sets, whose scores are compared in the same way."""
    shifted = sorted(name for _, name in covariate_places(rows))
    return tuple(dict.fromkeys([*rows["out_dataset"], *shifted]))


def _with_code_here(run: Run, registry: Registry) -> Run:
    source = registry.source("detector", run.detector)
    base = _with_code_here(run.base, registry) if run.base else None
    return replace(run, version=source.code_version, distribution=source.distribution, base=base)


def _compared(
    found: Publication, key: str, rows: pd.DataFrame, store: Store, again: str, progress: Progress
) -> Iterator[str]:
    in_dataset = rows["in_dataset"].iloc[0]
    inside, inside_again = found.scores[key, in_dataset].values, store.read_scores(again, None).values
    for out_dataset in _scored(rows):
        out, out_again = found.scores[key, out_dataset].values, store.read_scores(again, out_dataset).values
        if np.array_equal(inside, inside_again) and np.array_equal(out, out_again):
            progress.message(f"{key} on {out_dataset}: every score is the same")
            continue
        interval, value = auroc_interval(inside, out), auroc_interval(inside_again, out_again).value
        text = f"auroc {value:.4f} for {interval.value:.4f} ({interval.low:.4f}–{interval.high:.4f})"
        progress.message(f"{key} on {out_dataset}: other scores; {text}")
        if not interval.low <= value <= interval.high:
            yield f"{key} on {out_dataset}: fitted again it gives {text}"
