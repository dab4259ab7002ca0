"""Full spectrum: covariate-shifted images, which show in-data in another look, count as in-distribution.

A detector should not flag a known class in another style, or under noise. Where a run scores covariate-shifted images
of its in-data, every metric has a second value: its in-images are the test split and all of these together. The name
of that metric has the prefix ``full_spectrum_``, so that the two are never mixed. Source: Yang, Zhou and Liu,
Full-Spectrum Out-of-Distribution Detection (IJCV 2023), arXiv:2204.05306, and OpenOOD v1.5 (2023), arXiv:2306.09301.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from oodbench.api.record import Metric

PREFIX = "full_spectrum_"
ARRAYS = ("indices", "labels", "values")


def is_full_spectrum(metric: str) -> bool:
    """Whether a metric of this name counts covariate-shifted images as in-distribution."""
    return metric.startswith(PREFIX)


def in_full_spectrum(metric: Metric) -> Metric:
    """Return the metric under its full-spectrum name; a full-spectrum metric is returned unchanged."""
    if is_full_spectrum(metric.name):
        return metric
    return replace(metric, name=PREFIX + metric.name, summary=f"{metric.summary}; shifted in-images count as in-images")


def with_full_spectrum(metrics: Mapping[str, Metric], names: Collection[str]) -> dict[str, Metric]:
    """Return the metrics, followed by those of their full-spectrum versions that are among ``names``."""
    made = [in_full_spectrum(metric) for metric in metrics.values() if PREFIX + metric.name in names]
    return {**metrics, **{metric.name: metric for metric in made}}


def joined(parts: Sequence[Any]) -> Any:
    """Join the scores of in-data and of covariate-shifted sets, objects of one type, in this order."""
    indices, labels, values = (np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS)
    return replace(parts[0], indices=indices, labels=labels, values=values)


def covariate_text(fingerprints: Mapping[str, str]) -> str:
    """Return the text that a result records of its covariate-shifted sets, name → fingerprint; empty for none."""
    return json.dumps(fingerprints, sort_keys=True) if fingerprints else ""


def covariate_sets(text: str) -> dict[str, str]:
    """Return the sets in a ``covariate_text``, sorted by name: name → fingerprint."""
    return dict(sorted(json.loads(text).items())) if text else {}


def check_covariate(metric: str, text: str) -> None:
    """Raise ValueError unless a result of this metric can have these covariate-shifted sets, a ``covariate_text``.

    A failure, which has no metric, can have one: the set that failed.
    """
    found = json.loads(text) if text else {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("its covariate-shifted sets are no JSON object of names and fingerprints")
    if metric and bool(found) != is_full_spectrum(metric):
        raise ValueError(f"a result of {metric} has {len(found)} covariate-shifted sets, which cannot be")
