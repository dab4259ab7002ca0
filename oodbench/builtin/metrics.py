"""The metrics of the benchmark, exact with ties, in O(n log n).

Each is a function of (in scores (n,), out scores (m,)), both float64 and not empty. A higher score is more
out-of-distribution. A metric's name says which class it counts.
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
    """Return the chance that an out-image scores higher than an in-image; a tie counts one half (Mann-Whitney)."""
    ordered = np.sort(in_scores)
    below = np.searchsorted(ordered, out_scores, side="left").sum()
    not_above = np.searchsorted(ordered, out_scores, side="right").sum()
    return float(int(below) + int(not_above)) / (2 * len(in_scores) * len(out_scores))


def aupr_out(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Return average precision with the out-images positive: the sum of (step in recall) × precision."""
    return _average_precision(positive=out_scores, negative=in_scores)


def aupr_in(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Return average precision with the in-images positive; scores are negated, so that in-images should rank first."""
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
    """Equal scores stand and fall together: one step of the curve per distinct score that a positive has."""
    thresholds, steps = np.unique(positive, return_counts=True)
    true = len(positive) - np.cumsum(steps) + steps
    false = len(negative) - np.searchsorted(np.sort(negative), thresholds, side="left")
    return float(np.sum(steps * (true / (true + false))) / len(positive))


def _false_positives(positive: np.ndarray, negative: np.ndarray) -> float:
    """Share of the negatives that score at least as high as the ⌈0.95 n⌉-th highest of the n positives."""
    needed = (95 * len(positive) + 99) // 100  # ⌈0.95 n⌉ in whole numbers, as 0.95 is no binary fraction
    threshold = np.sort(positive)[len(positive) - needed]
    return float(np.mean(negative >= threshold))


# ------------------------------------------------------------------------------------ resampled
# The same from counts of the distinct scores, in ascending order, in each resample: (r, u) each → (r,).


def _auroc(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    below = np.cumsum(in_counts, axis=1) - in_counts / 2
    return np.asarray((out_counts * below).sum(axis=1) / (in_counts.sum(axis=1) * out_counts.sum(axis=1)))


def _aupr_out(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    return _aupr_in(out_counts[:, ::-1], in_counts[:, ::-1])


def _aupr_in(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    true, false = np.cumsum(in_counts, axis=1), np.cumsum(out_counts, axis=1)
    precision = true / np.maximum(true + false, 1)
    return np.asarray((in_counts * precision).sum(axis=1) / true[:, -1])


def _fpr95_out(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    return _fpr95_in(out_counts[:, ::-1], in_counts[:, ::-1])


def _fpr95_in(in_counts: np.ndarray, out_counts: np.ndarray) -> np.ndarray:
    accepted = np.cumsum(in_counts, axis=1)
    needed = (95 * accepted[:, -1:] + 99) // 100
    threshold = (accepted < needed).sum(axis=1)  # the first score at which enough in-images are accepted
    wrong = np.cumsum(out_counts, axis=1)
    return np.asarray(wrong[np.arange(len(wrong)), threshold] / wrong[:, -1])
