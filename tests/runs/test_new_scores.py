"""p-values by rank, and the images that are kept."""

from __future__ import annotations

import numpy as np
import pytest

from oodbench.errors import OODBenchError
from oodbench.runs.new_scores import _Highest, check_rate, p_values


def test_p_values_count_the_in_scores_that_are_as_high():
    random = np.random.default_rng(0)
    in_scores, scores = random.integers(0, 20, 99).astype(float), random.integers(-5, 25, 50).astype(float)
    expected = [(1 + sum(each >= score for each in in_scores)) / 100 for score in scores]
    np.testing.assert_allclose(p_values(scores, in_scores), expected)


def test_images_like_the_in_data_are_flagged_no_more_often_than_allowed():
    random = np.random.default_rng(0)
    rates = [np.mean(p_values(random.normal(size=50), random.normal(size=99)) <= 0.05) for _ in range(400)]
    assert np.mean(rates) == pytest.approx(0.05, abs=0.006)


def test_a_rate_needs_in_scores_enough():
    check_rate(0.01, 99)
    with pytest.raises(OODBenchError, match="needs 99 scores of in-images, and the run has 98"):
        check_rate(0.01, 98)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan"), 1e-320])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(OODBenchError, match="a false-positive rate is between 0 and 1"):
        check_rate(rate, 99)


def test_the_highest_are_kept_over_all_parts():
    random = np.random.default_rng(0)
    scores = random.integers(0, 9, 40).astype(float)
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    best = _Highest(6)
    for start in range(0, 40, 7):
        best.add(scores[start : start + 7], images[start : start + 7])
    expected = np.argsort(-scores, kind="stable")[:6]
    assert best.places.tolist() == expected.tolist()
    np.testing.assert_array_equal(best.images((1, 1, 1)), images[expected])
    assert _Highest(6).images((1, 2, 2)).shape == (0, 1, 2, 2)
