"""The contract that every detector keeps, on both shapes."""

from __future__ import annotations

from oodbench_ae.detector import AE

from oodbench.testing import DetectorCase, parametrize


@parametrize(*(DetectorCase(AE, shape, {"width": 0.1, "latent_dim": 4}) for shape in ((1, 28, 28), (3, 32, 32))))
def test_contract(check, case):
    check(case)
