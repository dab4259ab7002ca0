"""Comparison of two rows of a table, or two runs, on the same images: is their difference significant?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from oodbench.errors import OODBenchError
from oodbench.leaderboard.row_choice import rows_of
from oodbench.leaderboard.row_labels import add_row_labels
from oodbench.leaderboard.statistics import Comparison, combine_seeds, compare_auroc, holm, seed_pairs
from oodbench.leaderboard.tables import ALPHA
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.api import Scores
    from oodbench.store.store import Store


@dataclass(frozen=True)
class ComparedRows:
    """The AUROC of two rows on one out-data set.

    Args:
        first, second: labels or run keys, as requested.
        pairs: seeds that were compared, of the first and of the second.
        comparison: difference, interval and p over all pairs (see ``combine_seeds``); None where the two were not
            scored on the same images.
        p_holm: p, adjusted for the number of out-data sets compared at once.
    """

    first: str
    second: str
    in_dataset: str
    out_dataset: str
    pairs: Sequence[tuple[int, int]]
    comparison: Comparison | None
    p_holm: float | None

    @property
    def is_significant(self) -> bool:
        """Whether the adjusted p-value is below .05."""
        return self.p_holm is not None and self.p_holm < ALPHA


def compare_rows(store: Store, first: str, second: str) -> list[ComparedRows]:
    """Compare two rows, or two runs, of a store by AUROC on every out-data set that both have.

    Seeds that both have are compared pair by pair; if they share none, each seed of one with each of the other.

    Args:
        first, second: the label of a row, a detector that has one row, or a prefix of a run's key.

    Raises OODBenchError where a name is unknown or matches several, or the two share no out-data set.
    """
    results = add_row_labels(store.read_results())
    one, other = (rows_of(results, name) for name in (first, second))
    found = [
        (in_dataset, out_dataset, *_compared(store, one, other, in_dataset, out_dataset))
        for in_dataset, out_dataset in _shared(one, other)
    ]
    if not found:
        raise OODBenchError(f"{shorten(first)} and {shorten(second)} have no out-data set in common")
    adjusted = iter(holm([comparison.p for *_, comparison in found if comparison]))
    return [
        ComparedRows(first, second, in_, out, pairs, comparison, next(adjusted) if comparison else None)
        for in_, out, pairs, comparison in found
    ]


def _shared(one: pd.DataFrame, other: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield the (in-data set, out-data set) pairs that both have, sorted."""
    pairs = [set(rows[["in_dataset", "out_dataset"]].itertuples(index=False, name=None)) for rows in (one, other)]
    yield from sorted(pairs[0] & pairs[1])


def _compared(
    store: Store, one: pd.DataFrame, other: pd.DataFrame, in_dataset: str, out_dataset: str
) -> tuple[Sequence[tuple[int, int]], Comparison | None]:
    """Return the pairs of seeds and their comparison on one out-data set; None where some images are not the same."""
    runs, others = (_runs(rows, in_dataset, out_dataset) for rows in (one, other))
    pairs = seed_pairs(runs, others)
    comparisons = []
    for seed, other_seed in pairs:
        scores = [(store.read_scores(key, None), store.read_scores(key, out_dataset)) for key in
                  (runs[seed], others[other_seed])]  # fmt: skip
        if not all(_same_images(*of_both) for of_both in zip(*scores, strict=True)):
            return pairs, None
        (in_scores, out_scores), (other_in, other_out) = scores
        comparisons.append(compare_auroc((in_scores.values, out_scores.values), (other_in.values, other_out.values)))
    return pairs, combine_seeds(comparisons)


def _runs(rows: pd.DataFrame, in_dataset: str, out_dataset: str) -> dict[int, str]:
    """Return seed → key of the runs with results on an out-data set."""
    chosen = rows[(rows["in_dataset"] == in_dataset) & (rows["out_dataset"] == out_dataset)]
    return dict(zip(chosen["seed"], chosen["run"], strict=True))


def _same_images(one: Scores, other: Scores) -> bool:
    return one.fingerprint == other.fingerprint and np.array_equal(one.indices, other.indices)
