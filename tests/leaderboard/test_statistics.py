"""Intervals and tests against definitions, published values and simulations."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
from scipy.stats import norm

from oodbench.builtin.metrics import register_metrics
from oodbench.leaderboard import resampling
from oodbench.leaderboard.resampling import resampled_values
from oodbench.leaderboard.statistics import (
    Comparison,
    auroc_interval,
    combine_seeds,
    compare_auroc,
    compare_resampled,
    holm,
    resample_interval,
)

METRICS = {metric.name: metric for metric in register_metrics()}


def difference_by_definition(first, second):
    """DeLong's difference of two AUROCs, with its standard error."""
    values, covariance = by_definition(*(np.stack(pair) for pair in zip(first, second, strict=True)))
    return values[0] - values[1], np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


def by_definition(in_scores, out_scores):
    """DeLong's AUROC and covariance from all n·m comparisons, for k detectors."""
    wins = np.array(
        [
            [[1.0 if o > i else 0.5 if o == i else 0.0 for o in outs] for i in ins]
            for ins, outs in zip(in_scores, out_scores, strict=True)
        ]
    )
    of_in, of_out = wins.mean(axis=2), wins.mean(axis=1)
    return wins.mean(axis=(1, 2)), np.cov(of_in) / of_in.shape[1] + np.cov(of_out) / of_out.shape[1]


@pytest.mark.parametrize("digits", [0, 1, 8])
def test_values_and_differences_are_those_of_the_definition_with_ties_and_without(digits):
    generator = np.random.default_rng(0)
    in_scores = generator.normal(size=(3, 23)).round(digits)
    out_scores = (generator.normal(size=(3, 17)) + np.array([[0.0], [1.0], [-2.0]])).round(digits)
    expected, _ = by_definition(in_scores, out_scores)
    pairs = [*zip(in_scores, out_scores, strict=True)]
    for row, other in product(range(3), range(3)):
        assert auroc_interval(*pairs[row]).value == pytest.approx(expected[row], rel=1e-14)
        difference, sd = difference_by_definition(pairs[row], pairs[other])
        found = compare_auroc(pairs[row], pairs[other])
        assert found.difference == pytest.approx(difference, abs=1e-14)
        assert found.high - found.low == pytest.approx(2 * norm.ppf(0.975) * sd, abs=1e-7)


def test_the_interval_is_symmetric_on_the_logit_scale():
    generator = np.random.default_rng(1)
    ins, outs = generator.normal(size=300), generator.normal(size=200) + 1.5
    found = auroc_interval(ins, outs)
    _, variance = by_definition(ins[None], outs[None])
    value = found.value
    half = norm.ppf(0.975) * np.sqrt(float(variance)) / (value * (1 - value))
    assert np.log(found.high / (1 - found.high)) == pytest.approx(np.log(value / (1 - value)) + half)
    assert np.log(found.low / (1 - found.low)) == pytest.approx(np.log(value / (1 - value)) - half)


def test_perfect_separation_is_not_certainty():
    found = auroc_interval(np.arange(50.0), np.arange(100.0, 130.0))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.05 ** (1 / 30))
    turned = auroc_interval(np.arange(100.0, 130.0), np.arange(50.0))
    assert (turned.value, turned.low) == (0.0, 0.0)
    assert turned.high == pytest.approx(1 - 0.05 ** (1 / 30))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 9), (9, 1), (9, 9)])
def test_few_or_equal_scores_have_an_interval_too(n, m):
    found = auroc_interval(np.zeros(n), np.zeros(m))
    assert found.value == 0.5 and 0 < found.low < 0.5 < found.high < 1
    above = auroc_interval(np.zeros(n), np.ones(m))
    assert above.value == above.high == 1 and 0 < above.low < 1


def test_two_detectors_are_compared_on_the_same_images():
    generator = np.random.default_rng(2)
    shared_in, shared_out = generator.normal(size=200), generator.normal(size=150) + 1
    first = shared_in + 0.3 * generator.normal(size=200), shared_out + 0.3 * generator.normal(size=150)
    second = shared_in + 0.9 * generator.normal(size=200), shared_out + 0.9 * generator.normal(size=150)
    difference, sd = difference_by_definition(first, second)
    found = compare_auroc(first, second)
    assert found.difference == pytest.approx(difference)
    assert found.high - found.low == pytest.approx(2 * norm.ppf(0.975) * sd)
    assert found.p == pytest.approx(2 * norm.sf(abs(difference) / sd))
    other = compare_auroc(second, first)
    assert (other.difference, other.low, other.high, other.p) == pytest.approx(
        (-found.difference, -found.high, -found.low, found.p)
    )


@pytest.mark.parametrize(
    ("rounded", "first", "second", "p"),
    [
        (False, 0.7462500000000001, 0.6737500000000001, 0.33006997283048334),
        (True, 0.740625, 0.65375, 0.2324473661765437),
    ],
)
def test_the_paired_test_is_that_of_mlstatkit(rounded, first, second, p):
    """What MLstatkit 0.1.91's Delong_test gives for these scores, without ties and with."""
    number = np.arange(60)
    is_out = number % 3 == 0
    scores = np.sin(number * 1.7) + is_out * 0.8, np.cos(number * 2.3) * 0.9 + np.sin(number * 1.7) * 0.5 + is_out * 0.5
    if rounded:
        scores = tuple(np.round(each * 2) / 2 for each in scores)
    pairs = [(each[~is_out], each[is_out]) for each in scores]
    found = compare_auroc(*pairs)
    assert found.p == pytest.approx(p, rel=1e-9)
    assert found.difference == pytest.approx(first - second, abs=1e-12)
    assert auroc_interval(*pairs[0]).value == pytest.approx(first, abs=1e-12)


def test_the_same_ranking_is_no_difference_and_opposite_ones_are():
    ins, outs = np.arange(20.0), np.arange(10.0, 40.0)
    same = compare_auroc((ins, outs), (np.exp(ins), np.exp(outs)))
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    apart = np.arange(100.0, 120.0)
    opposite = compare_auroc((ins, apart), (-ins, -apart))
    assert opposite.difference == 1.0 and opposite.p == pytest.approx(2.0**-19)


def test_one_swapped_pair_of_many_images_is_no_finding():
    """Of both kinds one image has another placement, by 1 / n: the variance is 2 / n⁴ = 8e-19."""
    ins = np.arange(40_000) * 2.0
    outs = ins + 0.4 * len(ins) + 1
    swapped = np.where(np.arange(len(outs)) == len(outs) // 2, outs - 2, outs)
    found = compare_auroc((ins, outs), (ins, swapped))
    assert found.difference == pytest.approx(1 / len(ins) ** 2)
    assert found.p == pytest.approx(2 * norm.sf(1 / np.sqrt(2)), rel=1e-3)


@pytest.mark.parametrize("few", [1, 2, 3, 10])
def test_few_images_are_no_certainty(few):
    ins, outs = np.arange(few), np.arange(100, 100 + few)
    assert compare_auroc((ins, outs), (-ins, -outs)).p >= 2.0 ** (1 - few)
    values, noise = np.random.default_rng(0).normal(1.0, 1e-6, size=(2, 200))
    bounds, unbounded = (0.0, 1.0), (-np.inf, np.inf)
    assert compare_resampled(values, noise - 1.0, 1.0, bounds, few).p == 2.0 ** (1 - few)
    alike = values, values - values.mean()  # 200 resamples of one difference
    assert compare_resampled(*alike, 1.0, unbounded, few).p == max(2.0 ** (1 - few), 1 / 200)
    assert compare_resampled(*alike, 1.0, bounds, few).p == 2.0 ** (1 - few), "from one end to the other"
    for difference in (0.5, 0.02):
        p = compare_resampled(*alike, difference, bounds, few).p
        margin = resample_interval(np.ones(9), 1.0, bounds, few, level=1 - p)[0]
        assert p == pytest.approx(2.0 ** (1 - few)) or margin == pytest.approx(1 - difference / 2)


def test_values_that_differ_in_their_last_bit_are_the_same():
    assert compare_resampled(np.full(200, 0.7), np.full(200, 0.7), 1.1e-16, (0.0, 1.0), 1000).p == 1.0


def test_seeds_must_agree():
    one, other = Comparison(0.2, 0.1, 0.3, 0.001), Comparison(0.1, -0.1, 0.2, 0.4)
    both = combine_seeds([one, other])
    assert (both.difference, both.low, both.high, both.p, both.seeds) == (pytest.approx(0.15), -0.1, 0.3, 0.4, 2)
    against = Comparison(-0.2, -0.3, -0.1, 0.001)
    assert combine_seeds([one, against]).p == 1.0
    assert combine_seeds([one]) == one


def test_holm_is_the_step_down_procedure():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.01, 0.02], chosen_from=3) == pytest.approx([0.03, 0.04])


def test_an_interval_of_resamples_holds_the_value_and_what_resamples_are_reflected_at_it():
    values = np.linspace(0.2, 0.3, 1001)  # quantiles .2025 and .2975
    within = resample_interval(values, 0.25, (0.0, 1.0), 100)
    assert within == pytest.approx((0.2025, 0.2975))
    below = resample_interval(values, 0.19, (0.0, 1.0), 100)
    assert below == pytest.approx((2 * 0.19 - 0.2975, 0.2975))
    assert resample_interval(values, 0.05, (0.0, 1.0), 100)[0] == 0.0, "the least that it can be"
    everywhere = resample_interval(np.ones(1000), 1.0, (0.0, 1.0), 100)
    assert everywhere == pytest.approx((0.05 ** (1 / 100), 1.0)), "no certainty"


@pytest.mark.slow
@pytest.mark.parametrize("auroc", [0.02, 0.1, 0.5, 0.9])
def test_average_precision_has_an_interval_that_holds_the_true_value(auroc):
    """Far below chance too, where an image that is drawn twice is a tie that average precision gains by."""
    generator, metrics = np.random.default_rng(9), [METRICS["aupr_out"], METRICS["aupr_in"]]

    def scores(n):
        return generator.normal(size=n), generator.normal(size=n) + np.sqrt(2) * norm.ppf(auroc)

    true = [metric.compute(*scores(500_000)) for metric in metrics]
    hits = []
    for _ in range(200):
        pair = scores(200)
        (resampled,) = resampled_values([pair], [[metric.resampled for metric in metrics]], 500)
        for metric, values, value in zip(metrics, resampled, true, strict=True):
            low, high = resample_interval(values, metric.compute(*pair), metric.bounds, 200)
            hits.append(low <= value <= high)
    assert np.mean(hits) > 0.9


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("digits", [0, 1, 8])
def test_a_metric_of_counts_is_the_metric_of_the_scores_they_count(name, digits):
    generator = np.random.default_rng(3)
    values = np.unique(generator.normal(size=30).round(digits))
    in_counts, out_counts = (generator.integers(0, 4, (20, len(values))) for _ in range(2))
    expected = [
        METRICS[name].compute(np.repeat(values, ins), np.repeat(values, outs))
        for ins, outs in zip(in_counts, out_counts, strict=True)
    ]
    np.testing.assert_allclose(METRICS[name].resampled(in_counts, out_counts), expected, rtol=1e-12)


def test_the_bootstrap_is_seeded_stratified_and_near_the_exact_interval():
    generator = np.random.default_rng(4)
    ins, outs = generator.normal(size=400), generator.normal(size=300) + 1

    def bootstrap(functions, resamples, seed=0):
        (values,) = resampled_values([(ins, outs)], [functions], resamples, seed)
        return [tuple(np.quantile(each, (0.025, 0.975))) for each in values]

    resampled = [metric.resampled for metric in METRICS.values()]
    first, again = (bootstrap(resampled, 400) for _ in range(2))
    assert first == again != bootstrap(resampled, 400, seed=1)
    exact = auroc_interval(ins, outs)
    low, high = dict(zip(METRICS, first, strict=True))["auroc"]
    assert (low, high) == (pytest.approx(exact.low, abs=0.01), pytest.approx(exact.high, abs=0.01))
    for metric, (low, high) in zip(METRICS.values(), first, strict=True):
        assert low < metric.compute(ins, outs) < high

    def sizes(in_counts, out_counts):
        return np.unique([in_counts.sum(axis=1), out_counts.sum(axis=1)])

    drawn = bootstrap([sizes], 9)
    assert drawn[0] == pytest.approx((302.5, 397.5)), "as many of each kind as there are"


@pytest.mark.parametrize("digits", [0, 8])
def test_resamples_are_of_images_drawn_with_replacement_and_the_same_for_all_detectors(digits, monkeypatch):
    monkeypatch.setattr(resampling, "COUNTED_AT_ONCE", 100)
    monkeypatch.setattr(resampling, "DRAWN_AT_ONCE", 200)
    generator = np.random.default_rng(5)
    pairs = [(generator.normal(size=20).round(digits), generator.normal(size=30).round(digits)) for _ in range(3)]
    functions, done = [metric.resampled for metric in METRICS.values()], []
    found = resampled_values(pairs, [functions] * 3, 10, advance=done.append)
    assert done == [4, 8, 10]
    drawing = np.random.default_rng(0)
    drawn = [[drawing.integers(0, size, (count, size)) for size in (20, 30)] for count in (4, 4, 2)]
    for (inside, outside), values in zip(pairs, found, strict=True):
        for metric, of_metric in zip(METRICS.values(), values, strict=True):
            expected = [
                metric.compute(inside[of_in], outside[of_out])
                for part in drawn
                for of_in, of_out in zip(*part, strict=True)
            ]
            np.testing.assert_allclose(of_metric, expected, rtol=1e-12)


# ------------------------------------------------------------------------------------ simulations

SHAPES = {
    "gaussian": lambda generator, n, shift: generator.normal(size=n) + shift,
    "heavy-tailed": lambda generator, n, shift: generator.standard_t(3, size=n) + shift,
    "tied": lambda generator, n, shift: (2 * (generator.normal(size=n) + shift)).round(),
}


def shift_of(draw, auroc) -> float:
    """How far out-scores must lie above in-scores for this AUROC, of two large samples."""
    generator = np.random.default_rng(5)
    low, high = 0.0, 30.0
    for _ in range(30):
        middle = (low + high) / 2
        found = auroc_interval(draw(generator, 200_000, 0.0), draw(generator, 200_000, middle)).value
        low, high = (middle, high) if found < auroc else (low, middle)
    return low


TOO_NARROW = {("heavy-tailed", 0.99, 1000): 0.924}
"""Where the interval is known to hold the true value less often: few out-images carry the whole loss."""


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(2000, 2000), (10_000, 1000)])
@pytest.mark.parametrize(("shape", "auroc"), [*product(SHAPES, (0.5, 0.8, 0.99))])
def test_the_interval_holds_the_true_value_in_95_cases_of_100(shape, auroc, n, m):
    draw = SHAPES[shape]
    shift = shift_of(draw, auroc)
    generator = np.random.default_rng(6)
    true = np.mean(
        [auroc_interval(draw(generator, 500_000, 0.0), draw(generator, 500_000, shift)).value for _ in range(8)]
    )
    found = [auroc_interval(draw(generator, n, 0.0), draw(generator, m, shift)) for _ in range(2500)]
    coverage = np.mean([each.low <= true <= each.high for each in found])
    expected = TOO_NARROW.get((shape, auroc, m), 0.95)
    assert coverage == pytest.approx(expected, abs=0.01 + 0.0044)  # one point, and one standard error of 2,500 trials


def correlated(generator, n, quality):
    base = generator.normal(size=n)
    return [base + quality + 0.7 * generator.normal(size=n) for _ in range(2)]


@pytest.mark.slow
def test_two_equal_detectors_are_told_apart_in_5_cases_of_100():
    generator = np.random.default_rng(7)
    draw = partial(correlated, generator, 500)
    trials = [compare_auroc(*zip(draw(0.0), draw(1.0), strict=True)).p < 0.05 for _ in range(4000)]
    assert np.mean(trials) == pytest.approx(0.05, abs=0.01)


@pytest.mark.slow
def test_of_tables_of_equal_detectors_at_most_one_in_twenty_has_a_finding():
    generator = np.random.default_rng(8)
    any_finding = []
    for _ in range(1000):
        pairs = [zip(*(correlated(generator, 300, shift) for shift in (0.0, 1.0)), strict=True) for _ in range(8)]
        any_finding.append(min(holm([compare_auroc(*pair).p for pair in pairs])) < 0.05)
    assert np.mean(any_finding) < 0.06
