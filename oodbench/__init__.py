"""oodbench: a benchmark of out-of-distribution image detectors whose numbers anyone can recompute.

The public names are imported when first used, so that ``import oodbench`` costs nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from oodbench.api import (
        SCORE_CONVENTION,
        Base,
        Checkpoints,
        Context,
        Dataset,
        Detector,
        Executor,
        FittedBase,
        ImageSet,
        Job,
        Metric,
        Open,
        Params,
        Perform,
        PostHocDetector,
        Progress,
        ProgressSender,
        Provenance,
        Result,
        Run,
        Scores,
        Shape,
        Stream,
        deliver,
        param,
        shape_text,
    )
    from oodbench.errors import (
        DataError,
        FitError,
        OODBenchError,
        ScoreError,
        StoreError,
        UnknownName,
        WorkerDied,
        reason,
    )
    from oodbench.plan.settings import resolve
    from oodbench.plugin.hookspecs import hookimpl
    from oodbench.plugin.registry import find_detector, find_metric

_HOME = {
    "oodbench.api": (
        "SCORE_CONVENTION Base Checkpoints Context Dataset Detector Executor FittedBase ImageSet Job Metric Open "
        "Params Perform PostHocDetector Progress ProgressSender Provenance Result Run Scores Shape Stream deliver "
        "param shape_text"
    ),
    "oodbench.errors": "DataError FitError OODBenchError ScoreError StoreError UnknownName WorkerDied reason",
    "oodbench.plugin.hookspecs": "hookimpl",
    "oodbench.plugin.registry": "find_detector find_metric",
    "oodbench.plan.settings": "resolve",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "SCORE_CONVENTION",
    "Base",
    "Checkpoints",
    "Context",
    "DataError",
    "Dataset",
    "Detector",
    "Executor",
    "FitError",
    "FittedBase",
    "ImageSet",
    "Job",
    "Metric",
    "OODBenchError",
    "Open",
    "Params",
    "Perform",
    "PostHocDetector",
    "Progress",
    "ProgressSender",
    "Provenance",
    "Result",
    "Run",
    "ScoreError",
    "Scores",
    "Shape",
    "StoreError",
    "Stream",
    "UnknownName",
    "WorkerDied",
    "__version__",
    "deliver",
    "find_detector",
    "find_metric",
    "hookimpl",
    "param",
    "reason",
    "resolve",
    "shape_text",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("oodbench")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'oodbench' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)
