"""PixelCNN++ keeps the contract of every detector."""

from __future__ import annotations

from oodbench_pixelcnnpp.detector import PixelCNNPP

from oodbench.testing import DetectorCase, parametrize


@parametrize(DetectorCase(PixelCNNPP, (1, 16, 16), {"filters": 4, "mixtures": 2}))
def test_contract(check, case):
    check(case)
