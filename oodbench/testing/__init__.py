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
are imported when first used: what works on the tasks of an executor needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    "case": "DetectorCase",
    "datasets": "DATASET_CHECKS DatasetCase",
    "detectors": "DETECTOR_CHECKS",
    "executors": "EXECUTOR_CHECKS ExecutorCase do_as_told",
    "images": "easy_images",
    "interruption": "InMemoryCheckpoints Killed kill_and_resume same_state",
    "metrics": "METRIC_CHECKS MetricCase",
    "pytest_support": "parametrize",
    "results": "CheckResult Skip run_checks",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

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


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'oodbench.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"oodbench.testing.{_MODULE_OF[name]}"), name)
