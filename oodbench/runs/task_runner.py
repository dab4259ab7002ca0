"""Execution of one task: its run is fitted, scored and evaluated, and each piece stored as soon as it is ready."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from oodbench.api import SPLITS, Context, Detector, ImageSet, Progress, Run
from oodbench.api.full_spectrum import covariate_text, in_full_spectrum
from oodbench.data.overlap import check_separate, training_images_note
from oodbench.errors import BaseNotFitted, FitError, StoreError, reason
from oodbench.plan.tasks import Task, new_detector, run_key, title_of
from oodbench.runs import fitting, scoring
from oodbench.runs.bases import StoredBase, is_on_this_base, open_base
from oodbench.runs.devices import is_out_of_memory
from oodbench.runs.estimate import ReportedProgress
from oodbench.runs.evaluation import update_results
from oodbench.runs.isolation import isolated
from oodbench.store.processes import Busy
from oodbench.store.records import Combination

if TYPE_CHECKING:
    import torch

    from oodbench.data.loading import Loader
    from oodbench.plugin.registry import Registry
    from oodbench.store.store import Store


class UnwritableStore(StoreError):
    """Nothing can be written to the store, so that no run can continue."""


@dataclass(frozen=True)
class Failure:
    """What failed, and why; ``out_dataset`` is empty where the whole run failed."""

    run: str
    out_dataset: str
    error: str


@dataclass
class TaskOutcome:
    """The outcome of a task.

    Args:
        key: of the run; None where it failed, or was put aside.
        out_datasets: those that have results.
        busy: key of the run, or of its base, if another process works on that: the task was put aside.
        lacks_base: whether it failed because its base is not fitted.
    """

    key: str | None = None
    out_datasets: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    busy: str = ""
    lacks_base: bool = False


@dataclass(frozen=True)
class TaskRunner:
    """Everything that the tasks of one call share: code, data, store, device, progress, and whether to force."""

    registry: Registry
    loader: Loader
    store: Store
    device: torch.device
    progress: Progress
    force: bool

    def execute(self, task: Task, title: str) -> TaskOutcome:
        """Do everything that the task requests and that is not in the store yet. Failures are recorded, not raised.

        This does not wait for another process that works on the run or its base: the outcome says so. An unwritable
        store raises UnwritableStore.
        """
        outcome = TaskOutcome()
        try:
            with self._recording(Combination(task.run), outcome):
                self._execute(task, title, outcome)
        except Busy as busy:
            return TaskOutcome(busy=busy.key)
        return outcome

    def _execute(self, task: Task, title: str, outcome: TaskOutcome) -> None:
        run = task.run
        splits = {split: self.loader.load(run.in_dataset, split) for split in SPLITS}
        key = run_key(run, splits)
        if not self.force and self._is_finished(key, task, splits):
            outcome.key, outcome.out_datasets = key, self._found_finished(task, title)
            return
        self.check_writable()
        self._check_base_is_free(run, splits)
        with self.store.claim(key, wait=False, run=run, title=task.title) as claim:
            reporting = replace(self, progress=ReportedProgress(self.progress, claim.report))
            reporting._fit_score_evaluate(task, key, splits, title, outcome)
        outcome.key = key
        self.store.clear_failure(Combination(run))

    def _fit_score_evaluate(
        self, task: Task, key: str, splits: Mapping[str, ImageSet], title: str, outcome: TaskOutcome
    ) -> None:
        if self.force:
            self.store.clear(key)
        base = open_base(task.run, splits, self.registry, self.store, self.context(task.run))
        self._fit(task.run, key, splits, title, base)
        if task.out_datasets:
            self._score_and_evaluate(FittedRun(self, task.run, key, splits), task, outcome)

    def _check_base_is_free(self, run: Run, splits: Mapping[str, ImageSet]) -> None:
        """Raise Busy where the run's base is not fitted yet, and another process works on it."""
        if run.base:
            key = run_key(run.base, splits)
            if not self.store.is_fitted(key) and (work := self.store.claims.holder(key)):
                raise Busy(key, work)

    def finished(self, task: Task, title: str) -> TaskOutcome | None:
        """Return the outcome of a task that is finished already; None for any other."""
        try:
            splits = {split: self.loader.load(task.run.in_dataset, split) for split in SPLITS}
        except Exception:
            return None  # the worker that runs the task will report the error
        key = run_key(task.run, splits)
        if self.force or not self._is_finished(key, task, splits):
            return None
        return TaskOutcome(key, self._found_finished(task, title))

    def _found_finished(self, task: Task, title: str) -> list[str]:
        """Report a finished task, clear its earlier failures, and return the out-data sets that have results."""
        self.progress.message(f"{title}: finished already")
        for name in (None, *task.scored):
            self.store.clear_earlier_failure(Combination(task.run, name, task.split))
        return list(task.out_datasets) if task.split == "test" else []

    def check_writable(self) -> None:
        """Raise UnwritableStore, which ends the command, where nothing can be written, as no failure can be recorded.

        Called only before something is written: finished runs can be shown from a read-only store.
        """
        try:
            self.store.check_writable(self.progress.message)
        except StoreError as error:
            raise UnwritableStore(str(error)) from error

    def _is_fitted(self, run: Run, key: str, splits: Mapping[str, ImageSet]) -> bool:
        """Whether the store has the run's fit, made with the base's fit that is stored now."""
        return self.store.is_fitted(key) and is_on_this_base(run, key, splits, self.store)

    def _is_finished(self, key: str, task: Task, splits: Mapping[str, ImageSet]) -> bool:
        """Whether the store has everything that the task requests; False if that, or the data, cannot be read."""
        try:
            with self.store.snapshot(key):
                return self._has_all(key, task, splits)
        except Exception:
            return False  # the error arises again where it is recorded

    def _has_all(self, key: str, task: Task, splits: Mapping[str, ImageSet]) -> bool:
        store, split, in_images = self.store, task.split, splits[task.split]
        if not self._is_fitted(task.run, key, splits):
            return False
        if not task.out_datasets:
            return True
        prints = {name: self.loader.load(name, split, in_images.shape).fingerprint for name in task.scored}
        is_scored = store.has_scores(key, None, in_images.fingerprint, split) and all(
            store.has_scores(key, name, fingerprint, split) for name, fingerprint in prints.items()
        )
        if not is_scored or split != "test":
            return is_scored
        texts = ["", *([covariate_text(_only(prints, task.covariates))] if task.covariates else [])]
        return not any(self._without_results(key, task.out_datasets, text) for text in texts)

    def _without_results(self, key: str, out_datasets: Sequence[str], covariate: str = "") -> list[str]:
        """Return the out-data sets that lack a result of some metric; in full spectrum if ``covariate`` is given.

        A value that another version of the metric's code computed does not count.
        """
        columns = ["out_dataset", "covariate", "metric", "metric_version"]
        done = {*self.store.read_results([key])[columns].itertuples(index=False, name=None)}
        metrics = self.registry.metrics.values()
        names = [(in_full_spectrum(metric) if covariate else metric).name for metric in metrics]
        needed = [(covariate, name, self.registry.metric_version(name)) for name in names]
        return [name for name in out_datasets if not done >= {(name, *each) for each in needed}]

    def context(self, run: Run) -> Context:
        return Context(self.device, run.seed, run.precision, self.progress)

    def _fit(self, run: Run, key: str, splits: Mapping[str, ImageSet], title: str, base: StoredBase | None) -> None:
        """Fit and store the run, unless the store has the fit already."""
        if self._is_fitted(run, key, splits):
            self.progress.message(f"{title}: fitted already")
            self.store.remove_checkpoint(key)
            return
        notes = [*self.loader.notes(run.in_dataset), *training_images_note(splits, self.loader.cache)]
        checkpoints = self.store.checkpoints(key)
        begins = "fitting from its last checkpoint" if self.store.has_checkpoint(key) else "fitting"
        self.progress.message(f"{title}: {begins} to {len(splits['train']):,} images")
        result = fitting.fit(run, splits, self.registry, self.device, self.progress, checkpoints, notes, base)
        self.store.write_fit(key, run, result.provenance, result.detector.state(), result.history)

    def _score_and_evaluate(self, fitted: FittedRun, task: Task, outcome: TaskOutcome) -> None:
        prints = self._score(fitted, task, outcome)
        if task.split == "test":
            scored = [name for name in task.out_datasets if name in prints]
            self._evaluate(fitted.run, fitted.key, scored, {}, outcome)
            shifted = _only(prints, task.covariates)
            if shifted and len(shifted) == len(task.covariates):  # else a failure says which has no scores
                self._evaluate(fitted.run, fitted.key, scored, shifted, outcome)
            outcome.out_datasets = scored

    def _score(self, fitted: FittedRun, task: Task, outcome: TaskOutcome) -> dict[str, str]:
        """Score the data sets that have no scores yet. Returns all that have scores now: name → fingerprint."""
        in_images = fitted.splits[task.split]
        fitted.score(in_images, out=False)
        scored = {}
        for name in task.scored:
            combination = Combination(fitted.run, name, task.split, is_shifted=name in task.covariates)
            with self._recording(combination, outcome):
                images = self.loader.load(name, task.split, in_images.shape)
                fitted.score(images, out=True, covariates=task.covariates if combination.is_shifted else ())
                self.store.clear_failure(combination)
                scored[name] = images.fingerprint
        return scored

    def _evaluate(
        self, run: Run, key: str, out_datasets: Sequence[str], covariates: Mapping[str, str], outcome: TaskOutcome
    ) -> None:
        """Compute the missing results; in full spectrum if there are covariate-shifted sets, name → fingerprint."""
        missing = self._without_results(key, out_datasets, covariate_text(covariates))
        metrics = list(self.registry.metrics.values())
        version = self.registry.metric_version
        for name, error in update_results(self.store, key, missing, metrics, version, covariates).items():
            self._fail(Combination(run, name), error, outcome)

    @contextmanager
    def _recording(self, combination: Combination, outcome: TaskOutcome) -> Iterator[None]:
        """Return a context that records a failure inside it instead of raising."""
        try:
            yield
        except (UnwritableStore, Busy):
            raise
        except Exception as error:
            self._fail(combination, error, outcome)

    def _fail(self, failed: Combination, error: Exception, outcome: TaskOutcome) -> None:
        if is_out_of_memory(error):
            error = FitError(f"memory ran out ({reason(error)}): lower the batch size or the size of the network")
        self.progress.message(f"failed: {reason(error)}")
        outcome.lacks_base = isinstance(error, BaseNotFitted)
        outcome.failures.append(self.record_failure(failed, error))

    def record_failure(self, failed: Combination, error: Exception) -> Failure:
        """Store the failure with its traceback."""
        trace = "".join(traceback.format_exception(error))
        self.store.write_failure(failed, reason(error), trace)
        return Failure(title_of(failed.run), failed.out_dataset or "", reason(error))


def _only(fingerprints: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the fingerprints of these data sets, where there are any."""
    return {name: fingerprints[name] for name in names if name in fingerprints}


@dataclass
class FittedRun:
    """A fitted run.

    Its detector and base are read from the store when something is scored, even by the process that fitted it.
    Otherwise, what ``state`` leaves out and what the fit changed in its base would affect only some of a run's scores.
    """

    runner: TaskRunner
    run: Run
    key: str
    splits: Mapping[str, ImageSet]

    @cached_property
    def detector(self) -> Detector:
        runner, run = self.runner, self.run
        base = open_base(run, self.splits, runner.registry, runner.store, runner.context(run))
        with isolated(runner.device, title_of(run)):
            detector = new_detector(run, self.splits["train"].shape, runner.registry, base)
            detector.load_state(runner.store.read_weights(self.key, runner.device))
        return detector

    def score(self, images: ImageSet, out: bool, covariates: tuple[str, ...] = ()) -> None:
        """Score the images, unless the store has the scores of exactly these.

        Args:
            out: whether they are out-data or covariate-shifted, rather than the run's own in-data.
            covariates: for covariate-shifted images, all such sets of the task; recorded with the scores.

        Raises DataError where they are also in-data (see ``check_separate``); a few shared images become a note.
        """
        name, store = images.name if out else None, self.runner.store
        if not store.has_scores(self.key, name, images.fingerprint, images.split):
            context = self.runner.context(self.run)
            note = self._note(images) if out else ""
            scores = scoring.score(self.detector, images, context, store.fit_id(self.key), note)
            store.write_scores(self.key, replace(scores, covariates=covariates), out=out)

    def _note(self, images: ImageSet) -> str:
        """Return the note on an out-data set for readers of its scores. Raises DataError as ``score`` does."""
        loader = self.runner.loader
        shared = check_separate(self.splits, images, loader.cache)
        return "; ".join(filter(None, [*loader.notes(images.name, [images.split]), shared]))
