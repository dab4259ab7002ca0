"""Results as a plain-text table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from oodbench.api import Metric
from oodbench.api.full_spectrum import PREFIX
from oodbench.leaderboard.full_spectrum import covariates, in_full_spectrum
from oodbench.leaderboard.tables import records, value_text
from oodbench.leaderboard.wording import arrow
from oodbench.text import printable

if TYPE_CHECKING:
    import pandas as pd


def summary(results: pd.DataFrame, metrics: Iterable[Metric]) -> str:
    """Return a table of in-data set, out-data set and detector (rows) by metrics, as plain text for the terminal.

    Below it is a table of the same metrics in full spectrum, if there are such results.
    """
    metrics = list(metrics)
    full = results[in_full_spectrum(results)]
    if full.empty:
        return _table(results, metrics)
    table = _table(results, metrics) if len(full) < len(results) else ""
    names = sorted({name for shifted in covariates(full).values() for name in shifted})
    head = printable(f"In full spectrum, images of {', '.join(names)} count as in-distribution too:")
    plain = full.assign(metric=full["metric"].str.removeprefix(PREFIX))
    return "\n\n".join(filter(None, [table, head, _table(plain, metrics)]))


def _table(results: pd.DataFrame, metrics: list[Metric]) -> str:
    import pandas as pd

    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for record in records(results, metrics):
        if record["mean"] is None:
            continue
        seeds = ", ".join(map(str, record["seeds"]))
        row = rows.setdefault((record["in_dataset"], record["out_dataset"], record["label"], seeds), {})
        row[record["metric"]] = value_text(record["mean"], record["sd"])
    named = [dict(zip(("in", "out", "detector", "seeds"), names, strict=True)) | row for names, row in rows.items()]
    arrows = {metric.name: f"{metric.name} {arrow(metric)}" for metric in metrics}
    frame = pd.DataFrame(named).rename(columns=arrows).fillna("–")
    return printable(frame.to_markdown(tablefmt="simple", index=False, disable_numparse=True))
