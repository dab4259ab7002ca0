"""PixelCNN++ keeps the contract of every detector."""

from __future__ import annotations

import pytest
from oodbench_pixelcnnpp.detector import PixelCNNPP

from oodbench.testing import DETECTOR_CHECKS, DetectorCase

case = DetectorCase(PixelCNNPP, (1, 16, 16), {"filters": 4, "mixtures": 2})


@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_contract(check):
    check(case)
