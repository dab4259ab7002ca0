"""The basic types of oodbench.

The score convention, for every detector, table and file: **a higher score is more
out-of-distribution, and the out-data set is the positive class.** No score is ever flipped to look
better: an AUROC below 0.5 is a finding.
"""

from oodbench.api.base import Base, FittedBase
from oodbench.api.context import Checkpoints, Context, Progress
from oodbench.api.detector import Detector
from oodbench.api.executor import Executor, Job, Open, Perform, ProgressSender, deliver
from oodbench.api.images import (
    SPLITS,
    Dataset,
    ImageSet,
    Location,
    Shape,
    Stream,
    chunk_rows,
    fingerprint,
    shape_text,
)
from oodbench.api.parameters import Params, param
from oodbench.api.post_hoc import PostHocDetector
from oodbench.api.record import (
    LOCAL,
    SCORE_CONVENTION,
    Metric,
    Provenance,
    Result,
    Run,
    Scores,
    file_name,
    is_local_version,
)

__all__ = [
    "LOCAL",
    "SCORE_CONVENTION",
    "SPLITS",
    "Base",
    "Checkpoints",
    "Context",
    "Dataset",
    "Detector",
    "Executor",
    "FittedBase",
    "ImageSet",
    "Job",
    "Location",
    "Metric",
    "Open",
    "Params",
    "Perform",
    "PostHocDetector",
    "Progress",
    "ProgressSender",
    "Provenance",
    "Result",
    "Run",
    "Scores",
    "Shape",
    "Stream",
    "chunk_rows",
    "deliver",
    "file_name",
    "fingerprint",
    "is_local_version",
    "param",
    "shape_text",
]
