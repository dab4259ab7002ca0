"""Records of what was run and what it gave: metrics, runs, scores, results."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

SCORE_CONVENTION = "A higher score is more out-of-distribution; the out-data set is the positive class."
PLAIN_NAME = re.compile(r"[a-z0-9-]+(:[0-9,-]{1,64})?")
"""A data set's name without a path, and short enough that two of them make one file name."""


LOCAL = "local"
"""The version, before the fingerprint, of code in a user's own file, which is in no installed package."""
BASE_FIELDS = ("detector", "version", "distribution", "params")
"""What distinguishes bases that have the same in-data, seed and precision."""


@dataclass(frozen=True)
class Metric:
    """A function of (in scores (n,), out scores (m,)), float64; the out-data set is the positive class.

    Args:
        bounds: the least and the greatest possible value; any other is refused as damaged.
        resampled: the same metric from counts of each distinct score, in ascending order, in r resamples of the
            in-images and of the out-images, (r, u) each: values (r,). It makes intervals fast. Where it is None,
            ``compute`` is called for each resample.
    """

    name: str
    compute: Callable[[np.ndarray, np.ndarray], float]
    higher_is_better: bool
    summary: str
    bounds: tuple[float, float] = (-math.inf, math.inf)
    resampled: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"bounds of metric {self.name} are {self.bounds}: the lesser one comes first")


@dataclass(frozen=True)
class Run:
    """One detector with its code and parameters, one in-distribution data set and one seed.

    Args:
        version: of the detector's code: ``0.1.1`` for a release, ``0.1.1+5a85784f027a4875`` for code that may change,
            ``local+5a85784f027a4875`` for a file that is in no package.
        params: canonical JSON.
        preset: where the parameters came from, as in ``quick, latent_dim=8``; not part of the run's identity.
        distribution: the package that has the code, or the name of a local file; empty in records made before 0.2.0.
        base: the run whose fit this one uses, with the same in-data, seed and precision; None for none.
    """

    detector: str
    version: str
    params: str
    in_dataset: str
    seed: int = 0
    precision: str = "float32"
    preset: str = field(default="paper", compare=False)
    distribution: str = ""
    base: Run | None = None

    def key(self, fingerprint: str) -> str:
        """Return a readable name with a hash of all that can change the scores; ``fingerprint`` is the in-data's."""
        digest = hashlib.sha256(json.dumps(self._identity(fingerprint)).encode()).hexdigest()[:8]
        return f"{self.detector}-{file_name(self.in_dataset)}-s{self.seed}-{digest}"

    def _identity(self, fingerprint: str) -> list[Any]:
        params = without_paths(self.params)
        facts = [self.detector, self.version, params, self.in_dataset, self.seed, self.precision, fingerprint]
        of_base = [self.base._identity(fingerprint)] if self.base else []
        return [*facts, *([self.distribution] if self.distribution else []), *of_base]

    @property
    def is_local(self) -> bool:
        """Whether its code is a file that is in no package, so that others cannot install it."""
        return is_local_version(self.version)

    @property
    def origin(self) -> str:
        """Where its code comes from, in words: ``oodbench-ae 0.1.2`` or ``the local file my_method.py``."""
        if self.is_local:
            return f"the local file {self.distribution}"
        return f"{self.distribution or 'an unnamed package'} {self.version.partition('+')[0]}"

    @property
    def base_text(self) -> str:
        """What identifies the base besides in-data, seed and precision, as JSON; empty where there is no base."""
        return json.dumps(self.base._description()) if self.base else ""

    def _description(self) -> dict[str, Any]:
        facts: dict[str, Any] = {name: getattr(self, name) for name in BASE_FIELDS}
        return facts | ({"base": self.base._description()} if self.base else {})

    def with_base_text(self, text: str) -> Run:
        """Return this run with the base that a ``base_text`` describes. Raises ValueError where it is invalid."""
        return replace(self, base=self._described(json.loads(text)) if text else None)

    def _described(self, facts: Any) -> Run:
        if not isinstance(facts, dict) or not all(isinstance(facts.get(name), str) for name in BASE_FIELDS):
            raise ValueError(f"its base is none: {str(facts)[:60]}")
        base = replace(self, **{name: facts[name] for name in BASE_FIELDS}, preset="", base=None)
        return replace(base, base=base._described(facts["base"])) if "base" in facts else base


def is_local_version(version: str) -> bool:
    """Whether a run's version is that of a user's own file."""
    return version.partition("+")[0] == LOCAL


def without_paths(params: str) -> str:
    """Return the canonical JSON of parameters without the paths of files that are identified by their content.

    Such a path is the parameter ``x`` where there is also an ``x_sha256`` that is not empty.
    """
    if "_sha256" not in params:
        return params
    values = json.loads(params)
    kept = {name: value for name, value in values.items() if not values.get(f"{name}_sha256")}
    return json.dumps(kept, sort_keys=True)


def base_without_paths(text: str) -> str:
    """Return ``Run.base_text`` without the paths of files that are identified by their content."""
    return json.dumps(_pathless(json.loads(text))) if "_sha256" in text else text


def _pathless(base: Mapping[str, Any]) -> dict[str, Any]:
    below = {"base": _pathless(base["base"])} if "base" in base else {}
    return {**base, "params": without_paths(base["params"]), **below}


def file_name(dataset: str) -> str:
    """Return a data set's name as part of a file name.

    ``mnist:0-8`` becomes ``mnist_0-8``, and ``folder:/my/Cats`` becomes ``folder_cats_…``. Different names stay
    different: a plain name has no ``_`` itself, and that of a path ends in a hash.
    """
    if PLAIN_NAME.fullmatch(dataset):
        return dataset.replace(":", "_")
    kind, _, path = dataset.partition(":")
    last = re.sub("[^a-z0-9]+", "-", path.lower().rstrip("/").rpartition("/")[2]).strip("-")[:32] or "path"
    digest = hashlib.sha256(dataset.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{kind}_{last}_{digest}"


@dataclass(frozen=True, eq=False)
class Scores:
    """One run's score for every image of one split of one data set: the record from which all else is computed."""

    dataset: str
    split: str
    fingerprint: str
    indices: np.ndarray
    labels: np.ndarray
    values: np.ndarray
    """Float64 (n,); higher is more out-of-distribution."""
    images_per_second: float
    device: str
    fit_id: str = ""
    """The fit that gave the scores; empty in records made before 0.2.0."""
    note: str = ""
    """What a reader of numbers from these scores must know, such as that some of the images are also in-data."""
    covariates: tuple[str, ...] = ()
    """For covariate-shifted images: all sets requested as covariate-shifted, including this one. Empty for other images
    and in older records."""


@dataclass(frozen=True)
class Provenance:
    """Where a run's numbers come from: software, device, time, images."""

    oodbench: str
    plugin: str
    plugin_version: str
    torch: str
    python: str
    commit: str
    device: str
    fit_seconds: float
    peak_memory_mib: float
    parameters: int
    images: Mapping[str, int]
    """Number of in-data images per split."""
    created: str
    in_images: str = ""
    """Hash of the in-data's images, as in the run's key; empty in older records."""
    plugin_commit: str = ""
    """Commit of the repository that has the plugin's code, if it is in one."""
    notes: Sequence[str] = ()
    """What a reader of the numbers must know: restarts, an early stop, a reduced data set."""
    base_run: str = ""
    """Key of the base's run; empty where there is no base."""
    base_fit: str = ""
    """The fit of that run that was used."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Facts of the fitted detector, and of its base, on the in-data's test split, such as a classifier's accuracy."""
    reduced: bool | None = None
    """Whether the run is smaller than published (see ``Detector.is_reduced``); None in records made before 0.2.0."""
    shape: Sequence[int] = ()
    """(C, H, W) of the in-data's images; empty in older records."""


@dataclass(frozen=True)
class Result:
    """One metric of one run on one out-data set."""

    run: str
    detector: str
    in_dataset: str
    out_dataset: str
    seed: int
    metric: str
    value: float
    n_in: int
    n_out: int
    out_images: str = ""
    """Fingerprint of the out-data's images; empty in older records."""
    out_note: str = ""
    """The note of the out-data's scores."""
    covariate: str = ""
    """The covariate-shifted sets that count as in-data, a ``full_spectrum.covariate_text``; empty for none."""
    metric_version: str = ""
    """Version of the metric's code, in the form of ``Run.version``, if another package has it; empty for a metric of
    oodbench and in older records."""
