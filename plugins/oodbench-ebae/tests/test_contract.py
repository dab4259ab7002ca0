"""The contract that every detector keeps, on both shapes."""

from __future__ import annotations

import pytest
from oodbench_ebae.detector import EBAE

from oodbench.testing import DETECTOR_CHECKS, DetectorCase

SMALL = {"width": 0.1, "latent_dim": 4, "epochs": 2, "latent_chain.steps": 2, "visible_chain.steps": 2}
CASES = [DetectorCase(EBAE, shape, SMALL) for shape in ((1, 28, 28), (3, 32, 32))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "x".join(map(str, case.shape)))
@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_contract(check, case):
    check(case)
