"""Both detectors keep the contract of every detector, on each shape."""

from __future__ import annotations

import pytest
from oodbench_vae.detector import VAE, VAELikelihood

from oodbench.testing import DetectorCase, parametrize

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
SLOW = pytest.mark.slow  # the two share all but the score: each score on grey images is enough for every day
CASES = [
    pytest.param(DetectorCase(VAE, GREY, {"width": 0.1}), id="vae-grey"),
    pytest.param(DetectorCase(VAELikelihood, COLOUR, {"width": 0.1}), id="vae-likelihood-colour", marks=SLOW),
    pytest.param(DetectorCase(VAE, COLOUR, {"width": 0.1}), id="vae-colour", marks=SLOW),
    pytest.param(DetectorCase(VAELikelihood, GREY, {"width": 0.1}), id="vae-likelihood-grey"),
]


@parametrize(*CASES)
def test_contract(check, case):
    check(case)
