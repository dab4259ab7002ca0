"""Histograms of the scores of single runs, in-images beside out-images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oodbench.errors import OODBenchError
from oodbench.leaderboard.drawing import IN_COLOUR, bin_edges, label_outer, line_style, paper_style, plain_text, save
from oodbench.leaderboard.plots.selection import OnDamaged, PlottedRow, select_rows
from oodbench.leaderboard.statistics import auroc_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from oodbench.store.store import Store

MOST_PANELS = 36
COLUMNS = 3


@dataclass(frozen=True)
class ScoredRun:
    """One panel: a run's scores of the in-images (n,), and out-data set → scores of its images (m,)."""

    title: str
    in_scores: np.ndarray
    out_scores: dict[str, np.ndarray]


def draw_scores(
    store: Store,
    names: Sequence[str],
    path: Path,
    in_dataset: str = "",
    out_datasets: Sequence[str] = (),
    title: str = "",
    on_damaged: OnDamaged = None,
) -> None:
    """Draw a panel for each run of the rows (see ``select_rows``).

    Args:
        out_datasets: those to show; empty for all that the runs of a row have scores of.
    """
    rows = select_rows(store, names, in_dataset, next(iter(out_datasets), ""), on_damaged)
    runs = [run for row in rows for run in _runs(store, row, out_datasets)]
    if len(runs) > MOST_PANELS:
        raise OODBenchError(f"{len(runs)} runs are more than a figure holds ({MOST_PANELS}); name fewer")
    shown = list(dict.fromkeys(name for run in runs for name in run.out_scores))
    columns = min(COLUMNS, len(runs))
    lines = -(-len(runs) // columns)
    with paper_style():
        from matplotlib.figure import Figure

        size = (max(3.6, 2.4 * columns), 1.9 * lines + 0.6)
        figure = Figure(figsize=size, layout="constrained", dpi=300)
        places: np.ndarray = figure.subplots(lines, columns, squeeze=False)
        for axes, run in zip(places.flat, runs, strict=False):
            _draw_run(axes, run, shown)
        label_outer(places, len(runs), "score (higher is more OOD)", "share of images")
        figure.suptitle(plain_text(title or f"in: {rows[0].in_dataset}", 90), fontsize=8)
        handles = {name: handle for axes in figure.axes for handle, name in zip(*axes.get_legend_handles_labels(),
                                                                               strict=True)}  # fmt: skip
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(4, len(handles)))
        save(figure, path)


def _runs(store: Store, row: PlottedRow, out_datasets: Sequence[str]) -> list[ScoredRun]:
    return [
        ScoredRun(
            row.label if len(row.runs) == 1 else f"{row.label}, seed {seed}",
            store.read_scores(key, None).values,
            {name: store.read_scores(key, name).values for name in out_datasets or row.out_datasets},
        )
        for seed, key in row.runs.items()
    ]


def _draw_run(axes: Axes, run: ScoredRun, shown: Sequence[str]) -> None:
    """Draw one panel; an out-data set's colour follows from its place in ``shown``, so that all panels agree."""
    sets = [run.in_scores, *run.out_scores.values()]
    bins, log = bin_edges(np.concatenate(sets))
    edges = bins.tolist()
    axes.hist(run.in_scores, edges, weights=_shares(run.in_scores), color=IN_COLOUR, alpha=0.55, label="in-images")
    areas = []
    for name, scores in run.out_scores.items():
        colour, dashes = line_style(shown.index(name))
        axes.hist(scores, edges, weights=_shares(scores), color=colour, linestyle=dashes, linewidth=1,
                  histtype="step", label=plain_text(f"out: {name}", 40))  # fmt: skip
        areas.append((auroc_interval(run.in_scores, scores).value, colour))
    if log:
        axes.set_xscale("log")
    axes.set_title(plain_text(run.title, 46), fontsize=7)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high / (1 - 0.08 * min(len(areas), 8)))  # room for the AUROCs above the bars
    for number, (area, colour) in enumerate(areas):
        axes.annotate(f"AUROC {area:.3f}", (1, 1), (-2, -2 - 8 * number), "axes fraction", "offset points",
                      color=colour, fontsize=6, ha="right", va="top")  # fmt: skip


def _shares(scores: np.ndarray) -> np.ndarray:
    return np.full(len(scores), 1 / len(scores))
