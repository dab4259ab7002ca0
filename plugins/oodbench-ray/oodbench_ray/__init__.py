"""Ray Core as an executor of oodbench: the machines of a Ray cluster do the runs."""

from __future__ import annotations

from oodbench import Executor, hookimpl


@hookimpl
def register_executors() -> list[type[Executor]]:
    """Return the executor of this plugin."""
    from oodbench_ray.executor import RayExecutor

    return [RayExecutor]
