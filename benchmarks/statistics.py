"""Time of intervals and tests: of a million scores, compared with scikit-learn, and of the tables of a large store."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import numpy as np

from oodbench.api import Provenance, Result, Run
from oodbench.builtin.metrics import auroc
from oodbench.leaderboard import markdown
from oodbench.leaderboard.sections import Board
from oodbench.leaderboard.statistics import auroc_interval, combine_seeds, compare_auroc, holm
from oodbench.plugin.registry import load_registry
from oodbench.store.store import Store

MILLION = 1_000_000
ROUNDS = 5
PROVENANCE = Provenance(
    "0.2.0", "none", "1", "2", "3", "", "cpu", 1.0, 1.0, 1, {"train": 9, "validation": 9, "test": 300}, ""
)


def measure() -> str:
    """Return the section: AUROC with interval, a table's tests, and the pages of stores of growing size."""
    return "\n\n".join(["### Statistics and tables", _million(), _table(), _pages()])


def _median(function: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _million() -> str:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    inside, outside = generator.normal(size=MILLION), generator.normal(1.0, 1.0, size=MILLION)
    labels, scores = np.repeat([0, 1], MILLION), np.concatenate([inside, outside])
    theirs = _median(lambda: roc_auc_score(labels, scores))
    with_interval, plain = _median(lambda: auroc_interval(inside, outside)), _median(lambda: auroc(inside, outside))
    return (
        "AUROC of a million against a million scores, times as fast as scikit-learn's `roc_auc_score` "
        f"({theirs:.2f} s): {theirs / plain:.1f} alone, {theirs / with_interval:.1f} with DeLong's interval."
    )


def _table() -> str:
    """Return the time of all tests of a table of 33 runs (11 rows, 3 seeds) on 6 out-data sets, 1,000 images each."""
    generator = np.random.default_rng(0)
    scores = {
        (row, seed, out): (generator.normal(size=1000), generator.normal(row / 10, 1, size=1000))
        for row in range(11)
        for seed in range(3)
        for out in range(6)
    }

    def tests() -> list[float]:
        return holm(
            [
                combine_seeds([compare_auroc(scores[0, seed, out], scores[row, seed, out]) for seed in range(3)]).p
                for row in range(1, 11)
                for out in range(6)
            ]
        )

    return f"Paired tests of 33 runs on 6 out-data sets, 1,000 images each, adjusted: {_median(tests):.2f} s."


def _pages() -> str:
    registry = load_registry()
    lines = ["| runs × 5 out-data sets × 5 metrics | read, s | page, s |", "|---|---|---|"]
    for count in (500, 1000, 2000):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            fill(store, count, list(registry.metrics))
            start = time.perf_counter()
            results = store.read_results()
            between = time.perf_counter()
            markdown.render(Board(results, list(registry.metrics.values())))
            lines.append(f"| {count:,} | {between - start:.2f} | {time.perf_counter() - between:.2f} |")
    return "\n".join(lines)


def fill(store: Store, count: int, metrics: list[str]) -> None:
    """Write ``count`` small runs, each with results of these metrics on five out-data sets."""
    for number in range(count):
        run = Run(f"detector{number % 20}", "1", "{}", f"mnist:{number // 20 % 10}", number // 200)
        key = run.key("")
        store.write_fit(key, run, PROVENANCE, {}, [])
        values = [(out, metric, (number * 7 + out) % 50 / 100) for out in range(5) for metric in metrics]
        store.write_results(
            key,
            [
                Result(key, run.detector, run.in_dataset, f"out{out}", run.seed, metric, value, 300, 200)
                for out, metric, value in values
            ],
        )
