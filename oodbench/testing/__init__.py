"""Contract checks for detectors, data sets, metrics and executors, which a plugin's author can run on the plugin.

In a plugin's tests, with pytest::

    from oodbench.testing import DetectorCase, parametrize

    @parametrize(DetectorCase(MyDetector, (1, 28, 28)))
    def test_contract(check, case):
        check(case)

Without pytest, ``for check in DETECTOR_CHECKS: check(case)``; on the command line, ``oodbench check NAME``. A check
that fails raises AssertionError with a message that names the fault and the remedy. A check that does not apply raises
Skip, which pytest and unittest report as a skipped test. The checks of one case share its fits.

Helpers for a plugin's own tests: ``easy_images`` (enlarged digits), ``kill_and_resume`` and ``InMemoryCheckpoints``
(interrupted fits), ``same_state`` (comparison bit for bit). This package tests plugins; no run needs it. Names
are imported on first use, as the workers of an executor need few of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodbench.lazy import lazy_names

if TYPE_CHECKING:
    from oodbench.testing.case import DetectorCase
    from oodbench.testing.datasets import DATASET_CHECKS, DatasetCase
    from oodbench.testing.detectors import DETECTOR_CHECKS
    from oodbench.testing.executors import EXECUTOR_CHECKS, ExecutorCase, do_as_told
    from oodbench.testing.images import easy_images
    from oodbench.testing.interruption import InMemoryCheckpoints, Killed, kill_and_resume, same_state
    from oodbench.testing.metrics import METRIC_CHECKS, MetricCase
    from oodbench.testing.pytest_support import parametrize
    from oodbench.testing.results import CheckResult, Skip, run_checks

_HOME = {
    "oodbench.testing.case": "DetectorCase",
    "oodbench.testing.datasets": "DATASET_CHECKS DatasetCase",
    "oodbench.testing.detectors": "DETECTOR_CHECKS",
    "oodbench.testing.executors": "EXECUTOR_CHECKS ExecutorCase do_as_told",
    "oodbench.testing.images": "easy_images",
    "oodbench.testing.interruption": "InMemoryCheckpoints Killed kill_and_resume same_state",
    "oodbench.testing.metrics": "METRIC_CHECKS MetricCase",
    "oodbench.testing.pytest_support": "parametrize",
    "oodbench.testing.results": "CheckResult Skip run_checks",
}

__all__ = [
    "DATASET_CHECKS",
    "DETECTOR_CHECKS",
    "EXECUTOR_CHECKS",
    "METRIC_CHECKS",
    "CheckResult",
    "DatasetCase",
    "DetectorCase",
    "ExecutorCase",
    "InMemoryCheckpoints",
    "Killed",
    "MetricCase",
    "Skip",
    "do_as_told",
    "easy_images",
    "kill_and_resume",
    "parametrize",
    "run_checks",
    "same_state",
]

__getattr__ = lazy_names("oodbench.testing", _HOME)
