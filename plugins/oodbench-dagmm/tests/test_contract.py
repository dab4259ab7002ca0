"""DAGMM keeps the contract of every detector, on each shape."""

from __future__ import annotations

import pytest
from oodbench_dagmm.detector import DAGMM

from oodbench.testing import DETECTOR_CHECKS, DetectorCase

CASES = [DetectorCase(DAGMM, shape, {"width": 0.1}) for shape in ((1, 28, 28), (3, 32, 32))]


@pytest.mark.parametrize("case", CASES, ids=["grey", "colour"])
@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_contract(check, case):
    check(case)
