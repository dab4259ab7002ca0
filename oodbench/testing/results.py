"""Results of checks: passed, failed or skipped, with the reason."""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from oodbench.errors import reason
from oodbench.testing.faults import Fault, fault_of

Case = TypeVar("Case")
Outcome = Literal["passed", "failed", "skipped", "known"]


class Skip(unittest.SkipTest):
    """Raised by a check that does not apply, with the reason. pytest and unittest report a skipped test."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. ``reason`` is one line, empty if it passed; ``seconds`` is the time that it took.

    The outcome ``known`` is a failure that the detector declares in ``known_findings``. A check that passes though it
    is declared there has a reason, too.
    """

    check: str
    outcome: Outcome
    reason: str
    seconds: float


def run_checks(
    checks: Iterable[Callable[[Case], None]], case: Case, before: Callable[[str], None] = lambda name: None
) -> Iterator[CheckResult]:
    """Run the checks in turn and yield the result of each.

    An exception in a detector's own code, or a state that is not finite, fails the first check that meets it; later
    ones are skipped. The reason names the line of the exception.

    Args:
        before: called with the name of each check before it runs.
    """
    reported: dict[Fault, str] = getattr(case, "faults", {})
    for check in checks:
        before(check.__name__)
        start = time.perf_counter()
        outcome, why = _declared(check.__name__, case, *_outcome(check, case, reported))
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
    """Return why the case's detector declares that it fails this check; empty where it declares nothing."""
    findings: dict[str, str] = getattr(getattr(case, "detector", None), "known_findings", {})
    return findings.get(check, "")


def _outcome(check: Callable[[Case], None], case: Case, reported: dict[Fault, str]) -> tuple[Outcome, str]:
    """Run one check. ``reported`` has the faults of the detector's code that made earlier checks fail."""
    import torch

    from oodbench.runs.isolation import isolated

    try:
        # Changes to the process in one check must not fail the next one; sys.exit must fail only this one.
        with isolated(torch.device("cpu"), check.__name__):
            check(case)
    except Skip as skip:
        return "skipped", _line(skip)
    except Exception as error:
        detector = getattr(case, "detector", None)
        fault = fault_of(error, detector) if detector else None
        if fault and (earlier := already_reported(fault, check.__name__, reported)):
            return "skipped", earlier
        where = f" ({fault.where})" if fault and fault.where else ""
        return "failed", (_line(error) if isinstance(error, AssertionError) else reason(error)) + where
    return "passed", ""


def already_reported(fault: Fault, check: str, reported: dict[Fault, str]) -> str:
    """Return a note if this fault made another check fail; else "", and record this check as the first."""
    first = reported.setdefault(fault, check)
    return "" if first == check else f"{fault.what}: see {first}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
