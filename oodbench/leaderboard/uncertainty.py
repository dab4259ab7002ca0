"""The uncertainty of published numbers: intervals over images, and which rows are significantly worse than the best.

AUROC has DeLong's interval and paired test; every other metric has those of paired resamples (see ``statistics``).
Everything is computed from the scores, so that anyone who has them can reproduce it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from oodbench.api import Metric
from oodbench.api.full_spectrum import PREFIX, is_full_spectrum
from oodbench.errors import ScoreError
from oodbench.leaderboard.failures import failed_seeds
from oodbench.leaderboard.resampling import RESAMPLES, resampled_values
from oodbench.leaderboard.row_labels import add_row_labels
from oodbench.leaderboard.score_file import ImageScores, ScoreTable, in_scores
from oodbench.leaderboard.statistics import (
    Comparison,
    auroc_interval,
    combine_seeds,
    compare_auroc,
    compare_resampled,
    holm,
    resample_interval,
    seed_pairs,
)
from oodbench.runs.evaluation import metric_value
from oodbench.store.schema import PUBLISHED_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

AUROC = "auroc"
UNKNOWN = (np.nan, np.nan)
Advance = Callable[[int, int], None]
Place = tuple[str, str, bool]
"""(run, out-data set, whether in full spectrum)."""


@dataclass
class Uncertainty:
    """The uncertainty of results, from their scores; everything is computed once, for all metrics together.

    Args:
        results: rows as ``Store.read_results`` returns them; those without scores get NaN.
        metrics: those that can be computed here.
        advance: called with the number of pairs of a run and an out-data set that are done, and the total number.
    """

    results: pd.DataFrame
    scores: ScoreTable
    metrics: Mapping[str, Metric]
    advance: Advance = lambda done, total: None

    def add(self) -> pd.DataFrame:
        """Return the results with the columns ``low``, ``high`` and ``p_best`` (see ``schema.PUBLISHED_COLUMNS``).

        Those of a metric that cannot be computed here are kept.
        """
        results = add_row_labels(self.results)
        keys = [*results[["run", "out_dataset", "metric"]].itertuples(index=False, name=None)]
        places = [*results[["label", "in_dataset", "out_dataset", "metric"]].itertuples(index=False, name=None)]
        p_values = self._p_values(results)
        both = zip(keys, places, strict=True)
        known = [(*self.intervals.get(key, UNKNOWN), p_values.get(place, np.nan)) for key, place in both]
        found = np.array(known, dtype=float).reshape(-1, 3)
        is_computed = results["metric"].isin([*self.metrics]).to_numpy()[:, None]
        stated = results.reindex(columns=[*PUBLISHED_COLUMNS]).to_numpy(dtype=float)
        low, high, p_best = np.where(is_computed, found, stated).T
        return self.results.assign(low=low, high=high, p_best=p_best)

    # -------------------------------------------------------------------------------------- intervals

    @cached_property
    def resampled(self) -> dict[Place, dict[str, np.ndarray]]:
        """Place → metric → its values over resamples (r,); AUROC needs none."""
        groups: dict[tuple[int, int], list[Place]] = {}
        for place, (inside, outside) in self._pairs.items():
            groups.setdefault((len(inside.values), len(outside.values)), []).append(place)
        found: dict[Place, dict[str, np.ndarray]] = {}
        for places in groups.values():
            found |= self._resample(places, len(found))
        return found

    def _resample(self, places: Sequence[Place], done_before: int) -> dict[Place, dict[str, np.ndarray]]:
        """Return the same for places with the same numbers of images."""
        pairs = [(inside.values, outside.values) for inside, outside in map(self._pairs.__getitem__, places)]
        metrics = [{name: each for name, each in self._metrics_at(p).items() if not is_auroc(name)} for p in places]
        functions = [
            [each.resampled or _by_repeating(each, np.unique(np.concatenate(pair))) for each in of_place.values()]
            for of_place, pair in zip(metrics, pairs, strict=True)
        ]

        def advance(resamples: int) -> None:
            self.advance(done_before + len(places) * resamples // RESAMPLES, len(self._pairs))

        values = resampled_values(pairs, functions, advance=advance)
        return {
            place: dict(zip(of_place, of_pair, strict=True))
            for place, of_place, of_pair in zip(places, metrics, values, strict=True)
        }

    @cached_property
    def intervals(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """(run, out-data set, metric) → interval."""
        found = {
            (*place[:2], name): self._quantiles(place, name, values)
            for place, by_metric in self.resampled.items()
            for name, values in by_metric.items()
        }
        for place, (inside, outside) in self._pairs.items():
            for name in filter(is_auroc, self._metrics_at(place)):
                interval = auroc_interval(inside.values, outside.values)
                found[*place[:2], name] = (interval.low, interval.high)
        return found

    def _metrics_at(self, place: Place) -> dict[str, Metric]:
        """Return the metrics that a place has a value of: those in full spectrum, or the plain ones."""
        return {
            name: metric
            for name, metric in self.metrics.items()
            if is_full_spectrum(name) == place[2] and (*place[:2], name) in self._values
        }

    def _quantiles(self, place: Place, name: str, values: np.ndarray) -> tuple[float, float]:
        if np.isnan(values).any():
            return UNKNOWN
        smaller_count = min(len(part.values) for part in self._pairs[place])
        return resample_interval(values, self._values[*place[:2], name], self.metrics[name].bounds, smaller_count)

    @cached_property
    def _pairs(self) -> dict[Place, tuple[ImageScores, ImageScores]]:
        columns = self.results.loc[self.results["metric"] != "", ["run", "in_dataset", "out_dataset", "covariate"]]
        named = columns.drop_duplicates().itertuples(index=False, name=None)
        pairs = {
            (run, out, bool(covariate)): (in_scores(self.scores, run, in_, covariate), self.scores.get((run, out)))
            for run, in_, out, covariate in named
        }
        return {place: (inside, outside) for place, (inside, outside) in pairs.items() if inside and outside}

    # ------------------------------------------------------------------------------------------ tests

    def _p_values(self, results: pd.DataFrame) -> dict[tuple[str, str, str, str], float]:
        """Return (label, in-data set, out-data set, metric) → p of the test against the best row there, whose p is 1.

        All tests of one metric on one in-data set are one table, and adjusted together. Only the data tell which row is
        the best, so all pairs of rows count as tests.
        """
        failed = failed_seeds(results)
        found: dict[tuple[str, str, str, str], float] = {}
        for (in_dataset, metric), table in results[results["metric"].isin(self.metrics)].groupby(
            ["in_dataset", "metric"]
        ):
            tests: dict[tuple[str, str, str, str], float] = {}
            pairs = 0
            for out_dataset, column in table.groupby("out_dataset"):
                place = (str(in_dataset), str(out_dataset), str(metric))
                rows = self._comparable(
                    {str(label): row for label, row in column.groupby("label") if (*place[:2], label) not in failed}
                )
                if rows:
                    pairs += len(rows) * (len(rows) - 1) // 2
                    best = self._best(rows, self.metrics[place[2]])
                    found[best, *place] = 1.0
                    against = self._against(best, rows, self.metrics[place[2]], place[1])
                    tests |= {(label, *place): p for label, p in against}
            found |= zip(tests, holm([*tests.values()], pairs), strict=True)
        return found

    def _comparable(self, rows: Mapping[str, pd.DataFrame]) -> dict[str, _Row]:
        """Return the rows of a column whose seeds all have scores, of the images that most rows were scored on."""
        by_images: dict[tuple[str, ...], dict[str, _Row]] = {}
        for label, row in rows.items():
            is_full = is_full_spectrum(row["metric"].iloc[0])
            places = [(run, out, is_full) for run, out in zip(row["run"], row["out_dataset"], strict=True)]
            images = {self._images[place] for place in places if place in self._pairs}
            if len(images) == 1 and all(place in self._pairs for place in places):
                found = _Row(dict(zip(row["seed"], row["run"], strict=True)), float(row["value"].mean()))
                by_images.setdefault(images.pop(), {})[label] = found
        return max(by_images.values(), key=len, default={})

    def _best(self, rows: Mapping[str, _Row], metric: Metric) -> str:
        sign = -1 if metric.higher_is_better else 1
        return min(rows, key=lambda label: (sign * rows[label].mean, label))

    def _against(
        self, best: str, rows: Mapping[str, _Row], metric: Metric, out_dataset: str
    ) -> Iterator[tuple[str, float]]:
        """Yield p of each other row against the best; 1 where that row is ahead on the seeds that both have.

        A row that was scored on other images is left out.
        """
        sign = 1 if metric.higher_is_better else -1
        for label, row in rows.items():
            if label != best:
                pairs = seed_pairs(rows[best].runs, row.runs)
                where = out_dataset, is_full_spectrum(metric.name)
                comparisons = [
                    self._compare((rows[best].runs[one], *where), (row.runs[other], *where), metric)
                    for one, other in pairs
                ]
                if None not in comparisons:
                    combined = combine_seeds([each for each in comparisons if each])
                    yield label, combined.p if sign * combined.difference > 0 else 1.0

    def _compare(self, one: Place, other: Place, metric: Metric) -> Comparison | None:
        """Return the comparison; None where the two were scored on different images, or a resample has no value."""
        if self._images[one] != self._images[other]:
            return None
        (in_one, out_one), (in_other, out_other) = self._pairs[one], self._pairs[other]
        if not (same_images(in_one, in_other) and same_images(out_one, out_other)):
            return None
        if is_auroc(metric.name):
            return compare_auroc((in_one.values, out_one.values), (in_other.values, out_other.values))
        difference = self._values[*one[:2], metric.name] - self._values[*other[:2], metric.name]
        values, others = (self.resampled[place][metric.name] for place in (one, other))
        if np.isnan(values + others).any():
            return None
        smaller_count = min(len(in_one.values), len(out_one.values))
        return compare_resampled(values, others, difference, metric.bounds, smaller_count)

    @cached_property
    def _values(self) -> dict[tuple[str, str, str], float]:
        """(run, out-data set, metric) → value."""
        columns = self.results[["run", "out_dataset", "metric", "value"]].itertuples(index=False, name=None)
        return {(run, out, metric): value for run, out, metric, value in columns}

    @cached_property
    def _images(self) -> dict[Place, tuple[str, ...]]:
        """Place → the fingerprints of in-, covariate-shifted and out-images."""
        columns = self.results[["run", "out_dataset", "covariate", "in_images", "out_images"]]
        return {
            (run, out, bool(covariate)): (covariate, *images)
            for run, out, covariate, *images in columns.itertuples(index=False, name=None)
        }


@dataclass(frozen=True)
class _Row:
    runs: Mapping[int, str]
    """Seed → run."""
    mean: float


def is_auroc(metric: str) -> bool:
    """Whether a metric is AUROC, in full spectrum or not."""
    return metric.removeprefix(PREFIX) == AUROC


def same_images(one: ImageScores, other: ImageScores) -> bool:
    """Whether two runs scored the same images of a data set, in the same order, by index and label."""
    return np.array_equal(one.indices, other.indices) and np.array_equal(one.labels, other.labels)


def _by_repeating(metric: Metric, distinct: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function of counts for a metric without ``resampled``; it computes each resample by itself, else NaN."""

    def value(inside: np.ndarray, out: np.ndarray) -> float:
        try:
            return metric_value(metric, "a resample", np.repeat(distinct, inside), np.repeat(distinct, out))
        except ScoreError:
            return np.nan

    return lambda in_counts, out_counts: np.array([*map(value, in_counts, out_counts)])
