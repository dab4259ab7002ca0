"""A pytest decorator that runs every contract check; pytest is imported only when the decorator is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oodbench.testing.case import DetectorCase
from oodbench.testing.detectors import DETECTOR_CHECKS


def parametrize(*cases: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that runs a test with every check of a detector's contract on every case.

    The test takes ``check`` and ``case``. A case is a DetectorCase, or a ``pytest.param`` of one with an id or marks.
    """
    import pytest

    def name(case: Any) -> str | None:
        if not isinstance(case, DetectorCase):
            return None
        return f"{case.detector.name}-{'x'.join(map(str, case.shape))}"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        checked = pytest.mark.parametrize("check", DETECTOR_CHECKS)(test)
        decorated: Callable[..., None] = pytest.mark.parametrize("case", cases, ids=name)(checked)
        return decorated

    return decorate
