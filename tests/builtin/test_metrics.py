"""The metrics against scikit-learn, against counts by hand, and against what their names promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from oodbench.builtin.metrics import register_metrics

METRICS = {metric.name: metric.compute for metric in register_metrics()}


def reference(in_scores, out_scores):
    scores = np.concatenate([in_scores, out_scores])
    is_out = np.repeat([0, 1], [len(in_scores), len(out_scores)])

    def fpr95(labels, scores):
        fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
        return fpr[tpr >= 0.95].min()

    return {
        "auroc": roc_auc_score(is_out, scores),
        "aupr_out": average_precision_score(is_out, scores),
        "aupr_in": average_precision_score(1 - is_out, -scores),
        "fpr95_out": fpr95(is_out, scores),
        "fpr95_in": fpr95(1 - is_out, -scores),
    }


def measured(in_scores, out_scores):
    return {name: compute(in_scores, out_scores) for name, compute in METRICS.items()}


def random_pair(seed):
    """Score sets of 1 to 300, from one distinct value to all distinct, shifted either way."""
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 300, size=2)
    in_scores = rng.normal(size=n)
    out_scores = rng.normal(rng.uniform(-2, 2), rng.uniform(0.1, 3), size=m)
    decimals = rng.integers(-1, 4)
    return (in_scores, out_scores) if decimals == 3 else (in_scores.round(decimals), out_scores.round(decimals))


EDGES = {
    "perfect": ([0.0, 1, 2], [3.0, 4]),
    "inverted": ([3.0, 4], [0.0, 1, 2]),
    "constant": ([0.5] * 7, [0.5] * 3),
    "one each, in order": ([0.0], [1.0]),
    "one each, inverted": ([1.0], [0.0]),
    "one each, tied": ([1.0], [1.0]),
    "zero and minus zero": ([0.0, -0.0, 1.0], [-0.0, 0.0]),
    "one out-image": (np.arange(100.0), [50.0]),
    "tiny": ([1e-300, 2e-300], [1.5e-300, 5e-324]),
    "neighbours": ([1.0, np.nextafter(1, 2)], [1.0, np.nextafter(1, 0)]),
}


@pytest.mark.parametrize("case", EDGES)
def test_edge_cases_equal_scikit_learn(case):
    in_scores, out_scores = (np.asarray(scores, dtype=np.float64) for scores in EDGES[case])
    assert measured(in_scores, out_scores) == pytest.approx(reference(in_scores, out_scores), abs=1e-12, rel=0)


def test_random_scores_with_ties_equal_scikit_learn():
    for seed in range(200):
        pair = random_pair(seed)
        assert measured(*pair) == pytest.approx(reference(*pair), abs=1e-12, rel=0), f"seed {seed}"


@pytest.mark.parametrize("decimals", [1, 15])
def test_large_sets_equal_scikit_learn(decimals):
    rng = np.random.default_rng(0)
    pair = rng.normal(size=60_000).round(decimals), rng.normal(0.5, 2, size=26_032).round(decimals)
    assert measured(*pair) == pytest.approx(reference(*pair), abs=1e-12, rel=0)


@pytest.mark.parametrize("n", [*range(1, 45), 100, 1000, 2000])
def test_95_percent_is_counted_in_whole_images(n):
    """With scores 0 … n-1 on both sides, ⌈95 n / 100⌉ images must be caught, and no more are."""
    scores = np.arange(float(n))
    caught = -(-95 * n // 100)
    assert METRICS["fpr95_out"](scores, scores) == caught / n
    assert METRICS["fpr95_in"](scores, scores) == caught / n


def test_values_by_hand():
    in_scores, out_scores = np.array([1.0, 2, 2, 3]), np.array([2.0, 4])
    assert METRICS["auroc"](in_scores, out_scores) == (2 + 4) / 8  # 2 > 1, 2 = 2 twice; 4 > all
    assert METRICS["aupr_out"](in_scores, out_scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 5)
    assert METRICS["fpr95_out"](in_scores, out_scores) == 3 / 4  # t = 2
    assert METRICS["fpr95_in"](in_scores, out_scores) == 1 / 2  # t = 3


def test_a_worse_than_random_detector_is_not_flattered():
    in_scores, out_scores = np.array([3.0, 4]), np.array([0.0, 1, 2])
    assert METRICS["auroc"](in_scores, out_scores) == 0
    assert METRICS["fpr95_out"](in_scores, out_scores) == 1
    assert METRICS["fpr95_in"](in_scores, out_scores) == 1


@pytest.mark.parametrize("rise", [lambda x: 3 * x + 7, lambda x: x**3, np.arctan])
def test_only_the_order_of_the_scores_counts(rise):
    for seed in range(40):
        in_scores, out_scores = (scores.round(2) for scores in random_pair(seed))
        assert measured(rise(in_scores), rise(out_scores)) == measured(in_scores, out_scores), f"seed {seed}"


def test_the_order_of_the_images_does_not_count_and_the_scores_are_left_alone():
    in_scores, out_scores = random_pair(1)
    kept = in_scores.copy(), out_scores.copy()
    forward = measured(in_scores, out_scores)
    assert measured(in_scores[::-1], out_scores[::-1]) == forward
    np.testing.assert_array_equal(in_scores, kept[0])
    np.testing.assert_array_equal(out_scores, kept[1])


def test_the_direction_of_each_metric():
    perfect = measured(np.zeros(5), np.ones(5))
    for metric in register_metrics():
        assert perfect[metric.name] == (1 if metric.higher_is_better else 0), metric.name
