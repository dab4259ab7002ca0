"""Glow keeps the contract of every detector."""

from __future__ import annotations

from oodbench_glow.detector import Glow

from oodbench.testing import DetectorCase, parametrize


@parametrize(DetectorCase(Glow, (1, 28, 28), {"depth": 2, "hidden": 16}))
def test_contract(check, case):
    check(case)
