"""Every extension point of oodbench, in the order they fire.

Each hook takes no arguments and returns a list; all lists are collected. A plugin is a module that
implements any of them and is named by an entry point of the group ``oodbench``. Hooks are called once
per command, so import heavy packages inside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from oodbench.api import Dataset, Detector, Executor, Metric

hookspec = pluggy.HookspecMarker("oodbench")
hookimpl = pluggy.HookimplMarker("oodbench")


@hookspec
def register_datasets() -> list[Dataset]:
    """Return the data sets that can be named after ``--in`` and ``--out``."""


@hookspec
def register_detectors() -> list[type[Detector]]:
    """Return the detector classes that can be named after ``--detector``."""


@hookspec
def register_metrics() -> list[Metric]:
    """Return the metrics, each a function of (in scores, out scores)."""


@hookspec
def register_executors() -> list[type[Executor]]:
    """Return the executor classes that can be named after ``--executor``."""


@hookspec
def register_commands() -> list[click.Command]:
    """Return the commands that can be named after ``oodbench``, none with the name of a core command.

    Import what a command needs inside its function: listing any command imports this module.
    """
