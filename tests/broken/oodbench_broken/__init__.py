"""Detectors, data sets and metrics that break one promise each, and a detector that keeps them all."""

from __future__ import annotations

from oodbench import Detector, hookimpl


@hookimpl
def register_detectors() -> list[type[Detector]]:
    from oodbench_broken.scores import Inverted
    from oodbench_broken.working import Working

    return [Working, Inverted]
