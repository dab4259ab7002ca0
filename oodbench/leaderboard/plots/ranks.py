"""A critical-difference diagram: average ranks over many data sets; a bar joins rows that do not differ significantly.

After Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets (JMLR 2006), Figure 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from oodbench.api import Metric
from oodbench.errors import OODBenchError, UnknownName
from oodbench.leaderboard.drawing import paper_style, plain_text, save
from oodbench.leaderboard.ranks import MIN_COLUMNS, MIN_ROWS, Ranks, average_ranks, cliques
from oodbench.leaderboard.tables import ranked, records

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def draw_ranks(results: pd.DataFrame, metric: Metric, in_dataset: str | None, output: Path, title: str = "") -> Ranks:
    """Draw the diagram of results as ``Store.read_results`` returns them, and return the ranks.

    Raises OODBenchError where there are too few columns or rows for ranks to be meaningful.
    """
    import matplotlib.pyplot as plt

    chosen = results if in_dataset is None else results[results["in_dataset"] == in_dataset]
    if len(results) and chosen.empty:
        raise UnknownName("in-data set", str(in_dataset), set(results["in_dataset"]))
    table = ranked(records(chosen, [metric]), metric)
    ranks = average_ranks(table)
    if ranks is None:
        raise OODBenchError(
            f"ranks need {MIN_COLUMNS} columns and {MIN_ROWS} rows that have them all; "
            f"there are {len(table.columns)} columns and {len(table.rows)} rows"
        )
    with paper_style():
        figure, axes = plt.subplots(figsize=(5.5, 1.25 + 0.17 * len(ranks.average)))
        _draw(axes, ranks)
        named = f"{metric.name} over {ranks.columns} data sets, Friedman p = {ranks.p:.2g}"
        axes.set_title(plain_text(title or named), pad=46)  # above the critical difference
        figure.tight_layout()
        save(figure, output)
        plt.close(figure)
    return ranks


def _draw(axes: Axes, ranks: Ranks) -> None:
    """Draw an axis of ranks at the top, best at the left, with labels on both sides and a line down from each rank."""
    ordered = sorted(ranks.average, key=lambda row: (ranks.average[row], row))
    count, half = len(ordered), (len(ordered) + 1) // 2
    groups = cliques(ranks)
    top = 0.3 + 0.25 * len(groups)
    for number, row in enumerate(ordered):
        rank, is_left = ranks.average[row], number < half
        depth = top + 0.45 * (number + 1 if is_left else count - number)
        edge = 1 - 0.15 if is_left else count + 0.15
        axes.plot([rank, rank, edge], [0, depth, depth], color="0.3", lw=0.7, clip_on=False)
        axes.text(
            edge, depth, f" {plain_text(row)} ({rank:.2f}) ", ha="right" if is_left else "left", va="center", fontsize=7
        )
    for number, group in enumerate(groups):
        ends = [ranks.average[group[0]] - 0.04, ranks.average[group[-1]] + 0.04]
        axes.plot(ends, [0.3 + 0.25 * number] * 2, color="black", lw=2.5, solid_capstyle="butt")
    axes.plot([1, 1 + ranks.critical_difference], [-0.75, -0.75], color="black", lw=1.2, clip_on=False)
    axes.text(1, -0.95, f"critical difference {ranks.critical_difference:.2f}", fontsize=7, va="bottom")
    axes.set(xlim=(1, count), ylim=(top + 0.45 * (half + 1), 0), xticks=range(1, count + 1), yticks=[])
    axes.xaxis.tick_top()
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.spines["top"].set_visible(True)
