"""One task after the other on one line: its run is fitted, scored, evaluated and kept. What strings the steps."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from oodbench.api import SPLITS, Context, Detector, ImageSet, Metric, Progress, Result, Run
from oodbench.errors import StoreError, reason
from oodbench.leaderboard import figures
from oodbench.runs import evaluation, fitting

if TYPE_CHECKING:
    import numpy as np
    import torch

    from oodbench.data.loading import Loader
    from oodbench.plan.tasks import Task
    from oodbench.plugin.registry import Registry
    from oodbench.store.store import Store


@dataclass(frozen=True)
class Failure:
    """What did not come out of this call, and why; ``out_dataset`` is empty where the whole run failed."""

    run: str
    out_dataset: str
    error: str


@dataclass
class TaskRunner:
    """One call of ``run``: where everything comes from and goes to, and what has come of it."""

    registry: Registry
    loader: Loader
    store: Store
    device: torch.device
    progress: Progress
    force: bool
    out_datasets_by_run: dict[str, list[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def execute(self, task: Task, title: str) -> None:
        """Everything one task asks for that is not in the store."""
        run = task.run
        with self._recorded(run, None):
            splits = {split: self.loader.load(run.in_dataset, split) for split in SPLITS}
            key = fitting.run_key(run, splits)
            with self.store.claim(key, on_wait=self.progress.message):
                if self.force:
                    self.store.clear(key)
                fresh = self._fit(run, key, splits, title)
                scored = self._score(FittedRun(self, run, key, splits, fresh), task)
                out_datasets = scored if task.split == "test" else []
                self._evaluate(run, key, out_datasets)
            self.out_datasets_by_run[key] = out_datasets

    def panel(self, task: Task, splits: Mapping[str, ImageSet], shown: Mapping[str, np.ndarray]) -> figures.Panel:
        """What a figure shows of a finished run."""
        run, key = task.run, fitting.run_key(task.run, splits)
        results = self.store.read_results([key] if self.store.is_fitted(key) else [])
        auroc = results[results["metric"] == "auroc"].set_index("out_dataset")["value"]
        missing = [out for out in task.out_datasets if out not in auroc]
        if missing:
            command = f"oodbench run --detector {run.detector} --in {run.in_dataset} --out {missing[0]}"
            raise StoreError(
                f"{title_of(run)} has no scores of {missing[0]} in the store; `{command}` with the same preset"
            )
        detector = FittedRun(self, run, key, splits, None).detector
        made = {name: fitting.reconstruct(detector, images, self.device) for name, images in shown.items()}
        return figures.Panel(
            detector=run.detector,
            in_scores=self.store.read_scores(key, None),
            out_scores=[self.store.read_scores(key, out) for out in task.out_datasets],
            auroc={str(out): float(value) for out, value in auroc.items()},
            reconstructions={name: images for name, images in made.items() if images is not None},
        )

    def _fit(self, run: Run, key: str, splits: Mapping[str, ImageSet], title: str) -> Detector | None:
        """The detector if it had to be fitted."""
        if self.store.is_fitted(key):
            self.progress.message(f"{title}: fitted already")
            return None
        self.progress.message(f"{title}: fitting to {len(splits['train']):,} images")
        notes = self.loader.notes(run.in_dataset)
        checkpoints = self.store.checkpoints(key)
        fitted = fitting.fit(run, splits, self.registry, self.device, self.progress, checkpoints, notes)
        self.store.write_fit(key, run, fitted.provenance, fitted.detector.state(), fitted.history)
        return fitted.detector

    def _score(self, ready: FittedRun, task: Task) -> list[str]:
        """Score what has no scores yet; the out-data sets that have them now."""
        inside = ready.splits[task.split]
        ready.score(inside, out=False)
        scored = []
        for name in task.out_datasets:
            with self._recorded(ready.run, name):
                ready.score(self.loader.load(name, task.split, inside.shape), out=True)
                scored.append(name)
        return scored

    def _evaluate(self, run: Run, key: str, out_datasets: Sequence[str]) -> None:
        metrics = list(self.registry.metrics.values())
        results = self.store.read_results([key])
        done = set(zip(results["out_dataset"], results["metric"], strict=True))
        missing = [out for out in out_datasets if not done >= {(out, metric.name) for metric in metrics}]
        for out, error in evaluate(self.store, key, missing, metrics).items():
            self._fail(run, out, error)

    @contextmanager
    def _recorded(self, run: Run, out: str | None) -> Iterator[None]:
        """What fails inside is put on record, and the rest goes on; what succeeds is struck off that record."""
        try:
            yield
        except Exception as error:
            self._fail(run, out, error)
        else:
            self.store.clear_failure(run, out)

    def _fail(self, run: Run, out: str | None, error: Exception) -> None:
        self.progress.message(f"failed: {reason(error)}")
        self.record_failure(run, out, error)

    def record_failure(self, run: Run, out: str | None, error: Exception) -> None:
        """``out`` is None where the whole run failed."""
        self.failures.append(Failure(title_of(run), out or "", reason(error)))
        trace = "".join(traceback.format_exception(error))
        self.store.write_failure(run, out, reason(error), trace)


@dataclass
class FittedRun:
    """A fitted run. Its detector is read from the store only if something is to be scored and it is not at hand."""

    line: TaskRunner
    run: Run
    key: str
    splits: Mapping[str, ImageSet]
    fresh: Detector | None

    @cached_property
    def detector(self) -> Detector:
        if self.fresh is not None:
            return self.fresh
        detector = fitting.new_detector(self.run, self.splits, self.line.registry)
        detector.load_state(self.line.store.read_weights(self.key, self.line.device))
        return detector

    def score(self, images: ImageSet, out: bool) -> None:
        """Score the images, unless the store has the scores of just these."""
        name = images.name if out else None
        if not self.line.store.has_scores(self.key, name, images.fingerprint, images.split):
            context = Context(self.line.device, self.run.seed, self.run.precision, self.line.progress)
            self.line.store.write_scores(self.key, fitting.score(self.detector, images, context), out=out)


def evaluate(store: Store, key: str, out_datasets: Sequence[str], metrics: list[Metric]) -> dict[str, Exception]:
    """Apply every metric to a run's scores of these out-data sets. The sets for which that failed, and why."""
    if not out_datasets:
        return {}
    run, _ = store.read_run(key)
    in_scores = store.read_scores(key, None)
    results: list[Result] = []
    failed: dict[str, Exception] = {}
    for out in out_datasets:
        try:
            results += evaluation.evaluate(key, run, in_scores, store.read_scores(key, out), metrics)
        except Exception as error:
            failed[out] = error
    store.write_results(key, results)
    return failed


def title_of(run: Run) -> str:
    settings = run.preset.partition(", ")[2]
    return ", ".join(filter(None, [f"{run.detector} on {run.in_dataset}", settings, f"seed {run.seed}"]))
