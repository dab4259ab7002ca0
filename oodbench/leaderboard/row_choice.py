"""Which results a word of the command line stands for: a row of a table, a detector, or a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodbench.errors import OODBenchError, UnknownName
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd


def rows_of(results: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the results, labelled by ``add_row_labels``, that a name stands for.

    Args:
        name: the label of a row, a detector that has one row, or the beginning of a run's key.

    Raises UnknownName where it is none of these, OODBenchError where it stands for several.
    """
    by_label = results[results["label"] == name]
    if len(by_label):
        return by_label
    by_detector = results[results["detector"] == name]
    labels = sorted(set(by_detector["label"]))
    if len(labels) == 1:
        return by_detector
    if labels:
        raise OODBenchError(f"{name} has several rows: {', '.join(map(repr, labels))}; name one of them")
    by_run = results[[run.startswith(name) for run in results["run"]]] if name else results.iloc[:0]
    runs = sorted(set(by_run["run"]))
    if len(runs) > 1:
        raise OODBenchError(f"several runs begin with {shorten(name)}: {', '.join(runs[:5])}")
    if not runs:
        raise UnknownName("row or run", name, {*results["label"], *results["run"]})
    return by_run
