"""Selection of the runs of a store that a plot shows, and their labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oodbench.errors import OODBenchError, StoreError, UnknownName
from oodbench.leaderboard.drawing import LINES
from oodbench.leaderboard.row_choice import rows_of
from oodbench.leaderboard.row_labels import add_row_labels
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.store.store import Store

OnDamaged = Callable[[str, StoreError], None] | None


@dataclass(frozen=True)
class PlottedRow:
    """One row of a table, or one run of it.

    Args:
        label: text of the legend.
        runs: seed → run key, by seed.
        in_dataset: what the runs were trained on.
        out_datasets: those that all of the runs have scores of, sorted.
    """

    label: str
    runs: Mapping[int, str]
    in_dataset: str
    out_datasets: Sequence[str]


def select_rows(
    store: Store, names: Sequence[str], in_dataset: str = "", out_dataset: str = "", on_damaged: OnDamaged = None
) -> list[PlottedRow]:
    """Return the rows that match the names, all of one in-data set.

    Args:
        names: labels, detectors with one row, or prefixes of run keys; empty for all rows.
        in_dataset: may be empty where all rows have the same.
        out_dataset: if given, the rows must have scores of it.
        on_damaged: called with each run that cannot be read, which is left out; if None, such a run raises StoreError.

    Raises OODBenchError where a name is unknown or matches several rows, where the rows have several in-data sets, and
    where there are more rows than can be distinguished in a figure.
    """
    results = add_row_labels(store.read_results(on_damaged=on_damaged))
    if results.empty:
        raise OODBenchError(f"{shorten(store.address)} has no results; `oodbench run` makes some")
    if in_dataset:
        if in_dataset not in set(results["in_dataset"]):
            raise UnknownName("in-data set", in_dataset, set(results["in_dataset"]))
        results = results[results["in_dataset"] == in_dataset]
    chosen = [rows_of(results, name) for name in names]
    if not names:
        has_it = results[results["out_dataset"] == out_dataset] if out_dataset else results
        if has_it.empty:
            raise UnknownName("out-data set", out_dataset, set(results["out_dataset"]))
        chosen = [rows for _, rows in results[results["run"].isin(has_it["run"])].groupby("label")]
    rows = [_row(results, found, out_dataset) for found in chosen]
    rows = [*{tuple(row.runs.values()): row for row in rows}.values()]  # one run can be named in two ways
    if len(rows) > LINES:
        raise OODBenchError(f"{len(rows)} rows are more than a figure can tell apart ({LINES}); name fewer")
    _check_in_dataset(rows)
    return rows


def _row(results: pd.DataFrame, rows: pd.DataFrame, out_dataset: str) -> PlottedRow:
    """Return one row of the figure, given all results and those of the row."""
    label = str(rows["label"].iloc[0])
    names = sorted(set(rows["in_dataset"]))
    if len(names) > 1:
        raise OODBenchError(f"{label} has several in-data sets: {shorten(', '.join(names))}; choose one with --in")
    rows = rows.sort_values("seed")
    outs = [set(group["out_dataset"]) for _, group in rows.groupby("run")]
    shared = sorted(set.intersection(*outs))
    if out_dataset and out_dataset not in shared:
        raise UnknownName(f"out-data set of {label}:", out_dataset, shared)
    runs = dict(zip(rows["seed"].tolist(), rows["run"].tolist(), strict=True))
    is_part = len(runs) < results.loc[results["label"] == label, "run"].nunique()
    if is_part:
        label += f", seed {', '.join(map(str, runs))}"
    return PlottedRow(label, runs, names[0], shared)


def _check_in_dataset(rows: Sequence[PlottedRow]) -> None:
    names = sorted({row.in_dataset for row in rows})
    if len(names) > 1:
        raise OODBenchError(f"these rows have several in-data sets: {shorten(', '.join(names))}; choose one with --in")


def one_out_dataset(rows: Sequence[PlottedRow], out_dataset: str) -> str:
    """Return the out-data set to plot: the one given, or else the only one that all rows have.

    Raises OODBenchError where they have none in common, or several.
    """
    if out_dataset:
        return out_dataset
    shared = sorted(set.intersection(*(set(row.out_datasets) for row in rows)))
    if not shared:
        raise OODBenchError("these rows have no out-data set in common")
    if len(shared) > 1:
        raise OODBenchError(f"these rows have several out-data sets: {shorten(', '.join(shared))}; choose with --out")
    return shared[0]
