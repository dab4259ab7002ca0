"""Step 3: Scores → list[Result]."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from oodbench.api import Metric, Result, Run, Scores
from oodbench.errors import ScoreError, reason


def evaluate(run_key: str, run: Run, in_scores: Scores, out_scores: Scores, metrics: Iterable[Metric]) -> list[Result]:
    """Apply each metric to the scores of a run on its in-data's test split and on one out-data set.

    Raises ScoreError where scores are missing, not finite or not one an image, or a metric gives no finite number.
    """
    _check(run, in_scores)
    _check(run, out_scores)
    sizes = len(in_scores.values), len(out_scores.values)
    return [
        Result(
            run_key,
            run.detector,
            run.in_dataset,
            out_scores.dataset,
            run.seed,
            metric.name,
            _value(metric, run, in_scores, out_scores),
            *sizes,
            out_scores.fingerprint,
        )
        for metric in metrics
    ]


def _check(run: Run, scores: Scores) -> None:
    where = f"{run.detector} on {scores.dataset}"
    if not len(scores.values):
        raise ScoreError(f"{where}: there are no scores; choose a split or classes that have images")
    if scores.values.shape != scores.indices.shape:
        raise ScoreError(f"{where}: {scores.values.shape} scores for {len(scores.indices)} images; one each is needed")
    bad = int(np.count_nonzero(~np.isfinite(scores.values)))
    if bad:
        raise ScoreError(f"{where}: {bad} of {len(scores.values)} scores are NaN or infinite")


def _value(metric: Metric, run: Run, in_scores: Scores, out_scores: Scores) -> float:
    where = f"{run.detector} on {out_scores.dataset}: the metric {metric.name}"
    try:
        value = float(metric.compute(in_scores.values, out_scores.values))
    except Exception as error:
        raise ScoreError(f"{where} failed: {reason(error)}") from error
    if not math.isfinite(value):
        raise ScoreError(f"{where} gave {value}")
    return value
