"""Results of checks: passed, failed or skipped, with the reason."""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from oodbench.errors import reason

Case = TypeVar("Case")
Outcome = Literal["passed", "failed", "skipped", "known"]


class Skip(unittest.SkipTest):
    """Raised by a check that does not apply, with the reason. pytest and unittest report a skipped test."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. ``reason`` is one line, empty if it passed; ``seconds`` is the time that it took.

    ``known`` is a failure that the detector declares in ``known_findings``. A check that passes though it is declared
    there has a reason, too.
    """

    check: str
    outcome: Outcome
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
        outcome, why = _declared(check.__name__, case, *_outcome(check, case))
        yield CheckResult(check.__name__, outcome, why, time.perf_counter() - start)


def _declared(check: str, case: object, outcome: Outcome, why: str) -> tuple[Outcome, str]:
    """Return outcome and reason, given what the case's detector declares of this check."""
    declared = known_finding(check, case)
    if declared and outcome == "failed":
        return "known", f"{declared} (found: {why})"
    if declared and outcome == "passed":
        return "passed", f"passes, though it is declared: {declared}; take it out of known_findings if it always does"
    return outcome, why


def known_finding(check: str, case: object) -> str:
    """Return why the case's detector does not pass this check, as it declares; empty where it declares nothing."""
    findings: dict[str, str] = getattr(getattr(case, "detector", None), "known_findings", {})
    return findings.get(check, "")


def _outcome(check: Callable[[Case], None], case: Case) -> tuple[Outcome, str]:
    import torch

    from oodbench.runs.isolation import isolated

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
