"""WAE keeps the contract of every detector, on each shape."""

from __future__ import annotations

from oodbench_wae.detector import WAE

from oodbench.testing import DetectorCase, parametrize


@parametrize(*(DetectorCase(WAE, shape, {"width": 0.1}) for shape in ((1, 28, 28), (3, 32, 32))))
def test_contract(check, case):
    check(case)
