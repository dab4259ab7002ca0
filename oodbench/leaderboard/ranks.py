"""Average ranks of the rows over several data sets, and whether they differ significantly.

After Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets (JMLR 2006): Friedman's test of all rows,
then Nemenyi's critical difference, by which two average ranks must differ. A data set is a column of the table, and is
one observation. From fewer than ``MIN_COLUMNS`` almost nothing follows, so no ranks are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oodbench.leaderboard.tables import ALPHA, RankedTable

MIN_COLUMNS = 8
MIN_ROWS = 3


@dataclass(frozen=True)
class Ranks:
    """The average rank of each row, and by how much two must differ.

    Args:
        average: row → mean over the columns of its rank, 1 for the best; equal values share their ranks.
        columns: number of columns.
        p: of Friedman's test that all rows are equal.
        critical_difference: Nemenyi's, for all pairs of rows, at ``ALPHA``.
        left_out: rows that lack a column.
    """

    average: Mapping[str, float]
    columns: int
    p: float
    critical_difference: float
    left_out: tuple[str, ...] = ()


def average_ranks(table: RankedTable) -> Ranks | None:
    """Return the ranks over all columns of a table, of all rows, shown or not, that have every column.

    None where there are fewer than MIN_COLUMNS columns or MIN_ROWS such rows.
    """
    cells = {
        row: [cell.mean if (cell := table.cells.get((row, column))) else None for column in table.columns]
        for row in (*table.rows, *table.not_shown)
    }
    whole = {row: means for row, means in cells.items() if None not in means}
    if len(table.columns) < MIN_COLUMNS or len(whole) < MIN_ROWS:
        return None
    import pandas as pd

    values = pd.DataFrame([*whole.values()], dtype=float)  # (rows, columns)
    ranks = values.rank(ascending=not table.metric.higher_is_better).to_numpy()
    return Ranks(
        dict(zip(whole, ranks.mean(axis=1).tolist(), strict=True)),
        len(table.columns),
        friedman_p(ranks),
        nemenyi_critical_difference(*ranks.shape),
        tuple(row for row in cells if row not in whole),
    )


def friedman_p(ranks: np.ndarray) -> float:
    """Return the p of Friedman's test, corrected for ties, given ranks (rows, columns); 1 where all rows tie."""
    from scipy.special import chdtrc

    rows, columns = ranks.shape
    spread = float(((ranks - (rows + 1) / 2) ** 2).sum()) / (rows - 1)
    if spread == 0:
        return 1.0
    statistic = columns**2 * float(((ranks.mean(axis=1) - (rows + 1) / 2) ** 2).sum()) / spread
    return float(chdtrc(rows - 1, statistic))


def nemenyi_critical_difference(rows: int, columns: int, level: float = 1 - ALPHA) -> float:
    """Return by how much two average ranks must differ: q √(k (k + 1) / 6N), q of the studentized range over √2."""
    q = studentized_range_quantile(level, rows) / np.sqrt(2)
    return float(q * np.sqrt(rows * (rows + 1) / (6 * columns)))


def studentized_range_quantile(level: float, rows: int) -> float:
    """Return q with P(range of ``rows`` standard normal values ≤ q) = level: infinitely many degrees of freedom.

    The probability is rows · ∫ φ(z) (Φ(z) − Φ(z − q))^(rows − 1) dz. SciPy's ``studentized_range`` gives the same, but
    takes a second to import, longer than a whole page takes.
    """
    from scipy.special import ndtr

    z = np.linspace(-9.0, 9.0, 2001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    low, high = 0.0, 18.0
    for _ in range(60):  # bisection, to the last bit but one
        middle = (low + high) / 2
        is_below = rows * density @ (ndtr(z) - ndtr(z - middle)) ** (rows - 1) < level
        low, high = (middle, high) if is_below else (low, middle)
    return (low + high) / 2


def cliques(ranks: Ranks) -> list[tuple[str, ...]]:
    """Return the maximal groups of rows, best first, within which no two differ by the critical difference."""
    ordered = sorted(ranks.average, key=lambda row: (ranks.average[row], row))
    groups: list[tuple[str, ...]] = []
    for start, first in enumerate(ordered):
        group = tuple(
            row for row in ordered[start:] if ranks.average[row] - ranks.average[first] < ranks.critical_difference
        )
        if len(group) > 1 and not any(set(group) <= set(other) for other in groups):
            groups.append(group)
    return groups
