"""DAE keeps the contract of every detector, on each shape."""

from __future__ import annotations

import pytest
from oodbench_dae.detector import DAE

from oodbench.testing import DetectorCase, parametrize


@parametrize(
    pytest.param(DetectorCase(DAE, (1, 28, 28), {"width": 0.1}), id="grey"),
    pytest.param(DetectorCase(DAE, (3, 32, 32), {"width": 0.1}), id="colour", marks=pytest.mark.slow),
)
def test_contract(check, case):
    check(case)
