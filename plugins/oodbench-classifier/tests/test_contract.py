"""The contract that every detector keeps, on each shape."""

from __future__ import annotations

import pytest
from oodbench_classifier.detector import Classifier

from oodbench.testing import DetectorCase, parametrize

CASES = [
    DetectorCase(Classifier, (1, 28, 28), {"width": 0.1}),
    pytest.param(DetectorCase(Classifier, (3, 32, 32), {"width": 0.1}), id="colour", marks=pytest.mark.slow),
]


@pytest.mark.filterwarnings("ignore:classifier passes noise_scores_higher")  # it depends on the training
@parametrize(*CASES)
def test_contract(check, case):
    check(case)
