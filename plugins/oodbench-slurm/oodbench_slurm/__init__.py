"""Slurm as an executor of oodbench: each run is an element of a job array."""

from __future__ import annotations

from oodbench import Executor, hookimpl


@hookimpl
def register_executors() -> list[type[Executor]]:
    """Return the executor of this plugin."""
    from oodbench_slurm.executor import SlurmExecutor

    return [SlurmExecutor]
