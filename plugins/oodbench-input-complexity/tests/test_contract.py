"""The contract that every detector keeps, over a small likelihood."""

from __future__ import annotations

import pytest
from oodbench_input_complexity.detector import InputComplexity

from oodbench.testing import DetectorCase, parametrize

CASE = DetectorCase(
    InputComplexity,
    (1, 28, 28),
    values={"base": "pixels"},
    alternatives={"base": ("levels",)},
)


@pytest.mark.usefixtures("bases")
@parametrize(CASE)
def test_contract(check, case):
    check(case)
