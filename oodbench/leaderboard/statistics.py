"""The uncertainty of results: intervals over the images, paired tests on the same images, and multiple testing.

Two kinds of uncertainty are kept separate. This module is about the **images** of a test split: how far a value would
move if other images were drawn from the same distribution, with the same fit. The spread over **seeds** says how far
another fit would move it; it is a standard deviation beside the mean, and is never pooled with these intervals.

AUROC has an exact variance (DeLong, DeLong and Clarke-Pearson, Comparing the Areas under Two or More Correlated ROC
Curves, Biometrics 1988), computed here from ranks in O(n log n). Other metrics are resampled: see ``resampling``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

LEVEL = 0.95
SAME = 1e-13
"""Values closer than this count as equal: they may differ by the order in which a processor adds."""


@dataclass(frozen=True)
class Interval:
    """A value with the interval that contains the true value in a share ``LEVEL`` of all cases."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The difference between two detectors on the same images.

    Args:
        difference: value of the first minus that of the second.
        low, high: interval of the difference.
        p: probability of a difference at least as large, in either direction, if there is none.
        seeds: number of pairs of fits that were compared.
    """

    difference: float
    low: float
    high: float
    p: float
    seeds: int = 1


# ------------------------------------------------------------------------------------------- AUROC


def _placements(in_scores: np.ndarray, out_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of out-images above each in-image, (k, n), and of in-images below each out-image, (k, m).

    An equal score counts one half.
    """
    of_in, of_out = np.empty(in_scores.shape), np.empty(out_scores.shape)
    for inside, outside, of_inside, of_outside in zip(in_scores, out_scores, of_in, of_out, strict=True):
        in_order, out_order = np.argsort(inside), np.argsort(outside)
        ordered_in, ordered_out = inside[in_order], outside[out_order]  # searching is quick where queries are sorted
        of_outside[out_order] = _mean_rank(ordered_in, ordered_out)
        of_inside[in_order] = 1 - _mean_rank(ordered_out, ordered_in)
    return of_in, of_out


def _mean_rank(ordered: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the share of ``ordered`` below each score, plus one half of the share that equals it."""
    below = np.searchsorted(ordered, scores, side="left")
    not_above = np.searchsorted(ordered, scores, side="right")
    return (below + not_above) / (2 * len(ordered))


def auroc_interval(in_scores: np.ndarray, out_scores: np.ndarray, level: float = LEVEL) -> Interval:
    """Return AUROC and its interval, given scores (n,) of in-images and (m,) of out-images.

    The interval is DeLong's, symmetric on the logit scale, so that it stays within 0 and 1. At 0 or 1 DeLong's variance
    is 0, which would claim certainty. There the interval is one-sided: N independent pairs of an in- and an out-image,
    N the smaller number of images, were all ordered the same way; this has probability 1 - ``level`` if the true value
    is (1 - level)^(1 / N) from the other end. Where all scores are equal, the variance is that of N coin flips.
    """
    from scipy.special import expit, logit, ndtri

    ordered_in, ordered_out = np.sort(in_scores), np.sort(out_scores)
    of_out = _mean_rank(ordered_in, ordered_out)
    value, smaller_count = float(of_out.mean()), min(len(in_scores), len(out_scores))
    bound = (1 - level) ** (1 / smaller_count)
    if value in (0.0, 1.0):
        return Interval(value, bound if value else 0.0, 1.0 if value else 1 - bound)
    variance = np.nan
    if smaller_count > 1:
        of_in = _mean_rank(ordered_out, ordered_in)
        variance = of_in.var(ddof=1) / len(in_scores) + of_out.var(ddof=1) / len(out_scores)
    if not variance > 0:
        variance = value * (1 - value) / smaller_count
    half = ndtri((1 + level) / 2) * np.sqrt(variance) / (value * (1 - value))
    return Interval(value, float(expit(logit(value) - half)), float(expit(logit(value) + half)))


# ---------------------------------------------------------------------------------- two detectors


def compare_auroc(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], level: float = LEVEL
) -> Comparison:
    """Compare two detectors by AUROC on the same images (paired DeLong test, two-sided).

    Args:
        first, second: scores (n,) of the in-images and (m,) of the out-images, in the same order of images.
    """
    in_scores, out_scores = (np.stack(pair) for pair in zip(first, second, strict=True))
    # the variance of the differences: two variances minus twice the covariance would be lost in rounding
    of_in, of_out = (one - other for one, other in _placements(in_scores, out_scores))
    difference, variance = float(of_out.mean()), np.nan
    if min(len(of_in), len(of_out)) > 1:
        variance = of_in.var(ddof=1) / len(of_in) + of_out.var(ddof=1) / len(of_out)
    return _compared(difference, float(np.sqrt(variance)), min(len(of_in), len(of_out)), level)


def _compared(difference: float, sd: float, smaller_count: int, level: float) -> Comparison:
    """Return the comparison for a difference and its standard error, which is 0 or NaN if images do not determine it.

    That is so if two rankings are the same, or both perfect, perhaps in opposite directions. p is never below the
    probability that ``smaller_count`` coins (the smaller number of images) all fall the same way: below that, the
    normal approximation does not hold.
    """
    from scipy.special import ndtr, ndtri

    least = min(1.0, 2.0 ** (1 - smaller_count))
    if not sd > SAME:
        return Comparison(difference, difference, difference, least if abs(difference) > SAME else 1.0)
    half = float(ndtri((1 + level) / 2)) * sd
    p = max(least, float(2 * ndtr(-abs(difference) / sd)))
    return Comparison(difference, difference - half, difference + half, p)


def seed_pairs(first: Mapping[int, Any], second: Mapping[int, Any]) -> Sequence[tuple[int, int]]:
    """Return which fits of two rows are compared: those of equal seeds; if they share none, each with each."""
    common = sorted(first.keys() & second.keys())
    return [(seed, seed) for seed in common] or [*product(sorted(first), sorted(second))]


def combine_seeds(comparisons: Sequence[Comparison]) -> Comparison:
    """Combine the comparisons of several pairs of fits, one per seed: two detectors differ only if every pair does.

    The difference is the mean; p is the largest, and 1 where the pairs do not agree on the direction; the interval is
    the smallest that contains those of all pairs. (An intersection-union test: Berger, Technometrics 1982. A pair of
    fits that shows no difference, or the opposite, is not averaged away by others.)
    """
    agree = all(each.difference > 0 for each in comparisons) or all(each.difference < 0 for each in comparisons)
    return Comparison(
        float(np.mean([each.difference for each in comparisons])),
        min(each.low for each in comparisons),
        max(each.high for each in comparisons),
        max(each.p for each in comparisons) if agree else 1.0,
        sum(each.seeds for each in comparisons),
    )


def holm(p_values: Sequence[float], chosen_from: int = 0) -> list[float]:
    """Return adjusted p-values, in the order given: at most a share α of such tables has a false finding below α.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure (Scandinavian Journal of Statistics 1979).

    Args:
        chosen_from: number of tests from which the data chose these: for tests against the best of k rows, the
            k(k - 1)/2 between all of them. The others count as tests that were made, and were not significant.
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)
    steps = values[order] * (max(chosen_from, len(values)) - np.arange(len(values)))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


# --------------------------------------------------------------------------------- other metrics


def resample_interval(
    values: np.ndarray, value: float, bounds: tuple[float, float], smaller_count: int, level: float = LEVEL
) -> tuple[float, float]:
    """Return the interval of a metric from its values over resamples (r,) and its value on the original images.

    It is the smallest that contains the middle ``level`` of the values and their reflection at ``value`` (percentile
    and basic bootstrap interval: Davison and Hinkley, Bootstrap Methods and Their Application, 1997, chapter 5). An
    image that is drawn twice is a tie, and ties raise average precision far below chance: resamples are then higher
    than the value, and the percentile interval alone misses it.

    Where every image is on the right side, so it is in every resample. As for AUROC, the true value may then be
    1 - (1 - level)^(1 / smaller_count) of the metric's range away.

    Args:
        bounds: the least and the greatest value of the metric.
        smaller_count: the smaller number of images.
    """
    ends = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    both = np.clip([*ends, *(2 * value - ends)], *bounds)
    low, high = float(both.min()), float(both.max())
    if low < high or not np.isfinite(bounds).all():
        return low, high
    margin = (bounds[1] - bounds[0]) * (1 - (1 - level) ** (1 / smaller_count))
    return max(bounds[0], low - margin), min(bounds[1], high + margin)


def compare_resampled(
    first: np.ndarray,
    second: np.ndarray,
    difference: float,
    bounds: tuple[float, float],
    smaller_count: int,
    level: float = LEVEL,
) -> Comparison:
    """Compare two detectors by paired resamples of a metric, (r,) each: the difference over its standard error.

    Where all resamples give the same difference, p is the level at which their intervals, widened as in
    ``resample_interval``, would just touch; without bounds it is 1/r, as r resamples cannot show less.

    Args:
        difference: of the metric on the original images.
        bounds: the least and the greatest value of the metric.
        smaller_count: the smaller number of images.
    """
    sd = float(np.std(first - second, ddof=1))
    found = _compared(difference, sd, smaller_count, level)
    if sd > SAME:
        return found
    is_bounded = bool(np.isfinite(bounds).all())
    p = (1 - abs(difference) / (bounds[1] - bounds[0]) / 2) ** smaller_count if is_bounded else 1 / len(first)
    return replace(found, p=max(found.p, p))
