"""PyOD's outlier detectors as a plugin of oodbench: one class for each, on features of ``classifier`` or on pixels."""

from __future__ import annotations

from oodbench import Detector, hookimpl


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """Return the detectors of this plugin."""
    from oodbench_pyod.detectors import DETECTORS

    return [*DETECTORS]
