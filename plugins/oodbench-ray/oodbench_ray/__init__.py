"""Ray Core as an executor of oodbench: runs are worked on by the machines of a Ray cluster."""

from __future__ import annotations

from oodbench import Executor, hookimpl


@hookimpl
def register_executors() -> list[type[Executor]]:
    """Return the executor of this plugin."""
    from oodbench_ray.executor import RayExecutor

    return [RayExecutor]
