"""Executes one task: its run is fitted, scored and evaluated, and each piece stored as soon as it is there."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from oodbench.api import SPLITS, Context, Detector, ImageSet, Progress, Run
from oodbench.errors import reason
from oodbench.plan.tasks import Task, new_detector, run_key, title_of
from oodbench.runs import fitting, scoring
from oodbench.runs.evaluation import update_results
from oodbench.runs.isolation import isolated

if TYPE_CHECKING:
    import torch

    from oodbench.data.loading import Loader
    from oodbench.plugin.registry import Registry
    from oodbench.store.store import Store


@dataclass(frozen=True)
class Failure:
    """What failed, and why; ``out_dataset`` is empty where the whole run failed."""

    run: str
    out_dataset: str
    error: str


@dataclass
class TaskOutcome:
    """What came of a task: the run's key, None where the run failed; the out-data sets with results; what failed."""

    key: str | None = None
    out_datasets: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class TaskRunner:
    """Where the tasks of one call take everything from, and where they put what they make."""

    registry: Registry
    loader: Loader
    store: Store
    device: torch.device
    progress: Progress
    force: bool

    def execute(self, task: Task, title: str) -> TaskOutcome:
        """Do everything that the task asks for and that is not in the store yet. What fails does not raise."""
        run, outcome = task.run, TaskOutcome()
        with self._recording(run, None, outcome):
            splits = {split: self.loader.load(run.in_dataset, split) for split in SPLITS}
            key = run_key(run, splits)
            with self.store.claim(key, on_wait=self.progress.message):
                if self.force:
                    self.store.clear(key)
                detector = self._fit(run, key, splits, title)
                scored = self._score(FittedRun(self, run, key, splits, detector), task, outcome)
                if task.split == "test":
                    self._evaluate(run, key, scored, outcome)
                    outcome.out_datasets = scored
            outcome.key = key
        return outcome

    def _fit(self, run: Run, key: str, splits: Mapping[str, ImageSet], title: str) -> Detector | None:
        """Fit and store the run; None where the store has the fit already."""
        if self.store.is_fitted(key):
            self.progress.message(f"{title}: fitted already")
            return None
        self.progress.message(f"{title}: fitting to {len(splits['train']):,} images")
        notes = self.loader.notes(run.in_dataset)
        checkpoints = self.store.checkpoints(key)
        result = fitting.fit(run, splits, self.registry, self.device, self.progress, checkpoints, notes)
        self.store.write_fit(key, run, result.provenance, result.detector.state(), result.history)
        return result.detector

    def _score(self, fitted: FittedRun, task: Task, outcome: TaskOutcome) -> list[str]:
        """Score what has no scores yet. Returns the out-data sets that have scores now."""
        in_images = fitted.splits[task.split]
        fitted.score(in_images, out=False)
        scored = []
        for name in task.out_datasets:
            with self._recording(fitted.run, name, outcome):
                fitted.score(self.loader.load(name, task.split, in_images.shape), out=True)
                scored.append(name)
        return scored

    def _evaluate(self, run: Run, key: str, out_datasets: Sequence[str], outcome: TaskOutcome) -> None:
        metrics = list(self.registry.metrics.values())
        results = self.store.read_results([key])
        done = set(zip(results["out_dataset"], results["metric"], strict=True))
        missing = [name for name in out_datasets if not done >= {(name, metric.name) for metric in metrics}]
        for name, error in update_results(self.store, key, missing, metrics).items():
            self._fail(run, name, error, outcome)

    @contextmanager
    def _recording(self, run: Run, out_dataset: str | None, outcome: TaskOutcome) -> Iterator[None]:
        """Record what fails inside, and go on; what succeeds removes an earlier record of its failure."""
        try:
            yield
        except Exception as error:
            self._fail(run, out_dataset, error, outcome)
        else:
            self.store.clear_failure(run, out_dataset)

    def _fail(self, run: Run, out_dataset: str | None, error: Exception, outcome: TaskOutcome) -> None:
        self.progress.message(f"failed: {reason(error)}")
        outcome.failures.append(self.record_failure(run, out_dataset, error))

    def record_failure(self, run: Run, out_dataset: str | None, error: Exception) -> Failure:
        """Store the failure with its traceback; ``out_dataset`` is None where the whole run failed."""
        trace = "".join(traceback.format_exception(error))
        self.store.write_failure(run, out_dataset, reason(error), trace)
        return Failure(title_of(run), out_dataset or "", reason(error))


@dataclass
class FittedRun:
    """A fitted run. Its detector is read from the store only when something is to be scored and it is not at hand."""

    runner: TaskRunner
    run: Run
    key: str
    splits: Mapping[str, ImageSet]
    fitted: Detector | None

    @cached_property
    def detector(self) -> Detector:
        if self.fitted is not None:
            return self.fitted
        weights = self.runner.store.read_weights(self.key, self.runner.device)
        with isolated(self.runner.device, title_of(self.run)):
            detector = new_detector(self.run, self.splits, self.runner.registry)
            detector.load_state(weights)
        return detector

    def score(self, images: ImageSet, out: bool) -> None:
        """Score the images, unless the store has the scores of exactly these."""
        name, store = images.name if out else None, self.runner.store
        if not store.has_scores(self.key, name, images.fingerprint, images.split):
            context = Context(self.runner.device, self.run.seed, self.run.precision, self.runner.progress)
            scores = scoring.score(self.detector, images, context, store.fit_id(self.key))
            store.write_scores(self.key, scores, out=out)
