from __future__ import annotations

import sys

import numpy as np
import pytest

from oodbench.api import Metric, Result, Run, Scores
from oodbench.builtin.metrics import register_metrics
from oodbench.errors import ScoreError
from oodbench.runs.evaluation import compute_metrics

RUN = Run("ae", "1.0", "{}", "mnist:0-8", seed=3)


def scores(dataset, values, images=None):
    values = np.asarray(values, dtype=np.float64)
    count = len(values) if images is None else images
    indices = np.arange(count)
    return Scores(dataset, "test", "f" * 16, indices, np.zeros(count, dtype=np.int64), values, 10.0, "cpu")


def test_one_result_a_metric_with_all_that_identifies_it():
    results, errors = compute_metrics(
        "ae-1", RUN, scores("mnist:0-8", [0, 1, 2]), scores("mnist:9", [1.5, 5]), register_metrics()
    )
    assert errors == []
    assert [result.metric for result in results] == ["auroc", "aupr_out", "aupr_in", "fpr95_out", "fpr95_in"]
    assert results[0] == Result("ae-1", "ae", "mnist:0-8", "mnist:9", 3, "auroc", 5 / 6, 3, 2, "f" * 16)


def test_an_auroc_below_one_half_stays_below_one_half():
    (result,), _ = compute_metrics("k", RUN, scores("a", [5, 6]), scores("b", [1, 2]), register_metrics()[:1])
    assert result.value == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_with_detector_and_data_set(value):
    good = scores("mnist:0-8", [0, 1])
    bad = scores("noise", [0, value])
    with pytest.raises(ScoreError, match="ae on noise: 1 of 2 scores are NaN or infinite"):
        compute_metrics("k", RUN, good, bad, register_metrics())
    with pytest.raises(ScoreError, match="ae on noise"):
        compute_metrics("k", RUN, bad, good, register_metrics())


def test_no_scores_are_refused():
    with pytest.raises(ScoreError, match=r"ae on mnist:9: there are no scores"):
        compute_metrics("k", RUN, scores("mnist:0-8", [0]), scores("mnist:9", []), register_metrics())


@pytest.mark.parametrize("bad", [scores("noise", [1, 2], images=3), scores("noise", [[1], [2]])])
def test_other_than_one_score_an_image_is_refused(bad):
    with pytest.raises(ScoreError, match="ae on noise"):
        compute_metrics("k", RUN, scores("mnist", [0]), bad, register_metrics())


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda in_scores, out_scores: float("nan"), "the metric broken gave nan"),
        (lambda in_scores, out_scores: 7.0, "the metric broken gave 7.0, which is no number from 0.0 to 1.0"),
        (lambda in_scores, out_scores: 1 / 0, "the metric broken failed: ZeroDivisionError"),
        (lambda in_scores, out_scores: sys.exit(3), "the metric broken failed: SystemExit"),
    ],
)
def test_a_metric_that_fails_is_named_and_the_others_stay(compute, message):
    broken = Metric("broken", compute, True, "", bounds=(0.0, 1.0))
    metrics = [*register_metrics()[:1], broken, *register_metrics()[1:]]
    results, errors = compute_metrics("k", RUN, scores("a", [0]), scores("b", [1]), metrics)
    assert [result.metric for result in results] == ["auroc", "aupr_out", "aupr_in", "fpr95_out", "fpr95_in"]
    (error,) = errors
    assert f"ae on b: {message}" in str(error)
