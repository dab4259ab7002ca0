"""Selection of results by a word of the command line: the label of a row, a detector, or run keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodbench.errors import OODBenchError, UnknownName
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd


def all_rows_of(results: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the results, labelled by ``add_row_labels``, that match a name, possibly of several rows.

    Args:
        name: the label of a row, else a detector, else a prefix of run keys that contains the whole detector name:
            ``vae`` is no prefix of the runs of ``vae-likelihood``.

    Raises UnknownName where it is none of these.
    """
    begins = [
        run.startswith(name) and name.startswith(f"{detector}-")
        for run, detector in zip(results["run"], results["detector"], strict=True)
    ]
    for is_named in (results["label"] == name, results["detector"] == name, begins):
        found = results[is_named]
        if len(found):
            return found
    raise UnknownName("row or run", name, {*results["label"], *results["run"]})


def rows_of(results: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the results of the one row, or the one run, that matches a name (see ``all_rows_of``).

    Raises OODBenchError where several match.
    """
    found = all_rows_of(results, name)
    if (found["label"] == name).all():
        return found
    labels, runs = sorted(set(found["label"])), sorted(set(found["run"]))
    if (found["detector"] == name).all():
        if len(labels) > 1:
            raise OODBenchError(f"{name} has several rows: {', '.join(map(repr, labels))}; name one of them")
    elif len(runs) > 1:
        rows = " or ".join(map(repr, labels[:2]))
        raise OODBenchError(
            f"several runs begin with {shorten(name)}: {', '.join(runs[:5])}; write more of it, or name the row, which "
            f"is all of its seeds: {rows}"
        )
    return found
