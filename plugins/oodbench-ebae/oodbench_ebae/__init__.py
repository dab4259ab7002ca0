"""EBAE, the energy-based autoencoder, as a detector plugin of oodbench."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodbench import Detector, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """Return the detectors of this plugin."""
    from oodbench_ebae.detector import EBAE

    return [EBAE]


@hookimpl
def register_commands() -> list[click.Command]:
    """Return the commands of this plugin."""
    from oodbench_ebae.figure2 import command

    return [command]
