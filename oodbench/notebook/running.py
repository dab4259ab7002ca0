"""``oodbench.run``: it does what the command ``oodbench run`` does, but returns tables instead of text."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from oodbench.errors import FitError, OODBenchError
from oodbench.notebook.detectors import as_settings
from oodbench.notebook.scorers import progress_display
from oodbench.notebook.stores import StoreReader, open_store
from oodbench.plan.requests import RunRequest, first_seeds
from oodbench.runs import pipeline
from oodbench.runs.task_runner import Failure
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd

Names = str | Sequence[str]


class Runs(Sequence[str]):
    """The runs that a call of ``oodbench.run`` requested: a sequence of their keys, with their results.

    Args:
        outcome: results and failures of the runs.
        store: the store that keeps them.
    """

    def __init__(self, outcome: pipeline.Outcome, store: StoreReader):
        self._outcome = outcome
        self.store = store

    def results(self) -> pd.DataFrame:
        """Return one row per requested run, out-data set and metric (columns: ``docs/columns.md``)."""
        return self._outcome.results.copy()

    @property
    def failures(self) -> Sequence[Failure]:
        """What failed, and why."""
        return tuple(self._outcome.failures)

    def __len__(self) -> int:
        return len(self._outcome.keys)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...

    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        return self._outcome.keys[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outcome.keys)

    def __repr__(self) -> str:
        return f"<{len(self)} runs in {self.store.address}: {', '.join(self)}>"


def run(
    detectors: Names,
    ins: Names,
    outs: Names,
    *,
    covariates: Names = (),
    preset: str = "paper",
    seeds: SupportsIndex | Iterable[SupportsIndex] = 1,
    params: Mapping[str, Any] | None = None,
    precision: str = "float32",
    store: str | os.PathLike[str] = "results",
    data_dir: str | Path | None = None,
    device: str = "auto",
    jobs: int = 1,
    force: bool = False,
    quiet: bool = False,
) -> Runs:
    """Fit detectors to in-data sets, score these and the out-data sets, and keep everything in a store.

    Every combination is run. Runs already finished in the store are not repeated, and an interrupted fit resumes from
    its last checkpoint. A failure becomes a warning, and does not stop the others.

    Args:
        detectors: a name, or several, as after ``--detector``.
        ins: the same, as after ``--in``.
        outs: the same, as after ``--out``.
        covariates: the same, as after ``--covariate``.
        seeds: a number of seeds, 3 for 0, 1 and 2; or the seeds themselves: ``[3, 5]``.
        params: parameters that override the preset, for every detector that has them or, with a name such as
            ``ebae.latent_dim``, for one; groups are mappings or dotted names.
        store: folder or fsspec address.
        data_dir: folder of the data sets' files; None for the user's data folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        jobs: number of runs at once, each in a process of its own.
        force: do everything again, even what is finished.
        quiet: show no progress.

    Raises OODBenchError before anything is run if a name or a value is invalid; FitError if every run failed.
    """
    request = RunRequest(
        detectors=_names(detectors),
        in_datasets=_names(ins),
        out_datasets=_names(outs),
        covariates=_names(covariates),
        seeds=_seeds(seeds),
        preset=preset,
        sets=as_settings(params or {}),
        precision=precision,
    )
    address = os.fspath(store)
    options = pipeline.ExecutionOptions(address, Path(data_dir) if data_dir else None, device, _jobs(jobs), force)
    with progress_display(quiet) as progress:
        outcome = pipeline.run(request, options=options, progress=progress)
    told = [" → ".join(filter(None, [each.run, each.out_dataset])) + f": {each.error}" for each in outcome.failures]
    if not outcome.keys:
        raise FitError(f"every run failed; {'; '.join(told)}")
    for text in told:
        warnings.warn(f"failed: {text}", RuntimeWarning, stacklevel=2)
    return Runs(outcome, open_store(address, data_dir=data_dir))


def _jobs(jobs: SupportsIndex) -> int:
    try:
        count = operator.index(jobs)
    except TypeError:
        count = 0
    if count < 1:
        raise OODBenchError(f"jobs is the number of runs at once, 1 or more, not {shorten(repr(jobs))}")
    return count


def _seeds(seeds: SupportsIndex | Iterable[SupportsIndex]) -> tuple[int, ...]:
    """Return the seeds that ``seeds`` means, as Python ints; records cannot contain NumPy's integers."""
    try:
        if isinstance(seeds, Iterable):
            chosen = tuple(map(operator.index, seeds))
        else:
            chosen = first_seeds(operator.index(seeds))
    except TypeError:
        raise OODBenchError(f"seeds is a number or a list of numbers, not {shorten(repr(seeds))}") from None
    if not chosen:
        raise OODBenchError("seeds is empty: a run needs at least one")
    return chosen


def _names(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
