"""A pytest decorator that runs every contract check; pytest is imported only when the decorator is used."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from oodbench.testing.case import DetectorCase
from oodbench.testing.detectors import DETECTOR_CHECKS
from oodbench.testing.faults import fault_of
from oodbench.testing.results import already_reported, known_finding


def parametrize(*cases: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that runs a test with every check of a detector's contract on every case.

    The test takes ``check`` and ``case``. A case is a DetectorCase, or a ``pytest.param`` of one with an id or marks.
    A failure that the detector declares in ``known_findings`` is expected; if the check passes, there is a warning.
    An exception in the detector's own code fails the first test that meets it; later ones are skipped.
    """
    import pytest

    def name(case: Any) -> str | None:
        if not isinstance(case, DetectorCase):
            return None
        return f"{case.detector.name}-{'x'.join(map(str, case.shape))}"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        checked = pytest.mark.parametrize("check", [*map(_with_findings, DETECTOR_CHECKS)])(test)
        decorated: Callable[..., None] = pytest.mark.parametrize("case", cases, ids=name)(checked)
        return decorated

    return decorate


def _with_findings(check: Callable[[DetectorCase], None]) -> Callable[[DetectorCase], None]:
    import pytest

    @functools.wraps(check)
    def checked(case: DetectorCase) -> None:
        declared = known_finding(check.__name__, case)
        try:
            check(case)
        except Exception as failure:
            fault = fault_of(failure, case.detector)
            if fault and (earlier := already_reported(fault, check.__name__, case.faults)):
                pytest.skip(earlier)
            if not (declared and isinstance(failure, AssertionError)):
                raise
            pytest.xfail(f"{declared} (found: {failure})")
        if declared:
            warnings.warn(f"{case.detector.name} passes {check.__name__}, a known finding: {declared}", stacklevel=2)

    return checked
