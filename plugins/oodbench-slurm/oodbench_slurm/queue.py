"""Queries to Slurm about jobs. Each query is about all jobs at once, as many small ones would load its controller."""

from __future__ import annotations

import subprocess
from collections.abc import Collection

from oodbench import OODBenchError

SECONDS = 60
OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}
"""States of a job that is in the queue no more, and does not come back: one that is begun again is in the queue."""


def queued() -> dict[str, str] | None:
    """Return job → state of the user's pending and running jobs; None if Slurm does not answer."""
    text = _ask("squeue", "--me", "--noheader", "--array", "--format=%i|%T")
    return None if text is None else _pairs(text)


def accounted(jobs: Collection[str]) -> dict[str, str]:
    """Return job → state of those jobs that the accounting knows; empty if the cluster has no accounting."""
    asked = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    text = _ask("sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State", f"--jobs={asked}")
    return {job: state.split()[0] for job, state in _pairs(text or "").items() if state}  # "CANCELLED by 1000"


def cancel(jobs: Collection[str]) -> None:
    """Kill running jobs and cancel pending ones. Raises OODBenchError if Slurm does not answer."""
    killed = _ask("scancel", "--quiet", "--signal=KILL", *jobs)  # submitit ignores the signal of a plain scancel
    if _ask("scancel", "--quiet", *jobs) is None and killed is None:
        raise OODBenchError(f"Slurm does not answer: end these jobs by hand, with scancel {' '.join(jobs)}")


def _ask(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _pairs(text: str) -> dict[str, str]:
    pairs = (line.partition("|") for line in text.splitlines())
    return {job.strip(): state.strip() for job, bar, state in pairs if bar}
