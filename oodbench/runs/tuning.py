"""Choosing hyper-parameters as the EBAE supplement does: with a separate out-data set, on validation splits only.

Every point of the grid is fitted and scores the validation splits of the in-data and of ``val_out``. The point with the
highest AUROC between the two is chosen, and only that one then scores test splits. A point is made of ordinary runs of
the store: interrupted ones resume, and ``oodbench run`` with the chosen parameters finds the fit there. The whole grid
is searched, as published, so Optuna would be of no use.

from oodbench.plan.origins import naming_origins
from oodbench.plan.requests import RunRequest
from oodbench.runs.tuning import tune

request = RunRequest(detectors=("ae",), in_datasets=("mnist5k:0-8",), out_datasets=("mnist5k:9",), preset="quick")
tuned = tune(request, val_out="noise", grid=["latent_dim=2,4,8"])
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Any

from oodbench.api import SPLITS, ImageSet, Progress, Run, file_name
from oodbench.data.loading import Loader, open_loader
from oodbench.data.overlap import count_shared, image_hashes
from oodbench.errors import DataError, OODBenchError, StoreError
from oodbench.plan.origins import naming_origins
from oodbench.plan.requests import RunRequest
from oodbench.plan.settings import split_setting
from oodbench.plan.tasks import Task, canonical_words, plan, run_key
from oodbench.plugin.registry import Registry, load_registry
from oodbench.runs import fitting
from oodbench.runs.evaluation import compute_metrics
from oodbench.runs.pipeline import ExecutionOptions, execute, own_device
from oodbench.runs.task_runner import Failure
from oodbench.store.store import Store
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd

METRIC = "auroc"
RULE = (
    "the highest AUROC of the in-data against the out-data of validation, mean over the seeds; of equals the first in "
    "grid order; a point that failed for any seed takes no part"
)


@dataclass(frozen=True)
class Point:
    """One point of the grid.

    settings: parameter → value, as after ``--set``.
    runs: key of each seed's run → its AUROC of the validation splits; None where it failed.
    auroc: their mean; None if any failed.
    """

    settings: dict[str, str]
    runs: dict[str, float | None]
    auroc: float | None


@dataclass(frozen=True)
class Tuned:
    """The chosen point, the evidence for it, and its results on the test splits.

    points: in grid order. chosen: one of them; None if all failed.
    record: the choice and its evidence, as stored in the file ``where``.
    results: of the chosen runs on the requested out-data sets.
    """

    points: list[Point]
    chosen: Point | None
    record: dict[str, Any]
    where: str
    results: pd.DataFrame
    failures: list[Failure]


def tune(
    request: RunRequest,
    val_out: str,
    grid: Sequence[str],
    *,
    options: ExecutionOptions | None = None,
    progress: Progress | None = None,
    registry: Registry | None = None,
) -> Tuned:
    """Fit every point of the grid, choose one on validation splits, and evaluate it on the request's out-data sets.

    A point that fails does not stop the others.

    Args:
        request: one detector and one in-data set.
        val_out: the out-data set whose validation split is used to choose.
        grid: ``name=2,4,8``, one text per parameter; every combination of values is a point.

    Raises OODBenchError before anything is fitted if a word or the device is invalid, or if validation images of
    ``val_out`` are among the in-data or the test images of an out-data set to report.
    """
    options, registry = options or ExecutionOptions(), registry or load_registry()
    loader = open_loader(registry, options.data_dir, progress)
    own_device(options)
    with naming_origins(options.store):
        search = _Search(request, val_out, read_grid(grid, request), registry, loader, Store(options.store))
    _check_separate(search)
    tasks = [task for _, tasks in search.points for task in tasks]
    fitted = execute(tasks, registry, loader, options, progress)
    points = [search.judge(*point) for point in search.points]
    aurocs = [point.auroc for point in points if point.auroc is not None]
    chosen = next(point for point in points if point.auroc == max(aurocs)) if aurocs else None
    record, where = search.save(points, chosen)
    if chosen and progress:
        progress.message(f"chosen: {', '.join(f'{name}={value}' for name, value in chosen.settings.items())}")
    tasks = search.test_tasks(chosen) if chosen else []
    tested = execute(tasks, registry, loader, replace(options, force=False), progress)
    return Tuned(points, chosen, record, where, tested.results, [*fitted.failures, *tested.failures])


def read_grid(texts: Sequence[str], request: RunRequest) -> dict[str, list[str]]:
    """Parse ``["latent_dim=2,4"]`` to ``{"latent_dim": ["2", "4"]}``; ``plan`` checks the values later."""
    axes: dict[str, list[str]] = {}
    fixed = {_own_name(split_setting("--set", text)[0], request) for text in request.sets}
    for text in texts:
        name, _, values = text.partition("=")
        axis = [value.strip() for value in _split(values)]
        if not all(axis):
            raise OODBenchError(f"--grid {shorten(text)}: write it as name=2,4,8")
        name = _own_name(name.strip(), request)
        if name in axes:
            raise OODBenchError(f"--grid {name} is given twice; name all its values in one")
        if name in fixed:
            raise OODBenchError(f"{name} is given by --set and by --grid; leave it out of one")
        axes[name] = axis
    if not axes:
        raise OODBenchError("name at least one --grid, as in --grid latent_dim=2,4,8")
    return axes


def _own_name(name: str, request: RunRequest) -> str:
    """Return ``latent_dim`` for ``ae.latent_dim`` where ``ae`` is the detector that is tuned."""
    for detector in request.detectors:
        name = name.removeprefix(f"{detector}.")
    return name


def _split(values: str) -> list[str]:
    """Split at the commas that are not inside brackets: ``[1,2],[3,4]`` are two values."""
    parts, depth = [""], 0
    for character in values:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


class _Search:
    """One search: the tasks of every point, the images that points are judged on, and the record of the choice."""

    def __init__(
        self,
        request: RunRequest,
        val_out: str,
        axes: Mapping[str, Sequence[str]],
        registry: Registry,
        loader: Loader,
        store: Store,
    ):
        for flag, names in {"--detector": request.detectors, "--in": request.in_datasets}.items():
            if len(set(names)) > 1:
                raise OODBenchError(f"name one {flag} to tune at a time, not {len(set(names))}: {', '.join(names)}")
        request, val_out = canonical_words(request, loader), loader.canonical(val_out)
        self.request, self.axes = request, axes
        self.registry, self.loader, self.store = registry, loader, store
        self.points = self._plan(val_out)
        self.run: Run = self.points[0][1][0].run
        self.splits = {split: loader.load(self.run.in_dataset, split) for split in SPLITS}
        self.val_out = loader.load(val_out, "validation", self.splits["validation"].shape)
        self.out_datasets = {name: loader.load(name, "test", self.val_out.shape) for name in request.out_datasets}

    def _plan(self, val_out: str) -> list[tuple[dict[str, str], list[Task]]]:
        """Return each point's settings and tasks, one per seed; a point with the same runs as another is left out."""
        points: dict[tuple[Run, ...], tuple[dict[str, str], list[Task]]] = {}
        for values in product(*self.axes.values()):
            settings = dict(zip(self.axes, values, strict=True))
            sets = (*self.request.sets, *(f"{name}={value}" for name, value in settings.items()))
            request = replace(self.request, sets=sets)
            tasks = plan([replace(request, out_datasets=(val_out,))], self.registry, self.loader, "validation")
            if request.out_datasets:
                plan([request], self.registry, self.loader)  # refuses what is invalid before anything is fitted
            points.setdefault(tuple(task.run for task in tasks), (settings, tasks))
        return list(points.values())

    def judge(self, settings: dict[str, str], tasks: Sequence[Task]) -> Point:
        """Return the validation result of one point, from its stored scores."""
        runs = {run_key(task.run, self.splits): self._auroc(task.run) for task in tasks}
        aurocs = [auroc for auroc in runs.values() if auroc is not None]
        return Point(settings, runs, fmean(aurocs) if len(aurocs) == len(runs) else None)

    def _auroc(self, run: Run) -> float | None:
        """Return the AUROC on the validation splits; None without scores of exactly these images (see the failure)."""
        key = run_key(run, self.splits)
        with suppress(StoreError):
            inside = self.store.read_scores(key, None, "validation")
            outside = self.store.read_scores(key, self.val_out.name, "validation")
            if outside.fingerprint == self.val_out.fingerprint:
                results, _ = compute_metrics(key, run, inside, outside, [self.registry.metric(METRIC)])
                return results[0].value if results else None
        return None

    def test_tasks(self, chosen: Point) -> list[Task]:
        """Return the tasks that score test splits: those of the chosen point alone."""
        tasks = next(tasks for settings, tasks in self.points if settings == chosen.settings)
        return [Task(task.run, tuple(self.out_datasets)) for task in tasks] if self.out_datasets else []

    def save(self, points: Sequence[Point], chosen: Point | None) -> tuple[dict[str, Any], str]:
        """Write the choice and its evidence, unless the same is recorded already; return the record and its place."""
        evidence = self._evidence(points, chosen)
        identity = [[list(point.runs) for point in points], evidence["validation"], evidence["outs"]]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
        key = f"{self.run.detector}-{file_name(self.run.in_dataset)}-{digest}"
        kept = self.store.read_tuning(key) or {}
        if {**kept, **evidence} != kept:  # else keep when this was chosen first
            created = datetime.now(UTC).isoformat(timespec="seconds")
            kept = {**evidence, "software": fitting.software(self.run, self.registry), "created": created}
            self.store.write_tuning(key, kept)
        return kept, self.store.where_tuning(key)

    def _evidence(self, points: Sequence[Point], chosen: Point | None) -> dict[str, Any]:
        return {
            "detector": self.run.detector,
            "in_dataset": self.run.in_dataset,
            "preset": self.request.preset or "paper",
            "sets": list(self.request.sets),
            "precision": self.run.precision,
            "seeds": [task.run.seed for task in self.points[0][1]],
            "grid": {name: list(values) for name, values in self.axes.items()},
            "metric": METRIC,
            "rule": RULE,
            "validation": {"in": _facts(self.splits["validation"]), "out": _facts(self.val_out)},
            "outs": [_facts(images) for images in self.out_datasets.values()],
            "points": [asdict(point) for point in points],
            "chosen": chosen and chosen.settings,
        }


def _facts(images: ImageSet) -> dict[str, Any]:
    return {
        "dataset": images.name,
        "split": images.split,
        "images": len(images),
        "fingerprint": images.fingerprint,
    }


# ------------------------------------------------------------------------------- shared images


def _check_separate(search: _Search) -> None:
    """Raise DataError if ``val_out`` shares images with the in-data, or images or classes with an out-data set."""
    name, hashes = search.val_out.name, list(image_hashes(search.val_out))
    faults = []
    for images in search.splits.values():
        faults += _shared(hashes, images, "--in")
    for out_name, images in search.out_datasets.items():
        is_same = search.loader.share_classes(name, out_name)
        same = [f"--out {out_name} is of the same data set"] if is_same else []
        faults += _shared(hashes, images, "--out") or same
    if faults:
        raise DataError(f"--val-out {name} must be a data set of its own: {'; '.join(faults)}; choose another")


def _shared(hashes: Sequence[bytes], images: ImageSet, flag: str) -> list[str]:
    """Return a sentence that says how many of the validation images are among these; none if none are."""
    count = count_shared(hashes, images)
    if not count:
        return []
    where = f"the {images.split} split of {flag} {images.name}"
    return [f"{count:,} of its {len(hashes):,} validation images are in {where}"]
