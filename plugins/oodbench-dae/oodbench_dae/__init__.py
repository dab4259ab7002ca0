"""The denoising autoencoder as a detector plugin of oodbench."""

from __future__ import annotations

from oodbench import Detector, hookimpl


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """Return the detectors of this plugin."""
    from oodbench_dae.detector import DAE

    return [DAE]
