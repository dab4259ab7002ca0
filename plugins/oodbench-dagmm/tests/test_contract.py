"""DAGMM keeps the contract of every detector, on each shape."""

from __future__ import annotations

import pytest
from oodbench_dagmm.detector import DAGMM

from oodbench.testing import DetectorCase, parametrize


@parametrize(
    pytest.param(DetectorCase(DAGMM, (1, 28, 28), {"width": 0.1}), id="grey"),
    pytest.param(DetectorCase(DAGMM, (3, 32, 32), {"width": 0.1}), id="colour", marks=pytest.mark.slow),
)
def test_contract(check, case):
    check(case)
