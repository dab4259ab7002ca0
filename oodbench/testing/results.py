"""Results of checks: passed, failed or skipped, with the reason."""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from oodbench.errors import reason
from oodbench.runs.isolation import isolated

Case = TypeVar("Case")


class Skip(unittest.SkipTest):
    """Raised by a check that does not apply, with the reason. pytest and unittest report a skipped test."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. ``reason`` is one line, empty if it passed; ``seconds`` is the time that it took."""

    check: str
    outcome: Literal["passed", "failed", "skipped"]
    reason: str
    seconds: float


def run_checks(
    checks: Iterable[Callable[[Case], None]], case: Case, before: Callable[[str], None] = lambda name: None
) -> Iterator[CheckResult]:
    """Run the checks in turn and yield the result of each.

    Args:
        before: called with the name of each check before it runs.
    """
    for check in checks:
        before(check.__name__)
        start = time.perf_counter()
        outcome, why = _outcome(check, case)
        yield CheckResult(check.__name__, outcome, why, time.perf_counter() - start)


def _outcome(check: Callable[[Case], None], case: Case) -> tuple[Literal["passed", "failed", "skipped"], str]:
    try:
        # What one check's detector changes in the process must not fail the next one; sys.exit fails this one alone.
        with isolated(torch.device("cpu"), check.__name__):
            check(case)
    except Skip as skip:
        return "skipped", _line(skip)
    except AssertionError as failure:
        return "failed", _line(failure)
    except Exception as error:
        return "failed", reason(error)
    return "passed", ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
