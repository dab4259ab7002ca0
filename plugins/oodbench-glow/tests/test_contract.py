"""Glow keeps the contract of every detector."""

from __future__ import annotations

import pytest
from oodbench_glow.detector import Glow

from oodbench.testing import DETECTOR_CHECKS, DetectorCase

case = DetectorCase(Glow, (1, 28, 28), {"depth": 2, "hidden": 16})


@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_contract(check):
    check(case)
