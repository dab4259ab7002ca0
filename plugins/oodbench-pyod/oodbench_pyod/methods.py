"""The offered detectors of PyOD: their classes, what they compute, and their parameters with PyOD's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from oodbench import param

PYOD = "PyOD's default"
COLLAPSE = {
    "training_helps": "training a classifier may fold what is not data onto its classes (feature collapse: van "
    "Amersfoort et al., ICML 2020)"
}
"""Declared where the contract found it on its small classifier."""


@dataclass(frozen=True)
class Method:
    """A detector of PyOD.

    Args:
        place: module and class, such as ``pyod.models.knn:KNN``.
        summary: the meaning of its score, in a few words.
        params: parameters that change scores, PyOD's name → (type, ``param``).
        quick: values of the preset ``quick``.
        is_random: whether it takes a ``random_state``.
        findings: see ``Detector.known_findings``.
    """

    place: str
    summary: str
    paper: str
    params: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    is_random: bool = False
    findings: Mapping[str, str] = field(default_factory=dict)


def _int(default: int, meaning: str, **bounds: Any) -> tuple[Any, Any]:
    return int, param(default, meaning, source=PYOD, **bounds)


METHODS = {
    "pyod-ecod": Method(
        "oodbench_pyod.tails:ECOD", "sum of the outer tail probabilities of each dimension",
        "Li et al., ECOD (TKDE 2022), arXiv:2201.00382", findings=COLLAPSE,
    ),
    "pyod-copod": Method(
        "oodbench_pyod.tails:COPOD", "sum of the tail probabilities of each dimension, as of a copula",
        "Li et al., COPOD (ICDM 2020), arXiv:2009.09463",
    ),
    "pyod-hbos": Method(
        "pyod.models.hbos:HBOS", "product of the inverse histogram densities of each dimension",
        "Goldstein and Dengel, Histogram-based Outlier Score (KI 2012)",
        {
            "n_bins": _int(10, "bins of a histogram", ge=2),
            "alpha": (float, param(0.1, "added to each density", gt=0, lt=1, source=PYOD)),
            "tol": (float, param(0.5, "share of a bin's width by which it reaches beyond the data", gt=0, lt=1,
                                 source=PYOD)),
        },
    ),
    "pyod-iforest": Method(
        "pyod.models.iforest:IForest", "how few random cuts isolate a point",
        "Liu et al., Isolation Forest (ICDM 2008)",
        {"n_estimators": _int(100, "trees", ge=1, reduces="lower")}, is_random=True,
    ),
    "pyod-inne": Method(
        "pyod.models.inne:INNE", "how isolated the nearest of random points is that covers a point",
        "Bandaragoda et al., Isolation-based anomaly detection using nearest-neighbor ensembles (Comput. Intell. 2018)",
        {"n_estimators": _int(200, "samples of eight points", ge=1, reduces="lower")}, is_random=True,
        findings=COLLAPSE,
    ),
    "pyod-loda": Method(
        "pyod.models.loda:LODA", "mean negative log density in histograms of random projections",
        "Pevný, Loda (Machine Learning 2016)",
        {
            "n_bins": _int(10, "bins of a histogram", ge=2),
            "n_random_cuts": _int(100, "projections", ge=1, reduces="lower"),
        },
        is_random=True,
    ),
    "pyod-knn": Method(
        "pyod.models.knn:KNN", "distance to the k-th nearest neighbour",
        "Ramaswamy et al., Efficient Algorithms for Mining Outliers from Large Data Sets (SIGMOD 2000)",
        {
            "n_neighbors": _int(5, "k", ge=1),
            "method": (Literal["largest", "mean", "median"], param("largest", "of the k distances", source=PYOD)),
        },
    ),
    "pyod-lof": Method(
        "pyod.models.lof:LOF", "density around the neighbours relative to that around a point",
        "Breunig et al., LOF (SIGMOD 2000)", {"n_neighbors": _int(20, "neighbours", ge=1)},
    ),
    "pyod-pca": Method(
        "pyod.models.pca:PCA", "distance to the principal axes, weighted by inverse variance",
        "Shyu et al., A Novel Anomaly Detection Scheme Based on Principal Component Classifier (ICDM 2003)",
        {"n_components": (float, param(0.99, "share of the variance that the axes explain", gt=0, lt=1,
                                       source="ours; PyOD takes all, and divides by variances that are 0"))},
        is_random=True,
    ),
    "pyod-mcd": Method(
        "pyod.models.mcd:MCD", "Mahalanobis distance by the minimum covariance determinant",
        "Rousseeuw and Van Driessen, A Fast Algorithm for the MCD Estimator (Technometrics 1999)", is_random=True,
        findings=COLLAPSE,
    ),
    "pyod-gmm": Method(
        "pyod.models.gmm:GMM", "negative log-likelihood of a mixture of Gaussians",
        "Aggarwal, Outlier Analysis (2015), chapter 2",
        {
            "n_components": _int(1, "Gaussians", ge=1),
            "reg_covar": (float, param(1e-6, "added to the variances", gt=0, source=PYOD)),
        },
        is_random=True,
    ),
    "pyod-ocsvm": Method(
        "pyod.models.ocsvm:OCSVM", "distance from the boundary of a one-class support vector machine",
        "Schölkopf et al., Estimating the Support of a High-Dimensional Distribution (Neural Computation 2001)",
        {"nu": (float, param(0.5, "share of training images outside, at most", gt=0, le=1, source=PYOD))},
    ),
}  # fmt: skip
