"""The metrics of the benchmark, exact with ties, in O(n log n).

Each is a function of (in scores (n,), out scores (m,)), both float64 and not empty. A higher score is more
out-of-distribution. The ending of a metric's name, if any, is the class that it treats as positive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oodbench.api import Metric
from oodbench.plugin.hookspecs import hookimpl

SHARE = (0.0, 1.0)
Compute = Callable[[np.ndarray, np.ndarray], Any]


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        _metric("auroc", True, "area under the ROC curve", auroc, _auroc),
        _metric("aupr_out", True, "average precision, out-images positive", aupr_out, _aupr_out),
        _metric("aupr_in", True, "average precision, in-images positive, scores negated", aupr_in, _aupr_in),
        _metric("fpr95_out", False, "share of in-images flagged when 95 % of out-images are", fpr95_out, _fpr95_out),
        _metric("fpr95_in", False, "share of out-images accepted when 95 % of in-images are", fpr95_in, _fpr95_in),
    ]


def _metric(name: str, higher_is_better: bool, summary: str, compute: Compute, resampled: Compute) -> Metric:
    return Metric(name, compute, higher_is_better, summary, SHARE, resampled)


def auroc(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Return the probability that an out-image scores higher than an in-image; a tie counts one half (Mann-Whitney)."""
    ordered = np.sort(in_scores)
    below = np.searchsorted(ordered, out_scores, side="left").sum()
    not_above = np.searchsorted(ordered, out_scores, side="right").sum()
    return float(int(below) + int(not_above)) / (2 * len(in_scores) * len(out_scores))


def aupr_out(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Return average precision with the out-images positive: the sum of (step in recall) × precision."""
    return _average_precision(positive=out_scores, negative=in_scores)


def aupr_in(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Return average precision with the in-images positive; scores are negated, as in-images must rank first."""
    return _average_precision(positive=-in_scores, negative=-out_scores)


def fpr95_out(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Return the share of in-images flagged when 95 % of out-images are.

    An image is flagged if its score is at least t, the largest threshold that flags at least 95 % of the out-images.
    """
    return _false_positives(positive=out_scores, negative=in_scores)


def fpr95_in(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Return the share of out-images accepted when 95 % of in-images are.

    An image is accepted if its score is at most t, the smallest threshold that accepts at least 95 % of the in-images.
    """
    return _false_positives(positive=-in_scores, negative=-out_scores)


def _average_precision(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return average precision; equal scores are one step of the curve, one per distinct score of the positives."""
    thresholds, steps = np.unique(positive, return_counts=True)
    true = len(positive) - np.cumsum(steps) + steps
    false = len(negative) - np.searchsorted(np.sort(negative), thresholds, side="left")
    return float(np.sum(steps * (true / (true + false))) / len(positive))


def _false_positives(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the share of negatives that score at least as high as the ⌈0.95 n⌉-th highest of the n positives."""
    threshold = np.sort(positive)[len(positive) - _needed(len(positive))]
    return float(np.mean(negative >= threshold))


# ------------------------------------------------------------------------------------ resampled
# The same metrics from counts of the distinct scores, in ascending order, in each resample: (r, u) each → (r,).


def _auroc(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    below = _up_to(in_counts) - in_counts / 2
    return np.asarray((out_counts * below).sum(axis=1) / (in_counts.sum(axis=1) * out_counts.sum(axis=1)))


def _aupr_out(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    return _of_counts(out_counts, true=_from(out_counts), false=_from(in_counts))


def _aupr_in(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    return _of_counts(in_counts, true=_up_to(in_counts), false=_up_to(out_counts))


def _of_counts(positive: np.ndarray, true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Return average precision, given how many positives and negatives are called positive at each threshold."""
    called = true + false
    precision = np.divide(true, np.maximum(called, 1.0, out=called), out=called)
    return np.asarray(np.einsum("ru,ru->r", positive, precision) / positive.sum(axis=1))


def _fpr95_out(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    """Return the metric; the images flagged at a threshold are all but those up to the next lower score."""
    up_to_in, up_to_out = _up_to(in_counts), _up_to(out_counts)
    passed = [row.searchsorted(row[-1] - _needed(row[-1]), "right") for row in up_to_out]  # scores not flagged
    wrong = [row[-1] - (row[first - 1] if first else 0) for row, first in zip(up_to_in, passed, strict=True)]
    return np.array(wrong) / up_to_in[:, -1]


def _fpr95_in(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    up_to_in, up_to_out = _up_to(in_counts), _up_to(out_counts)
    last = [row.searchsorted(_needed(row[-1])) for row in up_to_in]  # the first score at which enough are accepted
    return np.asarray(up_to_out[np.arange(len(last)), last] / up_to_out[:, -1])


def _needed(positives: Any) -> Any:
    """Return ⌈0.95 n⌉ by integer arithmetic, as 0.95 is no binary fraction."""
    return (95 * positives + 99) // 100


def _from(counts: np.ndarray) -> np.ndarray:
    """Return how many images have each score or a higher one."""
    up_to = _up_to(counts)
    above = up_to[:, -1:] - up_to
    return np.add(above, counts, out=above)


_last_two: list[tuple[np.ndarray, np.ndarray]] = []


def _up_to(counts: np.ndarray) -> np.ndarray:
    """Return how many images have each score or a lower one; cached for the last two arrays, as every metric asks."""
    for array, up_to in _last_two:
        if array is counts:
            return up_to
    up_to = np.cumsum(counts, axis=1).astype(float)  # faster than adding floats
    _last_two[:] = [*_last_two[-1:], (counts, up_to)]
    return up_to
