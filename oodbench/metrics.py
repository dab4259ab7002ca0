"""The metrics of the benchmark as functions of two arrays of scores, with checked arguments.

A higher score is more out-of-distribution, and the out-data is the positive class. For a metric of a plugin, use
``oodbench.find_metric(name).compute``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import numpy.typing as npt

from oodbench.builtin import metrics
from oodbench.errors import ScoreError
from oodbench.tensors import without_torch

__all__ = ["aupr_in", "aupr_out", "auroc", "fpr95_in", "fpr95_out"]

Compute = Callable[[np.ndarray, np.ndarray], Any]
Function = Callable[[npt.ArrayLike, npt.ArrayLike], float]


def _checked(compute: Compute) -> Function:
    """Return the metric; it raises ScoreError unless its arguments are finite numbers, (n,) and (m,), not empty."""

    @wraps(compute)
    def metric(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike) -> float:
        return float(compute(_finite(in_scores, "in_scores"), _finite(out_scores, "out_scores")))

    return metric


def _finite(scores: npt.ArrayLike, name: str) -> np.ndarray:
    try:
        array = np.asarray(without_torch(scores))
        has_text = array.dtype == object and any(isinstance(each, str) for each in array.flat)
        if has_text or array.dtype.kind not in "biufO":
            raise TypeError("texts, complex numbers and times are no scores")
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise ScoreError(f"{name} are no numbers: give one score per image, (n,)") from None
    if array.ndim != 1 or not len(array):
        raise ScoreError(f"{name} are {array.shape}: give one score per image, (n,), of one image or more")
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise ScoreError(f"{bad:,} of the {len(array):,} {name} are NaN or infinite")
    return array


auroc = _checked(metrics.auroc)
aupr_out = _checked(metrics.aupr_out)
aupr_in = _checked(metrics.aupr_in)
fpr95_out = _checked(metrics.fpr95_out)
fpr95_in = _checked(metrics.fpr95_in)
