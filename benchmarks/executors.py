"""The overhead of an executor: until the first task ends, and for each further one.

python -m benchmarks.executors

A worker makes ready as for a run (torch, the plugins, the device), and its tasks do nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, median
from oodbench import Job, Perform, Progress
from oodbench.errors import reason
from oodbench.plan.executors import new_executor
from oodbench.plugin.registry import load_registry
from oodbench.runs.devices import find_device

SCRIPT = Path(__file__).parents[1] / ".ci" / "slurm"
SETTINGS: dict[str, dict[str, Any]] = {"local": {}, "ray": {}, "slurm": {"poll": 0.1}}
TASKS = {"local": 50, "ray": 50, "slurm": 5}


def ready_for_runs(progress: Progress, slot: int) -> Perform:
    """Return a task that does nothing, in a process that is ready for runs."""
    load_registry()
    find_device("cpu")
    return lambda title: title


def measure(tasks: Mapping[str, int] = TASKS) -> str:
    """Return a section of the page, from this number of tasks of each executor, one at a time."""
    lines, missing, load = [], [], os.getloadavg()[0]
    for name, count in tasks.items():
        try:
            with _cluster(name):
                first, further = _seconds(name, count)
        except Exception as error:
            missing.append(f"Not measured: {name}: {reason(error)}.")
        else:
            lines.append(f"| {name} | {count} | {first:.2f} | {median(further):.4f} | {max(further):.4f} |")
    cores = os.cpu_count() or 1
    caution = f"**The machine did other work** (load {load:.1f} on {cores} cores): read these seconds as upper bounds."
    head = ["| executor | tasks | until the first ends, s | each further one, median s | most, s |", "|---" * 5 + "|"]
    parts = ["### Executors", f"{__doc__.rstrip().rpartition(chr(10))[2]} {caution if load > 0.5 else ''}".rstrip()]
    return "\n\n".join([*parts, "\n".join([*head, *lines]), *missing])


def _seconds(name: str, count: int) -> tuple[float, list[float]]:
    """Return the seconds until the first task has ended, and from each end to the next."""
    executor = new_executor(name, SETTINGS[name], load_registry())
    jobs = {f"task {number}": Job() for number in range(count)}
    ends = [time.perf_counter()]
    with closing(executor.work(jobs, ready_for_runs, 1, Progress())) as ended:
        ends.extend(time.perf_counter() for _ in ended)
    first, *further = [after - before for before, after in pairwise(ends)]
    return first, further


@contextmanager
def _cluster(name: str) -> Iterator[None]:
    """Return a context in which Slurm runs on this machine, if that is the executor."""
    if name != "slurm":
        yield
        return
    before, folder = dict(os.environ), Path(tempfile.mkdtemp(prefix="slurm-"))
    os.environ |= {"PATH": f"{os.environ['PATH']}:/usr/sbin", "SLURM_CONF": str(folder / "slurm.conf")}
    try:
        subprocess.run([SCRIPT, "start", folder], check=True, timeout=120)
        yield
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=False, timeout=120)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.clear()
        os.environ |= before


if __name__ == "__main__":
    from benchmarks import executors  # workers can import the tasks from there, not from __main__

    print(describe(), executors.measure(), sep="\n\n")
