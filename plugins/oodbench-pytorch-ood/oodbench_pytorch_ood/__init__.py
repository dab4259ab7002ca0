"""Detectors of pytorch-ood as a plugin of oodbench: one class each, on the logits or features of ``classifier``."""

from __future__ import annotations

from oodbench import Detector, hookimpl


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """Return the detectors of this plugin."""
    from oodbench_pytorch_ood.detectors import detector_classes

    return detector_classes()
