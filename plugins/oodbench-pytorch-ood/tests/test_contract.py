"""The contract that every detector keeps, on a small classifier."""

from __future__ import annotations

import pytest

pytest.importorskip("pytorch_ood")

from oodbench_pytorch_ood.detectors import detector_classes

from oodbench.testing import DetectorCase, parametrize

FAST = ("po-energy", "po-mahalanobis", "po-odin")
REFUSES = ("po-she",)
"""It needs a correct prediction in each class, which no classifier fitted to the contract's 20 images gives."""
VALUES = {"po-vim": {"d": 4}, "po-openmax": {"tailsize": 10}}
FEATURES = {"po-ash": 0.25}
"""It prunes features: of the few of a narrow network, rounding to bfloat16 exchanges a large share."""


def case_of(detector) -> DetectorCase:
    settings = {"classifier": {"width": FEATURES.get(detector.name, 0.05)}}
    return DetectorCase(detector, (1, 28, 28), VALUES.get(detector.name, {}), base_settings=settings)


CASES = [
    pytest.param(
        case_of(detector),
        id=detector.name,
        marks=[] if detector.name in FAST else pytest.mark.slow,
    )
    for detector in detector_classes()
    if detector.name not in REFUSES
]


@pytest.mark.filterwarnings("ignore:.* passes noise_scores_higher")  # it depends on the classifier
@parametrize(*CASES)
def test_contract(check, case):
    check(case)
