"""pytorch-ood's detectors as a plugin of oodbench: one class for each, on the outputs or network of ``classifier``."""

from __future__ import annotations

from oodbench import Detector, hookimpl


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """Return the detectors of this plugin."""
    from oodbench_pytorch_ood.detectors import detector_classes

    return detector_classes()
