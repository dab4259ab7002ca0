"""oodbench: a benchmark of out-of-distribution image detectors whose numbers anyone can recompute.

The public names are imported on first use, so that ``import oodbench`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from oodbench.lazy import lazy_names

if TYPE_CHECKING:
    __version__: str

    from oodbench import metrics, nn
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
        Location,
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
    from oodbench.notebook.detectors import ArrayDetector, detector
    from oodbench.notebook.running import Runs, run
    from oodbench.notebook.scorers import ArrayScorer, load_detector
    from oodbench.notebook.stores import StoreReader, load_dataset, open_store
    from oodbench.plan.settings import resolve
    from oodbench.plugin.hookspecs import hookimpl
    from oodbench.plugin.registry import find_detector, find_metric

_HOME = {
    "oodbench.api": (
        "SCORE_CONVENTION Base Checkpoints Context Dataset Detector Executor FittedBase ImageSet Job Location "
        "Metric Open Params Perform PostHocDetector Progress ProgressSender Provenance Result Run Scores "
        "Shape Stream deliver param shape_text"
    ),
    "oodbench.notebook.detectors": "ArrayDetector detector",
    "oodbench.notebook.running": "Runs run",
    "oodbench.notebook.scorers": "ArrayScorer load_detector",
    "oodbench.notebook.stores": "StoreReader load_dataset open_store",
    "oodbench.errors": "DataError FitError OODBenchError ScoreError StoreError UnknownName WorkerDied reason",
    "oodbench.plugin.hookspecs": "hookimpl",
    "oodbench.plugin.registry": "find_detector find_metric",
    "oodbench.plan.settings": "resolve",
}
_MODULES = ("metrics", "nn")
_find = lazy_names("oodbench", _HOME)

__all__ = [
    "SCORE_CONVENTION",
    "ArrayDetector",
    "ArrayScorer",
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
    "Location",
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
    "Runs",
    "ScoreError",
    "Scores",
    "Shape",
    "StoreError",
    "StoreReader",
    "Stream",
    "UnknownName",
    "WorkerDied",
    "__version__",
    "deliver",
    "detector",
    "find_detector",
    "find_metric",
    "hookimpl",
    "load_dataset",
    "load_detector",
    "metrics",
    "nn",
    "open_store",
    "param",
    "reason",
    "resolve",
    "run",
    "shape_text",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("oodbench")
    if name in _MODULES:
        return importlib.import_module(f"oodbench.{name}")
    return _find(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
