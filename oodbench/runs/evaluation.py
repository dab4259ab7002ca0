"""Step 4: the scores of in- and out-data → metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from oodbench.api import Metric, Result, Run, Scores
from oodbench.api.full_spectrum import covariate_text, in_full_spectrum, is_full_spectrum, joined
from oodbench.errors import ScoreError, reason

if TYPE_CHECKING:
    from oodbench.store.store import Store

ROUNDING = 1e-9


def compute_metrics(
    run_key: str, run: Run, in_scores: Scores, out_scores: Scores, metrics: Iterable[Metric]
) -> tuple[list[Result], list[ScoreError]]:
    """Apply each metric to a run's scores of its in-data's test split and of one out-data set.

    Returns the results, and an error for each metric that failed or returned no number within its bounds; such a metric
    does not stop the others. Raises ScoreError where scores are missing, not finite or not one per image.
    """
    _check(run, in_scores)
    _check(run, out_scores)
    where = f"{run.detector} on {out_scores.dataset}"
    results: list[Result] = []
    errors: list[ScoreError] = []
    for metric in metrics:
        try:
            value = metric_value(metric, where, in_scores.values, out_scores.values)
        except ScoreError as error:
            errors.append(error)
            continue
        results.append(
            Result(
                run=run_key,
                detector=run.detector,
                in_dataset=run.in_dataset,
                out_dataset=out_scores.dataset,
                seed=run.seed,
                metric=metric.name,
                value=value,
                n_in=len(in_scores.values),
                n_out=len(out_scores.values),
                out_images=out_scores.fingerprint,
                out_note=out_scores.note,
            )
        )
    return results, errors


def update_results(
    store: Store,
    key: str,
    out_datasets: Sequence[str],
    metrics: Sequence[Metric],
    version: Callable[[str], str],
    covariates: Collection[str] = (),
) -> dict[str, Exception]:
    """Compute every metric from a run's stored scores of these out-data sets, and store the results.

    A failure does not stop the rest. Returns out-data set → error, for those where something failed.

    Args:
        version: the name of a metric → the version of its code (see ``Registry.metric_version``).
        covariates: covariate-shifted sets that have scores. With them, each metric is computed in full spectrum; if
            there are none, full-spectrum metrics are skipped.
    """
    if not covariates:
        metrics = [metric for metric in metrics if not is_full_spectrum(metric.name)]
    if not out_datasets or not metrics:
        return {}
    run, _ = store.read_run(key)
    in_scores = store.read_scores(key, None)
    shifted = [store.read_scores(key, name) for name in sorted(covariates)]
    if shifted:
        in_scores, metrics = joined([in_scores, *shifted]), [in_full_spectrum(metric) for metric in metrics]
    covariate = covariate_text({scores.dataset: scores.fingerprint for scores in shifted})
    versions = {metric.name: version(metric.name) for metric in metrics}
    results: list[Result] = []
    failed: dict[str, Exception] = {}
    for name in out_datasets:
        try:
            out_scores = store.read_scores(key, name)
            found, errors = compute_metrics(key, run, in_scores, out_scores, metrics)
        except Exception as error:
            failed[name] = error
            continue
        note = "; ".join(filter(None, [out_scores.note, *(scores.note for scores in shifted)]))
        results += [
            replace(result, covariate=covariate, out_note=note, metric_version=versions[result.metric])
            for result in found
        ]
        if errors:
            failed[name] = ScoreError("; ".join(map(str, errors)))
    store.write_results(key, results)
    return failed


def _check(run: Run, scores: Scores) -> None:
    where = f"{run.detector} on {scores.dataset}"
    if not len(scores.values):
        raise ScoreError(f"{where}: there are no scores; choose a split or classes that have images")
    if scores.values.shape != scores.indices.shape:
        raise ScoreError(
            f"{where}: {scores.values.shape} scores for {len(scores.indices)} images; one per image is needed"
        )
    bad = int(np.count_nonzero(~np.isfinite(scores.values)))
    if bad:
        raise ScoreError(f"{where}: {bad} of {len(scores.values)} scores are NaN or infinite")


def metric_value(metric: Metric, of: str, in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Apply a metric to scores (n,) and (m,); a value that is past the metric's bounds by rounding is clipped to them.

    Raises ScoreError, naming whose scores they are (``of``), if the metric returns no number within its bounds.
    """
    where = f"{of}: the metric {metric.name}"
    try:
        value = float(metric.compute(in_scores, out_scores))
    except (Exception, SystemExit) as error:
        raise ScoreError(f"{where} failed: {reason(error)}") from error
    low, high = metric.bounds
    if not math.isfinite(value) or not low - ROUNDING <= value <= high + ROUNDING:
        raise ScoreError(f"{where} gave {value}, which is no number from {low} to {high}")
    return min(max(value, low), high)
