"""A classifier as a detector plugin of oodbench, and as the base of post-hoc detectors."""

from __future__ import annotations

from oodbench import Detector, hookimpl


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """Return the detectors of this plugin."""
    from oodbench_classifier.detector import Classifier

    return [Classifier]
