"""What the tables of a page say, as plain data: cells over seeds, their ranks, and how the runs were made.

Results are rows as ``Store.read_results`` gives them. Values stay as they are: an AUROC below 0.5 is a finding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.api import Metric
from oodbench.errors import OODBenchError
from oodbench.leaderboard.row_labels import add_row_labels

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cell:
    """One detector's value in one column: mean over seeds, sample standard deviation (None for one seed).

    ``is_best`` says that no other row has a better mean, to the three digits that are shown.
    """

    mean: float
    sd: float | None
    is_best: bool

    @property
    def text(self) -> str:
        """``0.957 ± 0.003``."""
        return value_text(self.mean, self.sd)


@dataclass(frozen=True)
class RankedTable:
    """Detectors by out-data sets for one metric.

    Args:
        rows: the labels of the detectors, best mean first; those that lack a cell come last.
        columns: (in-data set, out-data set), sorted.
        cells: (row, column) → cell; a combination that was not run is missing.
    """

    metric: Metric
    rows: list[str]
    columns: list[tuple[str, str]]
    cells: dict[tuple[str, tuple[str, str]], Cell]


def ranked(results: pd.DataFrame, in_dataset: str | None, metric: Metric) -> RankedTable:
    """Return the table of one metric for one in-data set, or for all of them where ``in_dataset`` is None."""
    chosen = results if in_dataset is None else results[results["in_dataset"] == in_dataset]
    found = {
        (record["label"], (record["in_dataset"], record["out_dataset"])): record for record in records(chosen, [metric])
    }
    rows = sorted({label for label, _ in found})
    columns = sorted({column for _, column in found})
    shown = {place: float(np.round(record["mean"], 3)) for place, record in found.items()}
    pick = max if metric.higher_is_better else min
    best = {column: pick(shown[row, column] for row in rows if (row, column) in shown) for column in columns}
    cells = {
        place: Cell(record["mean"], record["sd"], shown[place] == best[place[1]]) for place, record in found.items()
    }

    def rank(row: str) -> tuple[int, float]:
        means = [cells[row, column].mean for column in columns if (row, column) in cells]
        return len(columns) - len(means), float(np.mean(means)) * (-1 if metric.higher_is_better else 1)

    return RankedTable(metric, sorted(rows, key=rank), columns, cells)


def records(results: pd.DataFrame, metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """Return one dict per detector, in-data set, out-data set and metric, over its seeds; all of it fit for JSON.

    ``label`` tells apart the parameters that one detector was run with; ``sd`` (ddof 1) is None for one seed.
    Raises OODBenchError, naming the command that makes some, where there are no results.
    """
    metrics = list(metrics)
    chosen = chosen_results(add_row_labels(results), metrics)
    groups = dict(list(chosen.groupby(["in_dataset", "out_dataset", "label", "metric"])))
    triples = sorted({key[:3] for key in groups})
    return [
        _record(groups[*triple, metric.name], metric)
        for triple in triples
        for metric in metrics
        if (*triple, metric.name) in groups
    ]


def chosen_results(results: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """Return the rows of these metrics. Raises OODBenchError, naming the command that makes some, if there are none."""
    if results.empty:
        raise OODBenchError("there are no results yet; `oodbench run --detector … --in … --out …` makes some")
    chosen = results[results["metric"].isin([metric.name for metric in metrics])]
    if chosen.empty:
        names = ", ".join(metric.name for metric in metrics) or "no metric"
        raise OODBenchError(f"there are no results of {names} yet; `oodbench evaluate` makes them from stored scores")
    return chosen


def _record(group: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    """The rows of one cell, one a seed."""
    group = group.sort_values("seed")
    first = group.iloc[0]
    if len(set(group.get("out_images", [])) - {""}) > 1:
        raise OODBenchError(
            f"{first['label']} has scores of different images of {first['out_dataset']} for its seeds "
            f"{', '.join(map(str, group['seed']))}: `oodbench run` with all of them scores those that are there now"
        )
    facts = {name: first[name] for name in ("detector", "label", "preset", "precision", "plugin_version")}
    return {
        **facts,
        "params": json.loads(first["params"]),
        "in_dataset": first["in_dataset"],
        "out_dataset": first["out_dataset"],
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "mean": float(group["value"].mean()),
        "sd": float(group["value"].std(ddof=1)) if len(group) > 1 else None,
        "values": group["value"].tolist(),
        "seeds": group["seed"].tolist(),
        "runs": group["run"].tolist(),
        "n_train": int(first["n_train"]),
        "n_in": int(first["n_in"]),
        "n_out": int(first["n_out"]),
        "notes": sorted({note for note in group["notes"] if note}),
    }


def value_text(mean: float, sd: float | None) -> str:
    """Return ``0.957 ± 0.003``; ``sd`` is None, or NaN where pandas made it so, for one seed."""
    return f"{mean:.3f}" if sd is None or sd != sd else f"{mean:.3f} ± {sd:.3f}"


# ------------------------------------------------------------------------- how runs were made


def run_facts(results: pd.DataFrame) -> pd.DataFrame:
    """Return how the runs of one in-data set were made, one row per label."""
    import pandas as pd

    rows = {label: _fact(runs.drop_duplicates("run")) for label, runs in results.groupby("label")}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def _fact(runs: pd.DataFrame) -> dict[str, str]:
    return {
        "preset": _each(runs["preset"]),
        "precision": _each(runs["precision"]),
        "plugin version": _each(runs["plugin_version"]),
        "seeds": ", ".join(map(str, sorted(runs["seed"]))),
        "training images": _counts(runs["n_train"]),
        "parameters": _counts(runs["parameters"]),
        "fit seconds": f"{runs['fit_seconds'].mean():,.1f}",
        "device": _each(runs["device"]),
    }


def image_counts(results: pd.DataFrame) -> tuple[str, dict[str, str]]:
    """Return how many in-images were scored, and how many of each out-data set."""
    outs = {str(out): _counts(rows["n_out"]) for out, rows in results.groupby("out_dataset")}
    return _counts(results["n_in"]), outs


def run_notes(results: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return the notes of each in-data set and label that has some, each with the seeds that it is about."""
    texts = {}
    noted = results[results["notes"] != ""].drop_duplicates("run")
    for (in_dataset, label), runs in noted.groupby(["in_dataset", "label"]):
        each = [f"{text} (seed {', '.join(map(str, sorted(of['seed'])))})" for text, of in runs.groupby("notes")]
        texts[str(in_dataset), str(label)] = f"{label} on {in_dataset}: {'; '.join(each)}"
    return texts


def _each(values: pd.Series) -> str:
    return ", ".join(sorted(set(values)))


def _counts(values: pd.Series) -> str:
    return " or ".join(f"{value:,}" for value in sorted(set(values)))
