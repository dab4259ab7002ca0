"""The tables of a page as plain data: cells over seeds, and their ranks.

Results are rows as ``Store.read_results`` returns them. Values are never flipped: an AUROC below 0.5 is a finding.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api import Metric
from oodbench.api.full_spectrum import covariate_sets
from oodbench.errors import OODBenchError
from oodbench.leaderboard.failures import failed_seeds, is_failure, mixed_images
from oodbench.leaderboard.full_spectrum import SPECTRUM
from oodbench.leaderboard.groups import NO_GROUPS, Groups, group_records
from oodbench.leaderboard.row_labels import add_row_labels
from oodbench.plan.suite_files import MEAN
from oodbench.store.schema import PUBLISHED_COLUMNS

if TYPE_CHECKING:
    import pandas as pd


Row = dict[str, Any]
ROW_COLUMNS = (
    "run", "label", "detector", "preset", "precision", "plugin_version", "params", "in_dataset", "out_dataset",
    "metric", "value", "seed", "n_train", "n_in", "n_out", "notes", "out_images", "covariate",
)  # fmt: skip
"""Columns that a cell is made from."""
SLACK = 1e-6  # so that .951 is not rounded to .950
ALPHA = 0.05
"""Below this adjusted p-value two rows differ significantly."""


@dataclass(frozen=True)
class Cell:
    """One detector's value in one column.

    Args:
        mean: over seeds; None where no seed has a value, or their values cannot be averaged.
        sd: sample standard deviation; None for one seed.
        is_best: for published results, whether the cell is the best of its column or not significantly worse, tested
            on the same images; for others, whether no other mean is better in the three digits that are shown. A cell
            with failed seeds is never the best: the mean of the others says less.
        seeds: number of seeds with a value, and of all that were run.
        fits: seed, value and 95 % interval over images of each seed; the interval only where results are published.
        problem: why the values cannot be averaged.
        p_best: for published results, the p of the test against the best of the column; None where it was not tested.
    """

    mean: float | None
    sd: float | None
    is_best: bool
    seeds: tuple[int, int]
    fits: Sequence[tuple[int, float, tuple[float, float] | None]] = ()
    problem: str = ""
    p_best: float | None = None

    @property
    def text(self) -> str:
        """``0.957 ± 0.003``, or for one seed ``0.957 (0.951–0.962)``.

        ``0.957 ± 0.003 (2 of 3)`` where a seed failed; ``failed`` where all did.
        """
        if self.problem:
            return "not comparable"
        if self.mean is None:
            return "failed"
        there, all_ = self.seeds
        lost = f" ({there} of {all_})" if there < all_ else ""
        interval = self.fits[0][2] if len(self.fits) == 1 else None
        return value_text(self.mean, self.sd) + (f" ({interval_text(interval)})" if interval else "") + lost


@dataclass(frozen=True)
class RankedTable:
    """Detectors by out-data sets for one metric.

    Args:
        rows: the labels of the detectors that are shown, best mean first; those that lack a cell come last.
        columns: (in-data set, out-data set), sorted.
        cells: (row, column) → cell; a combination that was not run is missing.
        groups: (in-data set, name of a group) → its out-data sets; a column whose cells are means over these.
        not_shown: all other rows that have cells.
    """

    metric: Metric
    rows: list[str]
    columns: list[tuple[str, str]]
    cells: dict[tuple[str, tuple[str, str]], Cell]
    groups: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    not_shown: Sequence[str] = ()


@dataclass(frozen=True)
class Order:
    """Which rows of a table come first, and how many of them are shown.

    Args:
        sort: the group or out-data set whose column orders the rows, in tables that have it; else their mean over all
            out-data sets.
        top: the number of rows; None for all.
    """

    sort: str = MEAN
    top: int | None = None


BY_MEAN = Order()


def ranked(
    measured: Sequence[dict[str, Any]], metric: Metric, order: Order = BY_MEAN, groups: Groups = NO_GROUPS
) -> RankedTable:
    """Return the table of one metric, given the records of its cells (see ``records``).

    The best cells are found among all rows, including those that are not shown.
    """
    columns = sorted({(record["in_dataset"], record["out_dataset"]) for record in measured})
    means = group_records(measured, groups)
    found = {(record["label"], (record["in_dataset"], record["out_dataset"])): record for record in [*measured, *means]}
    grouped = {(record["in_dataset"], record["out_dataset"]): tuple(record["mean_of"]) for record in means}
    cells = _cells(found, metric)
    ranking = [column for column in (*grouped, *columns) if column[1] == order.sort] or columns

    def rank(row: str) -> tuple[int, float]:
        there = [cells[row, column].mean for column in ranking if (row, column) in cells]
        means = [mean for mean in there if mean is not None]
        mean = float(np.mean(means)) if means else 0.0
        return len(ranking) - len(means), mean * (-1 if metric.higher_is_better else 1)

    rows = sorted(sorted({label for label, _ in found}), key=rank)
    top = len(rows) if order.top is None else order.top
    return RankedTable(metric, rows[:top], columns, cells, grouped, rows[top:])


def _cells(found: Mapping[tuple[str, tuple[str, str]], Mapping[str, Any]], metric: Metric) -> dict[Any, Cell]:
    """Return (row, column) → cell, given (row, column) → record."""
    pick = max if metric.higher_is_better else min
    shown = {place: float(f"{record['mean']:.3f}") for place, record in found.items() if record["mean"] is not None}
    best: dict[tuple[str, str], float] = {}
    spectra: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for place in shown:
        spectra.setdefault(place[1], set()).add((*found[place]["covariate"],))
    for place, value in shown.items():
        if not found[place]["failed_seeds"] and len(spectra[place[1]]) == 1:  # else they are of different images
            best[place[1]] = pick(best.get(place[1], value), value)
    return {
        place: Cell(
            record["mean"],
            record["sd"],
            _is_best(record, place in shown and shown[place] == best.get(place[1])),
            (len(record["seeds"]), len(record["seeds"]) + len(record["failed_seeds"])),
            [*zip(record["seeds"], record["values"], record["intervals"], strict=True)],
            record["problem"],
            record["p_best"],
        )
        for place, record in found.items()
    }


def _is_best(record: Mapping[str, Any], has_best_mean: bool) -> bool:
    if record["failed_seeds"] or record["mean"] is None:
        return False
    if not record["is_published"]:
        return has_best_mean
    return record["p_best"] is not None and record["p_best"] >= ALPHA


def records(results: pd.DataFrame, metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """Return one dict per detector, in-data set, out-data set and metric, over its seeds, in types that JSON has.

    ``label`` distinguishes the parameters that a detector was run with; ``sd`` (ddof 1) is None for one seed; ``mean``
    is None if all seeds failed, or if they cannot be averaged, for the reason in ``problem``. ``failed_seeds`` are the
    seeds without a result, and ``covariate`` the covariate-shifted sets of a metric in full spectrum. Raises
    OODBenchError, naming the command that makes some, where there are no results.
    """
    metrics = list(metrics)
    chosen = chosen_results(add_row_labels(results), metrics)
    failed = failed_seeds(chosen)
    groups: dict[tuple[str, str, str], dict[str, list[Row]]] = {}
    first: dict[tuple[str, str], Row] = {}  # of each label, for the facts of one that failed as a whole
    for row in _rows(chosen):
        first.setdefault((row["in_dataset"], row["label"]), row)
        if row["metric"]:
            triple = (row["in_dataset"], row["out_dataset"], row["label"])
            groups.setdefault(triple, {}).setdefault(row["metric"], []).append(row)
    return [
        _record(rows, failed.get(triple, {}), first[triple[0], triple[2]], triple, metric)
        for triple in sorted(groups.keys() | failed.keys())
        for metric in metrics
        if (rows := groups.get(triple, {}).get(metric.name, [])) or triple in failed
    ]


def _rows(results: pd.DataFrame) -> list[Row]:
    """Return plain dicts, by seed: a store has tens of thousands of rows, and pandas is slow row by row."""
    names = [name for name in (*ROW_COLUMNS, *PUBLISHED_COLUMNS) if name in results]
    columns = [results[name].tolist() for name in names]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return sorted(rows, key=lambda row: row["seed"])


def chosen_results(results: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """Return the rows of these metrics, and those of failures.

    Raises OODBenchError, naming the command that makes some, if there are no rows of these metrics.
    """
    if results.empty:
        raise OODBenchError("there are no results yet; `oodbench run --detector … --in … --out …` makes some")
    chosen = results[results["metric"].isin(["", *(metric.name for metric in metrics)])]
    if is_failure(chosen).all():
        names = ", ".join(metric.name for metric in metrics) or "no metric"
        raise OODBenchError(f"there are no results of {names} yet; `oodbench evaluate` makes them from stored scores")
    for metric in metrics:
        values = chosen.loc[chosen["metric"] == metric.name]
        outside = values[~values["value"].between(*metric.bounds)]
        for run, value in zip(outside["run"], outside["value"], strict=True):
            raise OODBenchError(f"a {metric.name} of {run} is {value}: no {metric.name} can be; `oodbench evaluate`")
    return chosen


def _record(
    rows: Sequence[Row], failed: Mapping[int, str], first: Row, place: tuple[str, str, str], metric: Metric
) -> dict[str, Any]:
    """Return one cell, given its rows, one per seed, the failed seeds, and, if all failed, a row of the same label."""
    in_dataset, out_dataset, label = place
    first = rows[0] if rows else first
    seeds, values = [row["seed"] for row in rows], [row["value"] for row in rows]
    problem = mixed_images(label, out_dataset, seeds, [row.get("out_images", "") for row in rows])
    covariates = [row.get("covariate", "") for row in rows]
    problem = problem or mixed_images(label, SPECTRUM, seeds, covariates)
    facts = {name: first[name] for name in ("detector", "label", "preset", "precision", "plugin_version")}
    return {
        **facts,
        "params": json.loads(first["params"]),
        "in_dataset": in_dataset,
        "out_dataset": out_dataset,
        "covariate": [*covariate_sets(covariates[0])] if covariates else [],
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "mean": statistics.fmean(values) if rows and not problem else None,
        "sd": sample_sd(values) if not problem else None,
        "values": values,
        "intervals": [_interval(row) for row in rows],
        "is_published": "p_best" in first,
        "p_best": None if not rows else _number(first.get("p_best")),
        "seeds": seeds,
        "failed_seeds": sorted(failed),
        "problem": problem,
        "runs": [row["run"] for row in rows],
        "n_train": int(first["n_train"]),
        "n_in": int(first["n_in"]),
        "n_out": int(first["n_out"]),
        "notes": sorted({row["notes"] for row in rows if row["notes"]}),
    }


def sample_sd(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation; None for fewer than two values. Much faster than NumPy's for a few."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _interval(row: Row) -> tuple[float, float] | None:
    """Return the interval of a published value; None where it has no scores, or is not published."""
    low, high = _number(row.get("low")), _number(row.get("high"))
    return None if low is None or high is None else (low, high)


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else value


def interval_text(interval: tuple[float, float]) -> str:
    """Return ``0.951–0.962``, rounded outward: no interval reads (1, 1)."""
    low, high = (math.floor(interval[0] * 1000 + SLACK) / 1000, math.ceil(interval[1] * 1000 - SLACK) / 1000)
    return f"{low:.3f}–{high:.3f}"


def value_text(mean: float, sd: float | None) -> str:
    """Return ``0.957 ± 0.003``; only the mean for one seed, where ``sd`` is None, or NaN from pandas."""
    return f"{mean:.3f}" if sd is None or sd != sd else f"{mean:.3f} ± {sd:.3f}"
