"""The contracts of detectors, data sets and metrics, as small named checks that anyone can run on their own.

In a plugin's tests, one case for the whole module, so that its fits are shared::

    from oodbench.testing import DETECTOR_CHECKS, DetectorCase

    case = DetectorCase(MyDetector, (1, 28, 28))

    @pytest.mark.parametrize("check", DETECTOR_CHECKS)
    def test_contract(check):
        check(case)

On the command line, ``oodbench check NAME``. A check that fails raises AssertionError, and its message says what is
wrong and what to change; one that does not apply raises Skip, which pytest and unittest know as a skipped test.
"""

from __future__ import annotations

from oodbench.testing.case import DetectorCase
from oodbench.testing.datasets import DATASET_CHECKS, DatasetCase
from oodbench.testing.detectors import DETECTOR_CHECKS
from oodbench.testing.metrics import METRIC_CHECKS, MetricCase
from oodbench.testing.results import CheckResult, Skip, run_checks

__all__ = [
    "DATASET_CHECKS",
    "DETECTOR_CHECKS",
    "METRIC_CHECKS",
    "CheckResult",
    "DatasetCase",
    "DetectorCase",
    "MetricCase",
    "Skip",
    "run_checks",
]
