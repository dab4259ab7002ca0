"""The contract that every detector keeps, on both shapes."""

from __future__ import annotations

import pytest
from oodbench_ae.detector import AE

from oodbench.testing import DETECTOR_CHECKS, DetectorCase

CASES = [DetectorCase(AE, shape, {"width": 0.1, "latent_dim": 4}) for shape in ((1, 28, 28), (3, 32, 32))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "x".join(map(str, case.shape)))
@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_contract(check, case):
    check(case)
