"""The whole line: words → runs → scores → store → results. The only module that strings the steps; the Python API.

from oodbench.pipeline import Words, run
outcome = run(Words(detectors=("ae",), ins=("mnist5k:0,2-9",), outs=("mnist5k:1", "noise"), preset="quick"))
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from oodbench import evaluation, figures, runner
from oodbench.api import SPLITS, Context, Detector, ImageSet, Metric, Progress, Result, Run
from oodbench.errors import OODBenchError, StoreError, reason
from oodbench.loading import Loader
from oodbench.registry import Registry, load_registry
from oodbench.runs import Task, Words, plan
from oodbench.storage import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

__all__ = ["Failure", "Outcome", "Words", "cache_folder", "data_folder", "evaluate_store", "figure", "run"]


@dataclass(frozen=True)
class Failure:
    """What did not come out of this call, and why; ``out_dataset`` is empty where the whole run failed."""

    run: str
    out_dataset: str
    error: str


@dataclass(frozen=True)
class Outcome:
    """The keys of the runs asked for, their results on the out-data sets asked for, and what failed."""

    keys: list[str]
    results: pd.DataFrame
    failures: list[Failure]


def data_folder() -> Path:
    """Where data sets are read from and downloaded to: ``OODBENCH_DATA``, else the user's data folder."""
    from platformdirs import user_data_path

    return Path(os.environ.get("OODBENCH_DATA") or user_data_path("oodbench"))


def cache_folder() -> Path:
    """Where decoded data sets are kept: ``OODBENCH_CACHE``, else the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("OODBENCH_CACHE") or user_cache_path("oodbench"))


def run(
    *words: Words,
    store: str = "results",
    data_dir: Path | None = None,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
    registry: Registry | None = None,
) -> Outcome:
    """Fit, score and evaluate what is not in the store yet. A combination that fails does not stop the others.

    Raises OODBenchError before anything is run if a word, the device or the store is no good.
    """
    registry = registry or load_registry()
    loader = Loader(registry, data_dir or data_folder(), cache_folder())
    tasks = plan(words, registry, loader)
    line = _Line(registry, loader, Store(store), runner.find_device(device), progress or Progress(), force)
    line.store.check_writable()
    for number, task in enumerate(tasks, 1):
        line.execute(task, f"[{number}/{len(tasks)}] {_title(task.run)}")
    return Outcome([*line.outs_of], _asked(line.store, line.outs_of), line.failures)


def evaluate_store(store: str, metrics: Iterable[Metric] | None = None, registry: Registry | None = None) -> Outcome:
    """Apply the metrics (all of them by default) to the stored scores of every finished run again."""
    if metrics is None:
        metrics = (registry or load_registry()).metrics.values()
    record, chosen = Store(store), list(metrics)
    if not record.keys():
        raise StoreError(f"there is no finished run in {store}; `oodbench run` makes one, --store says where")
    record.check_writable()
    failures: list[Failure] = []
    keys = []
    for key in record.keys():
        try:
            with record.claim(key):
                failed = _evaluate(record, key, record.out_datasets(key), chosen)
            failures += [Failure(key, out, reason(error)) for out, error in failed.items()]
            keys.append(key)
        except Exception as error:
            failures.append(Failure(key, "", reason(error)))
    return Outcome(keys, record.read_results(keys), failures)


def figure(
    *words: Words,
    path: Path,
    store: str = "results",
    data_dir: Path | None = None,
    count: int = 8,
    title: str = "",
    registry: Registry | None = None,
) -> None:
    """Draw the finished runs that the words name, side by side: one in-data set, and of several seeds the first."""
    registry = registry or load_registry()
    loader = Loader(registry, data_dir or data_folder(), cache_folder())
    tasks = plan(words, registry, loader)
    ins = list(dict.fromkeys(task.run.in_dataset for task in tasks))
    if len(ins) > 1:
        raise OODBenchError(f"a figure shows one in-data set, not {len(ins)}; choose with --in {ins[0]}")
    tasks = [task for task in tasks if task.run.seed == tasks[0].run.seed]
    line = _Line(registry, loader, Store(store), runner.find_device("cpu"), Progress(), force=False)
    splits = {split: loader.load(ins[0], split) for split in SPLITS}
    outs = list(dict.fromkeys(out for task in tasks for out in task.outs))
    sets = [splits["test"], *(loader.load(out, "test", splits["test"].shape) for out in outs)]
    shown = {images.name: images.images[:count] for images in sets}
    figures.draw(shown, [line.panel(task, splits, shown) for task in tasks], path, title)


@dataclass
class _Line:
    """One call of ``run``: where everything comes from and goes to, and what has come of it."""

    registry: Registry
    loader: Loader
    store: Store
    device: torch.device
    progress: Progress
    force: bool
    outs_of: dict[str, list[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def execute(self, task: Task, title: str) -> None:
        """Everything one task asks for that is not in the store."""
        run = task.run
        with self._recorded(run, None):
            splits = {split: self.loader.load(run.in_dataset, split) for split in SPLITS}
            key = runner.run_key(run, splits)
            with self.store.claim(key, on_wait=self.progress.message):
                if self.force:
                    self.store.clear(key)
                fresh = self._fit(run, key, splits, title)
                outs = self._score(_Ready(self, run, key, splits, fresh), task.outs)
                self._evaluate(run, key, outs)
            self.outs_of[key] = outs

    def panel(self, task: Task, splits: Mapping[str, ImageSet], shown: Mapping[str, np.ndarray]) -> figures.Panel:
        """What a figure shows of a finished run."""
        run, key = task.run, runner.run_key(task.run, splits)
        results = self.store.read_results([key])
        auroc = results[results["metric"] == "auroc"].set_index("out_dataset")["value"]
        missing = [out for out in task.outs if out not in auroc]
        if missing:
            command = f"oodbench run --detector {run.detector} --in {run.in_dataset} --out {missing[0]}"
            raise StoreError(
                f"{_title(run)} has no scores of {missing[0]} in the store; `{command}` with the same preset"
            )
        detector = _Ready(self, run, key, splits, None).detector
        made = {name: runner.reconstruct(detector, images, self.device) for name, images in shown.items()}
        return figures.Panel(
            detector=run.detector,
            in_scores=self.store.read_scores(key, None),
            out_scores=[self.store.read_scores(key, out) for out in task.outs],
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
        fitted = runner.fit(run, splits, self.registry, self.device, self.progress, checkpoints, notes)
        self.store.write_fit(key, run, fitted.provenance, fitted.detector.state(), fitted.history)
        return fitted.detector

    def _score(self, ready: _Ready, outs: Sequence[str]) -> list[str]:
        """Score what has no scores yet; the out-data sets that have them now."""
        test = ready.splits["test"]
        ready.score(test, out=False)
        scored = []
        for name in outs:
            with self._recorded(ready.run, name):
                ready.score(self.loader.load(name, "test", test.shape), out=True)
                scored.append(name)
        return scored

    def _evaluate(self, run: Run, key: str, outs: Sequence[str]) -> None:
        metrics = list(self.registry.metrics.values())
        results = self.store.read_results([key])
        done = set(zip(results["out_dataset"], results["metric"], strict=True))
        missing = [out for out in outs if not done >= {(out, metric.name) for metric in metrics}]
        for out, error in _evaluate(self.store, key, missing, metrics).items():
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
        self.failures.append(Failure(_title(run), out or "", reason(error)))
        self.progress.message(f"failed: {reason(error)}")
        trace = "".join(traceback.format_exception(error))
        self.store.write_failure(run, out, reason(error), trace)


@dataclass
class _Ready:
    """A fitted run. Its detector is read from the store only if something is to be scored and it is not at hand."""

    line: _Line
    run: Run
    key: str
    splits: Mapping[str, ImageSet]
    fresh: Detector | None

    @cached_property
    def detector(self) -> Detector:
        if self.fresh is not None:
            return self.fresh
        detector = runner.new_detector(self.run, self.splits, self.line.registry)
        detector.load_state(self.line.store.read_weights(self.key, self.line.device))
        return detector

    def score(self, images: ImageSet, out: bool) -> None:
        """Score the images, unless the store has the scores of just these."""
        if not self.line.store.has_scores(self.key, images.name if out else None, images.fingerprint):
            context = Context(self.line.device, self.run.seed, self.run.precision, self.line.progress)
            self.line.store.write_scores(self.key, runner.score(self.detector, images, context), out=out)


def _evaluate(store: Store, key: str, outs: Sequence[str], metrics: list[Metric]) -> dict[str, Exception]:
    """Apply every metric to a run's scores of these out-data sets. The sets for which that failed, and why."""
    if not outs:
        return {}
    run, _ = store.read_run(key)
    in_scores = store.read_scores(key, None)
    results: list[Result] = []
    failed: dict[str, Exception] = {}
    for out in outs:
        try:
            results += evaluation.evaluate(key, run, in_scores, store.read_scores(key, out), metrics)
        except Exception as error:
            failed[out] = error
    store.write_results(key, results)
    return failed


def _asked(store: Store, outs_of: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The results on the out-data sets that this call asked for."""
    results = store.read_results(list(outs_of))
    asked = [out in outs_of[key] for key, out in zip(results["run"], results["out_dataset"], strict=True)]
    return results[asked].reset_index(drop=True)


def _title(run: Run) -> str:
    return f"{run.detector} on {run.in_dataset}, seed {run.seed}"
