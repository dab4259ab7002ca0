"""The contract that every detector keeps."""

from __future__ import annotations

from oodbench_igebm.detector import IGEBM

from oodbench.testing import DetectorCase, parametrize


@parametrize(DetectorCase(IGEBM, (1, 28, 28), {"width": 0.04}))
def test_contract(check, case):
    check(case)
