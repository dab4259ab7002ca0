"""ROC curves and histograms of scores, small enough that a page can contain hundreds of them."""

from __future__ import annotations

import numpy as np

POINTS = 81  # so that a step is 25 thousandths, and straight parts stay straight
BINS = 32
TAIL = 0.005
"""The share of the scores at each end that a histogram puts into its first and its last bin."""


def roc_points(in_scores: np.ndarray, out_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the false- and true-positive rates of the ROC curve, (p,) each, from (0, 0) to (1, 1), non-decreasing.

    Out-images are positive. There is a point for each distinct score, so that equal scores give one slanted line.
    """
    values = np.concatenate([in_scores, out_scores])
    order = np.argsort(-values, kind="stable")
    is_out = (np.arange(len(values)) >= len(in_scores))[order]
    ends = np.flatnonzero(np.r_[np.diff(values[order]) != 0, True])  # of each group of equal scores
    false = np.r_[0.0, np.cumsum(~is_out)[ends] / len(in_scores)]
    true = np.r_[0.0, np.cumsum(is_out)[ends] / len(out_scores)]
    return false, true


def small_roc_curve(in_scores: np.ndarray, out_scores: np.ndarray) -> list[int]:
    """Return the false-positive rate, in thousandths, at POINTS equal steps of the sum of both rates from 0 to 2.

    The true-positive rate there is the sum minus the false-positive rate. The sum grows all along the curve, so that it
    identifies every point, and equal steps of it follow steep and flat parts equally well.
    """
    false, true = roc_points(in_scores, out_scores)
    at = np.interp(np.linspace(0, 2, POINTS), true + false, false)
    return [int(value) for value in np.round(1000 * at)]


def histograms(in_scores: np.ndarray, out_scores: np.ndarray) -> tuple[float, float, list[int], list[int]] | None:
    """Return the lowest and the highest edge, and the share of in- and out-images in each of BINS bins, in thousandths.

    Return None where no such bins can separate the scores.
    """
    parts = in_scores, out_scores
    low = float(min(np.quantile(part, TAIL) for part in parts))
    high = float(max(np.quantile(part, 1 - TAIL) for part in parts))
    if low == high:
        low, high = float(min(map(np.min, parts))), float(max(map(np.max, parts)))
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            counts = [np.histogram(np.clip(part, low, high), BINS, (low, high))[0] for part in parts]
    except ValueError:  # the scores are too close together, or too far apart, for floats
        return None
    shares = [np.round(1000 * count / len(part)) for count, part in zip(counts, parts, strict=True)]
    return low, high, shares[0].astype(int).tolist(), shares[1].astype(int).tolist()
