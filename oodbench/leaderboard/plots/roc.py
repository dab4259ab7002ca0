"""ROC curves of several rows on one out-data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oodbench.leaderboard.curves import roc_points
from oodbench.leaderboard.drawing import line_style, paper_style, plain_text, save
from oodbench.leaderboard.plots.selection import OnDamaged, PlottedRow, one_out_dataset, select_rows
from oodbench.leaderboard.statistics import auroc_interval
from oodbench.leaderboard.tables import value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from oodbench.store.store import Store

MOST_POINTS = 4_000
"""The most points of a curve that is drawn exactly; a longer one is drawn on a grid that looks the same."""


@dataclass(frozen=True)
class Curve:
    """The ROC curve of one run: from (0, 0) to (1, 1), both rates non-decreasing.

    Args:
        false_positives: (p,), share of the in-images that score at least a threshold.
        true_positives: (p,), share of the out-images that do.
        auroc: area under it, ties counted one half.
        n_in: number of in-images; 1 / n_in is the smallest false-positive rate above 0.
    """

    false_positives: np.ndarray
    true_positives: np.ndarray
    auroc: float
    n_in: int


def roc_curve(in_scores: np.ndarray, out_scores: np.ndarray) -> Curve:
    """Return the ROC curve, given scores (n,) and (m,); out-images are positive. Equal scores give one slanted line."""
    return Curve(*roc_points(in_scores, out_scores), auroc_interval(in_scores, out_scores).value, len(in_scores))


def mean_curve(curves: Sequence[Curve], rates: np.ndarray) -> np.ndarray:
    """Return the mean true-positive rate of several curves at these false-positive rates (p,)."""
    return np.mean([np.interp(rates, curve.false_positives, curve.true_positives) for curve in curves], axis=0)


def draw_roc(
    store: Store,
    names: Sequence[str],
    path: Path,
    in_dataset: str = "",
    out_dataset: str = "",
    log_x: bool = False,
    title: str = "",
    on_damaged: OnDamaged = None,
) -> None:
    """Draw the ROC curve of each row (see ``select_rows``); with several seeds the mean, and each as a thin line.

    Args:
        log_x: show the false-positive rate on a logarithmic axis, which starts at one flagged in-image.
    """
    rows = select_rows(store, names, in_dataset, out_dataset, on_damaged)
    chosen = one_out_dataset(rows, out_dataset)
    curves = {row.label: _curves(store, row, chosen) for row in rows}
    with paper_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3.6, 3.4 + 0.15 * len(rows)), layout="constrained", dpi=300)
        axes = figure.subplots()
        for number, (label, seeds) in enumerate(curves.items()):
            _draw_row(axes, number, label, seeds)
        least = 1 / max(curve.n_in for seeds in curves.values() for curve in seeds)
        _chance(axes, least)
        _axes(axes, log_x, least)
        axes.set_title(plain_text(title or f"in: {rows[0].in_dataset}   out: {chosen}", 70))
        figure.legend(loc="outside lower center", title="AUROC", title_fontsize=7)
        save(figure, path)


def _curves(store: Store, row: PlottedRow, out_dataset: str) -> list[Curve]:
    return [
        roc_curve(store.read_scores(key, None).values, store.read_scores(key, out_dataset).values)
        for key in row.runs.values()
    ]


def _draw_row(axes: Axes, number: int, label: str, curves: Sequence[Curve]) -> None:
    colour, dashes = line_style(number)
    aurocs = [curve.auroc for curve in curves]
    several = len(curves) > 1
    text = value_text(float(np.mean(aurocs)), float(np.std(aurocs, ddof=1)) if several else None)
    text += f"  {plain_text(label)}" + (f" ({len(curves)} seeds)" if several else "")
    grid = _grid(max(curve.n_in for curve in curves))
    if several:
        for curve in curves:
            axes.plot(*_points(curve, grid), color=colour, linestyle=dashes, linewidth=0.4, alpha=0.5)
        axes.plot(grid, mean_curve(curves, grid), color=colour, linestyle=dashes, linewidth=1.2, label=text)
    else:
        axes.plot(*_points(curves[0], grid), color=colour, linestyle=dashes, linewidth=1.2, label=text)


def _grid(n_in: int) -> np.ndarray:
    """Return false-positive rates that are dense enough for either kind of axis, (p,)."""
    return np.unique(np.concatenate([[0.0], np.linspace(0, 1, 1001), np.geomspace(1 / n_in, 1, 501)]))


def _points(curve: Curve, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a curve to draw: its corners, or, where there are too many, its values on the grid."""
    x, y = curve.false_positives, curve.true_positives
    is_corner = np.ones(len(x), bool)
    # A point in the middle of a horizontal or vertical stretch adds nothing.
    is_corner[1:-1] = ~((x[:-2] == x[2:]) | (y[:-2] == y[2:]))
    if is_corner.sum() > MOST_POINTS:
        return grid, mean_curve([curve], grid)
    return x[is_corner], y[is_corner]


def _chance(axes: Axes, least: float) -> None:
    """Draw the diagonal, which is a curve on a logarithmic axis."""
    rates = np.concatenate([[0.0], np.geomspace(least, 1, 200)])
    axes.plot(rates, rates, color="0.75", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)


def _axes(axes: Axes, log_x: bool, least: float) -> None:
    axes.set_xlabel("false-positive rate (in-images flagged)")
    axes.set_ylabel("true-positive rate (out-images flagged)")
    axes.set_ylim(-0.01, 1.01)
    if log_x:
        axes.set_xscale("log", nonpositive="clip")
        axes.set_xlim(least, 1)
    else:
        axes.set_xlim(-0.01, 1.01)
        axes.set_aspect("equal")
