"""Checks of a metric: properties that every function of in-scores and out-scores should have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oodbench.api import Metric

COUNTS = (40, 30)
Pair = tuple[np.ndarray, np.ndarray]


@dataclass
class MetricCase:
    """A metric to be checked."""

    metric: Metric

    def value(self, pair: Pair) -> float:
        """Return the metric of copies of in-scores (n,) and out-scores (m,), so that it cannot modify the originals."""
        return self.metric.compute(pair[0].copy(), pair[1].copy())

    def better(self, one: float, other: float) -> bool:
        """Whether the first value is better, in the direction that the metric declares."""
        return one > other if self.metric.higher_is_better else one < other

    @property
    def word(self) -> str:
        """The direction that the metric declares as better: ``higher`` or ``lower``."""
        return "higher" if self.metric.higher_is_better else "lower"


def perfect() -> Pair:
    """Return in-scores (40,) and out-scores (30,), every out-score higher than every in-score."""
    n, m = COUNTS
    return np.arange(n, dtype=float), 1000.0 + np.arange(m)


def inverted() -> Pair:
    """Return in-scores (40,) and out-scores (30,), every out-score lower than every in-score."""
    in_scores, out_scores = perfect()
    return -in_scores, -out_scores


def constant(value: float = 0.5) -> Pair:
    """Return in-scores (40,) and out-scores (30,) that all equal ``value``."""
    n, m = COUNTS
    return np.full(n, value), np.full(m, value)


def tied() -> Pair:
    """Return in-scores (40,) and out-scores (30,) with few distinct values, so that many pairs tie."""
    n, m = COUNTS
    return np.arange(n) % 3 / 1.0, np.arange(m) % 3 + 1.0


def mixed() -> Pair:
    """Return overlapping in-scores (40,) and out-scores (30,) without ties."""
    random = np.random.default_rng(0)
    return random.normal(0, 1, COUNTS[0]), random.normal(1, 1, COUNTS[1])


def one_finite_number_for_any_scores(case: MetricCase) -> None:
    """Check that the metric is one finite float for scores of any kind and number."""
    kinds = {
        "perfect": perfect(),
        "inverted": inverted(),
        "constant": constant(),
        "tied": tied(),
        "mixed": mixed(),
        "one in-score and one out-score": (np.zeros(1), np.ones(1)),
        "one in-score and many": (np.zeros(1), np.arange(5.0)),
        "huge and tiny": (np.array([-1e300, 1e-300]), np.array([1e300, 0.0])),
    }
    for kind, pair in kinds.items():
        value = case.value(pair)
        assert np.ndim(value) == 0 and isinstance(value, float | np.floating), (
            f"{kind} scores give {value!r}: return one float"
        )
        assert math.isfinite(value), f"{kind} scores give {value}: every pair of score lists must have a finite value"


def perfect_scores_are_best(case: MetricCase) -> None:
    """Check that perfect scores are best and inverted ones worst, in the direction that the metric declares."""
    best, worst = case.value(perfect()), case.value(inverted())
    assert case.better(best, worst), (
        f"perfect scores give {best:.4g}, inverted ones {worst:.4g}, though {case.word} is declared better: "
        "out-images are the positive class and score higher; reverse compute or higher_is_better"
    )
    for kind, pair in {"tied": tied(), "mixed": mixed()}.items():
        value = case.value(pair)
        assert not case.better(value, best) and not case.better(worst, value), (
            f"{kind} scores give {value:.4g}, which is not between perfect {best:.4g} and inverted {worst:.4g}"
        )


def constant_scores_are_not_perfect(case: MetricCase) -> None:
    """Check that constant scores, whatever the constant, are not rated as perfect."""
    best, worst = case.value(perfect()), case.value(inverted())
    low, high = sorted((best, worst))
    values = [case.value(constant(value)) for value in (0.5, 0.0, -3.0)]
    assert len(set(values)) == 1, f"constant scores give {values}, which depends on the constant"
    assert low <= values[0] <= high and values[0] != best, (
        f"constant scores give {values[0]:.4g}, perfect ones {best:.4g}, inverted ones {worst:.4g}: "
        "do not count a tie as a success"
    )


def order_does_not_matter(case: MetricCase) -> None:
    """Check that the order of in-scores, and that of out-scores, does not matter, above all where scores tie."""
    random = np.random.default_rng(1)
    for kind, pair in {"tied": tied(), "mixed": mixed(), "constant": constant()}.items():
        in_scores, out_scores = pair
        first = case.value(pair)
        orders = [(in_scores[::-1], out_scores[::-1]), (np.sort(in_scores), np.sort(out_scores))]
        orders += [(random.permutation(in_scores), random.permutation(out_scores)) for _ in range(3)]
        for order in orders:
            value = case.value(order)
            assert math.isclose(value, first, rel_tol=1e-9, abs_tol=1e-12), (
                f"{kind} scores give {first:.6g} or {value:.6g} by their order: treat equal scores as one step"
            )


def ties_lie_between_the_ways_to_break_them(case: MetricCase) -> None:
    """Check that the value of tied scores lies between those with every tie lost and with every tie won."""
    in_scores, out_scores = tied()
    value, won, lost = (case.value((in_scores, out_scores + nudge)) for nudge in (0.0, 1e-6, -1e-6))
    assert min(lost, won) <= value <= max(lost, won), (
        f"tied scores give {value:.6g}; with every tie won it is {won:.6g}, with every tie lost {lost:.6g}"
    )


def values_are_within_the_bounds(case: MetricCase) -> None:
    """Check that no value is outside the bounds that the metric declares."""
    low, high = case.metric.bounds
    for kind, pair in {"perfect": perfect(), "inverted": inverted(), "tied": tied(), "constant": constant()}.items():
        value = case.value(pair)
        assert low <= value <= high, f"{kind} scores give {value:.4g}, and bounds are {low:g} and {high:g}: widen them"


def resamples_are_counted_as_scores_are(case: MetricCase) -> None:
    """Check that ``resampled`` returns for counts of each score what ``compute`` returns for the scores themselves."""
    if case.metric.resampled is None:
        return
    in_scores, out_scores = tied()
    scores = np.unique(np.concatenate([in_scores, out_scores]))
    random = np.random.default_rng(2)
    pairs = [(in_scores, out_scores)]
    pairs += [(random.choice(in_scores, len(in_scores)), random.choice(out_scores, len(out_scores))) for _ in range(3)]
    counts = [_counts(scores, [pair[side] for pair in pairs]) for side in (0, 1)]
    values = np.asarray(case.metric.resampled(*counts))
    assert values.shape == (len(pairs),), f"resampled gives {values.shape} values of {len(pairs)} samples: one of each"
    for found, pair in zip(values, pairs, strict=True):
        expected = case.value(pair)
        assert math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9), (
            f"resampled gives {found:.6g} of counts of the scores of which compute gives {expected:.6g}"
        )


def _counts(scores: np.ndarray, samples: list[np.ndarray]) -> np.ndarray:
    """Return how often each score occurs in each sample, (samples, scores)."""
    return np.array([[np.count_nonzero(sample == score) for score in scores] for sample in samples])


def scores_are_left_alone(case: MetricCase) -> None:
    """Check that the metric does not modify the scores that it is given."""
    for pair in (mixed(), tied()):
        given = tuple(scores.copy() for scores in pair)
        case.metric.compute(*given)
        for scores, before, name in zip(given, pair, ("in-scores", "out-scores"), strict=True):
            assert np.array_equal(scores, before), f"compute wrote into the {name}: sort a copy"


def says_what_it_is(case: MetricCase) -> None:
    """Check that the metric has a summary."""
    assert case.metric.summary, "there is no summary: one line for the tables"


METRIC_CHECKS: list[Callable[[MetricCase], None]] = [
    one_finite_number_for_any_scores,
    perfect_scores_are_best,
    constant_scores_are_not_perfect,
    order_does_not_matter,
    ties_lie_between_the_ways_to_break_them,
    values_are_within_the_bounds,
    resamples_are_counted_as_scores_are,
    scores_are_left_alone,
    says_what_it_is,
]
