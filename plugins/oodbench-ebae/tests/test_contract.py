"""The contract that every detector keeps, on both shapes."""

from __future__ import annotations

import pytest
from oodbench_ebae.detector import EBAE

from oodbench.testing import DetectorCase, parametrize

SMALL = {"width": 0.2, "latent_dim": 4, "epochs": 1, "latent_chain.steps": 2, "visible_chain.steps": 2}
CASES = [
    pytest.param(DetectorCase(EBAE, (1, 28, 28), SMALL), id="grey"),
    pytest.param(DetectorCase(EBAE, (3, 32, 32), SMALL), id="colour", marks=pytest.mark.slow),
]


@parametrize(*CASES)
def test_contract(check, case):
    check(case)
