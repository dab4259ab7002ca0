"""The texts that explain the tables on every page, in any format."""

from __future__ import annotations

from collections.abc import Callable

from oodbench.api import SCORE_CONVENTION, Metric
from oodbench.leaderboard.sections import Board
from oodbench.plan.suite_files import MEAN

HOW_TO_READ = (
    f"{SCORE_CONVENTION} A cell is the mean over seeds ± the sample standard deviation; with one seed, its value. Rows "
    "are ranked by their mean, those that lack a cell last."
)
BEST = "The best of each column is bold; no significance test was made."
SIGNIFICANCE = (
    "Bold: the best of each column, and every row that is not significantly worse on the same images (paired tests "
    "per seed, p ≥ .05, adjusted over the columns of one in-data set and metric: {how}). In brackets: the 95 % "
    "interval over images."
)
FAILED = (
    "(2 of 3) behind a value: one of three seeds failed, and the mean is that of the others; such a cell is never the "
    "best. A footnote says why."
)
GROUPS = "A mean is over the out-data sets of a group, per seed ({groups})."
UNTESTED = " Means are not tested, so none is bold."
SPECTRUM = "In full spectrum, shifted images count as in-distribution beside the test split ({sets})."
REPORTED = (
    "Rows in italics are {reported}: others published them, they were not measured here, and they are not ranked."
)
STATISTICS = "docs/statistics.md"


def how_to_read(board: Board, reported: str, how: str, escape: Callable[[str], str] = str) -> str:
    """Return the explanation of the cells.

    Args:
        reported: the word "reported" with the format's markup; empty to leave out such rows.
        how: where the tests are described, with the format's markup.
        escape: applied to the names of data sets.
    """
    order, groups = board.order, board.groups
    members = "; ".join(f"{escape(name)}: {', '.join(map(escape, each))}" for name, each in groups.items())
    spectra = "; ".join(
        f"{escape(in_dataset)}: {', '.join(map(escape, names))}" for in_dataset, names in board.covariates.items()
    )
    parts = [
        HOW_TO_READ if order.sort == MEAN else HOW_TO_READ.replace("their mean", escape(order.sort)),
        SIGNIFICANCE.format(how=how) if board.is_published else BEST,
        GROUPS.format(groups=members) + (UNTESTED if board.is_published else "") if groups else "",
        SPECTRUM.format(sets=spectra) if spectra else "",
        FAILED if board.has_failures else "",
        REPORTED.format(reported=reported) if board.reported and reported else "",
        f"In each table, the first {order.top} rows are shown." if order.top else "",
    ]
    return " ".join(filter(None, parts))


def arrow(metric: Metric) -> str:
    """Return ↑ where a higher value is better, else ↓."""
    return "↑" if metric.higher_is_better else "↓"
