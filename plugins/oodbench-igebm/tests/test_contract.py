"""The contract that every detector keeps."""

from __future__ import annotations

import pytest
from oodbench_igebm.detector import IGEBM

from oodbench.testing import DETECTOR_CHECKS, DetectorCase

case = DetectorCase(IGEBM, (1, 28, 28), values={"width": 0.04})


@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_contract(check):
    check(case)
