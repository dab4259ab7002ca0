"""How the threads of one computation wait for each other: asleep if the machine is busy with other work."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import MutableMapping
from pathlib import Path

POLICY = {"OMP_WAIT_POLICY": "passive"}
SET_BY_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
LOOKS, SECONDS = 5, 0.01


def wait_asleep_if_busy(environment: MutableMapping[str, str] | None = None, loads: Path | None = None) -> None:
    """Let OpenMP's threads wait asleep if other processes run; it has no effect unless called before torch is imported.

    By default they spin at the end of each step, and on a shared core they thereby use up the time of the thread that
    they wait for: see ``benchmarks/busy.py``. On an idle machine sleeping costs over a third, so nothing is changed
    there. A user's own setting is kept.

    Args:
        environment: environment variables of the process, inherited by its workers.
        loads: file in the form of /proc/loadavg; where there is none, nothing is changed.
    """
    environment, loads = os.environ if environment is None else environment, loads or Path("/proc/loadavg")
    if not any(name in environment for name in SET_BY_USER) and _others_running(loads) >= 1:
        environment.update(POLICY)


def _others_running(loads: Path) -> float:
    """Return how many threads other than this one are running or runnable, as the median of a few samples."""
    seen = []
    for look in range(LOOKS):
        if look:
            time.sleep(SECONDS)
        try:
            seen.append(int(loads.read_text(encoding="ascii").split()[3].partition("/")[0]) - 1)  # "0.5 0.4 0.3 2/99 7"
        except (OSError, ValueError, IndexError):
            return 0
    return statistics.median(seen)
