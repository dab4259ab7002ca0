"""EBAE, the energy-based autoencoder, as a detector plugin of oodbench."""

from __future__ import annotations

from oodbench import Detector, hookimpl


@hookimpl
def register_detectors() -> list[type[Detector]]:
    from oodbench_ebae.detector import EBAE

    return [EBAE]
