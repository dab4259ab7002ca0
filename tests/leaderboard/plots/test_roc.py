"""ROC curves as scikit-learn has them, and their mean over seeds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as expected_curve

from oodbench.leaderboard.plots.roc import MOST_POINTS, _points, mean_curve, roc_curve


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 2.0])
def test_a_curve_is_that_of_scikit_learn(ties, shift):
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=300), rng.normal(size=70) + shift
    if ties:
        inside, outside = inside.round(), outside.round()
    curve = roc_curve(inside, outside)
    labels, scores = np.r_[np.zeros(300), np.ones(70)], np.r_[inside, outside]
    rates = expected_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positives, rates[0])
    np.testing.assert_allclose(curve.true_positives, rates[1])
    assert curve.auroc == pytest.approx(roc_auc_score(labels, scores))
    assert np.trapezoid(curve.true_positives, curve.false_positives) == pytest.approx(curve.auroc)


def test_the_mean_of_a_perfect_and_a_useless_detector_is_half_way():
    perfect = roc_curve(np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    useless = roc_curve(np.ones(4), np.ones(4))
    grid = np.array([0.0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(mean_curve([perfect], grid), [1, 1, 1, 1])
    np.testing.assert_allclose(mean_curve([useless], grid), grid)
    np.testing.assert_allclose(mean_curve([perfect, useless], grid), (1 + grid) / 2)


def test_what_is_drawn_encloses_the_same_area_with_few_points():
    rng = np.random.default_rng(0)
    curve = roc_curve(rng.normal(size=20_000), rng.normal(size=20_000) + 1)
    grid = np.linspace(0, 1, 1001)
    x, y = _points(curve, grid)
    assert len(x) <= MOST_POINTS
    assert np.trapezoid(y, x) == pytest.approx(curve.auroc, abs=1e-3)
    small = roc_curve(rng.normal(size=200), rng.normal(size=200))
    x, y = _points(small, grid)
    assert len(x) < len(small.false_positives)
    assert np.trapezoid(y, x) == pytest.approx(small.auroc)
