"""Runs, scores and results ↔ files: their names and what is in them.

A store is a folder or any fsspec address, with one sub-folder per run::

    <run key>/run.json              Run, Provenance, and the SHA-256 of the two files below; written last of the fit, so
                                    its presence means "fitted"
              weights.safetensors   what was learned
              history.parquet       the training curve
              scores/in.parquet     the score of every image of the in-data's test split
              scores/<out>.parquet  the same for each out-data set
              scores/validation/…   the same for validation splits, for ``oodbench tune``; never a result
              results.parquet       metrics of these scores
              outputs/…             its outputs for images, for detectors that use it as base; may be deleted
              checkpoint.pt         only while the fit is unfinished
              status.json           only while a process works on the run: which one, and its progress
              .lock, .claim-1 …     claim of the process that works on the run; in object storage also earlier claims
    failures/<combination>.json     combinations that failed, with their error
    tunings/<tuning key>.json       what ``oodbench tune`` chose, and why

Each file appears whole or not at all; names that begin with a dot are never read (see ``files``). What is read is
checked (see ``records``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from oodbench.api import Provenance, Result, Run, Scores, file_name
from oodbench.api.full_spectrum import covariate_sets
from oodbench.errors import StoreError
from oodbench.store import frames, parquet, records
from oodbench.store.checkpoints import StoreCheckpoints
from oodbench.store.claims import Claims
from oodbench.store.files import DELETE, REDO, Files
from oodbench.store.held_claims import Claim, is_claim
from oodbench.store.outputs import StoredOutputs
from oodbench.store.processes import ClaimLost, this_process
from oodbench.store.records import Combination
from oodbench.store.sweeping import sweep, sweep_probes

if TYPE_CHECKING:
    import pandas
    import torch

FAILURES = "failures"
TUNINGS = "tunings"
WEIGHTS, HISTORY = "weights.safetensors", "history.parquet"
RESULTS_REMEDY = f"{DELETE}`oodbench evaluate` makes it again"
BATCH = 512
"""Number of runs whose files are read at once."""
Read = bytes | StoreError | None
"""What ``Files.read_many`` yields for a file."""
T = TypeVar("T")


class Store:
    """All files of one store. Reading and writing raise StoreError naming the file."""

    def __init__(self, address: str):
        self.address = address
        self.files = Files(address)
        self.claims = Claims(self.files)
        self._is_checked = False
        self._earlier_failures: frozenset[str] | None = None

    def check_writable(self, on_warning: Callable[[str], None] = lambda text: None) -> None:
        """Raise StoreError if nothing can be written; the store's folder is created if there is none.

        ``on_warning`` is called if two processes may begin the same run. In object storage all this is done once.
        """
        if self._is_checked:
            return
        self.files.check_writable()
        for folder in ("", FAILURES, TUNINGS):
            sweep(self.files, folder, older_than=3600.0)  # seconds: no write takes so long
        self.claims.probe(on_warning)
        sweep_probes(self.files)
        self._is_checked = not self.files.local  # a disk may have filled up since

    @contextmanager
    def claim(
        self,
        key: str,
        on_wait: Callable[[str], None] | None = None,
        *,
        wait: bool = True,
        run: Run | None = None,
        title: str = "",
    ) -> Iterator[Claim]:
        """Claim a run, so that no other process works on it meanwhile (see ``claims``).

        Args:
            on_wait: called once before it waits for another process.
            wait: wait for another process; if False, Busy is raised.
            run, title: the same run and its name in messages, for users who ask what is being worked on.

        The claim of a killed process ends with it, and its half-written files are removed. Inside, a change of the
        run's files raises ClaimLost where another process has taken over the run.
        """
        work = this_process(run.key("") if run else "", title)
        try:
            with self.claims.hold(key, work, wait, on_wait) as claim, self.files.mirrored(key):
                sweep(self.files, key)
                yield claim
        except ClaimLost:
            if self.is_fitted(key):
                self.remove_checkpoint(key)  # ours, if written late, as this process was suspended
            raise

    def snapshot(self, key: str) -> AbstractContextManager[None]:
        """Inside, the record, scores and results of a run are read as they are now, with few requests."""
        names = ("run.json", "results.parquet")
        return self.files.mirrored(key, lambda path: path in names or path.startswith("scores/"))

    def is_missing(self) -> bool:
        """Whether it is a folder of this machine that does not exist. In a bucket, a store without files is empty."""
        return self.files.local and not os.path.isdir(self.files.root)

    def where(self, key: str) -> str:
        """Return the folder of a run."""
        return self.files.where(key)

    # ------------------------------------------------------------------------------------ fits

    def keys(self) -> list[str]:
        """Return the keys of the finished runs, sorted."""
        if self.files.local:
            return [key for key in self.files.names() if self.is_fitted(key)]
        folders = [path.split("/") for path in self.files.listing()]
        return sorted(path[0] for path in folders if path[1:] == ["run.json"] and not path[0].startswith("."))

    def is_fitted(self, key: str) -> bool:
        """Whether the fit of a run is finished."""
        return self.files.exists(f"{key}/run.json")

    def write_fit(
        self,
        key: str,
        run: Run,
        provenance: Provenance,
        weights: Mapping[str, torch.Tensor],
        history: Sequence[Mapping[str, Any]],
    ) -> None:
        """Store a finished fit, and remove its checkpoint and whatever an earlier fit left."""
        from safetensors.torch import save

        self.files.guard(key, at_once=True)  # weights and record must be of one fit
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
        parts = {WEIGHTS: save(plain), HISTORY: parquet.to_bytes(parquet.history_table(history))}
        record = records.run_json(run, provenance, parts)  # before anything is written, as it may be refused
        for name, data in parts.items():
            self.files.write(f"{key}/{name}", data)
        for stale in ("results.parquet", "scores", "outputs"):
            self.files.remove(f"{key}/{stale}")
        self.files.guard(key, at_once=True)
        self.files.write(f"{key}/run.json", record)
        self.files.remove_file(f"{key}/checkpoint.pt")

    def read_run(self, key: str) -> tuple[Run, Provenance]:
        """Return what was run, and where its numbers come from."""
        return self._read_record(key)[:2]

    def fit_id(self, key: str) -> str:
        """Return the id of the run's fit, as in its scores: a hash of weights; empty for a run made before 0.2.0."""
        _, provenance, parts = self._read_record(key)
        return records.fit_id(provenance, parts.get(WEIGHTS, ""))

    def _read_record(self, key: str) -> tuple[Run, Provenance, dict[str, str]]:
        return self.files.read(f"{key}/run.json", lambda data: records.parse_run(data, key))

    def read_weights(self, key: str, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
        """Return what the detector learned: name → tensor on the device."""
        from safetensors.torch import load

        weights = self._read_part(key, WEIGHTS, load)
        return {name: tensor.to(device) for name, tensor in weights.items()}

    def read_history(self, key: str) -> pandas.DataFrame:
        """Return one row per epoch, as the detector wrote them; a value that an epoch lacks is NaN."""
        history: pandas.DataFrame = self._read_part(key, HISTORY, lambda data: parquet.read_table(data).to_pandas())
        return history

    def _read_part(self, key: str, name: str, parse: Callable[[bytes], Any]) -> Any:
        """Read a file of the fit, whose hash must be that in ``run.json``; a run made before 0.2.0 has none."""
        expected = self._read_record(key)[2].get(name)

        def check_and_parse(data: bytes) -> Any:
            if expected not in (None, hashlib.sha256(data).hexdigest()):
                raise ValueError("its SHA-256 is not that in run.json")
            return parse(data)

        return self.files.read(f"{key}/{name}", check_and_parse)

    def outputs(self, key: str, device: str) -> StoredOutputs:
        """Return where the outputs of the run's fit on a kind of device are kept, for detectors that use it as base."""
        return StoredOutputs(self.files, f"{key}/outputs", self.fit_id(key), device)

    def checkpoints(self, key: str) -> StoreCheckpoints:
        """Return where the state of the run's unfinished fit is kept."""
        return StoreCheckpoints(self.files, f"{key}/checkpoint.pt")

    def has_checkpoint(self, key: str) -> bool:
        """Whether an unfinished fit of the run can resume."""
        return self.files.exists(f"{key}/checkpoint.pt")

    def remove_checkpoint(self, key: str) -> None:
        """Remove the checkpoint that a finished fit left because its process was killed before it could."""
        if self.has_checkpoint(key):
            self.files.remove_file(f"{key}/checkpoint.pt")

    def clear(self, key: str) -> None:
        """Remove all of a run except its claims, first ``run.json``, which marks it as finished."""
        for name in ["run.json", *self.files.names(key, hidden=True)]:
            if not is_claim(name):
                self.files.remove(f"{key}/{name}")

    # ------------------------------------------------------------------------ scores and results

    def write_scores(self, key: str, scores: Scores, out: bool) -> None:
        """Store the scores of an out-data or covariate-shifted set, or of the in-data.

        Results of replaced test scores are removed.
        """
        path = self._scores_path(key, scores.dataset if out else None, scores.split)
        results = self._results(key) if scores.split == "test" else []
        made_of = [{row.out_dataset, *covariate_sets(row.covariate)} for row in results]
        kept = [row for row, names in zip(results, made_of, strict=True) if out and scores.dataset not in names]
        if len(kept) < len(results):
            self._write_results(key, kept)
        self.files.write(path, parquet.to_bytes(parquet.scores_table(scores)))

    def read_scores(self, key: str, dataset: str | None, split: str = "test") -> Scores:
        """Return the scores of an out-data set; of the in-data where ``dataset`` is None.

        Raises StoreError where they are not those of the run's fit, of this data set and of all its images.
        """
        run, provenance, parts = self._read_record(key)
        path = self._scores_path(key, dataset, split)
        remedy = f"{DELETE}`oodbench run` or `tune` scores these images again"
        scores = self.files.read(path, parquet.parse_scores, remedy)
        expected = (run.in_dataset if dataset is None else dataset, split)
        count = provenance.images.get(split) if dataset is None else None
        fault = ""
        if (scores.dataset, scores.split) != expected:
            fault = f"it has the scores of {scores.dataset}, {scores.split} split"
        elif scores.fit_id != records.fit_id(provenance, parts.get(WEIGHTS, "")):
            fault = f"its scores are of fit {scores.fit_id or 'unknown'}, and run.json is of another fit"
        elif count not in (None, len(scores.values)):
            fault = f"it has {len(scores.values):,} scores of {count:,} images"
        if fault:
            raise StoreError(f"{self.files.where(path)} is not of this run ({fault}); {remedy}")
        return scores

    def has_scores(self, key: str, dataset: str | None, fingerprint: str, split: str = "test") -> bool:
        """Whether the scores of exactly these images exist. Raises StoreError if the file is damaged."""
        is_there = self.files.exists(self._scores_path(key, dataset, split))
        return is_there and self.read_scores(key, dataset, split).fingerprint == fingerprint

    def out_datasets(self, key: str) -> dict[str, tuple[str, ...]]:
        """Return the out-data and shifted sets whose test splits have scores, sorted, each with its ``covariates``."""
        names = [name for name in self.files.names(f"{key}/scores") if name.endswith(".parquet")]
        paths = [f"{key}/scores/{name}" for name in names if name != "in.parquet"]
        found = {path: self.files.read(path, parquet.parse_scores) for path in paths}
        for path, scores in found.items():
            if self._scores_path(key, scores.dataset, "test") != path:
                raise StoreError(f"{self.files.where(path)} has the scores of {scores.dataset}; delete it")
        return dict(sorted((scores.dataset, scores.covariates) for scores in found.values()))

    def write_results(self, key: str, results: Iterable[Result]) -> None:
        """Add results to a run's; those of the same out-data set and metric are replaced."""
        new = {(result.out_dataset, result.metric): result for result in results}
        kept = [row for row in self._results(key) if (row.out_dataset, row.metric) not in new]
        self._write_results(key, [*kept, *new.values()])

    def read_results(
        self,
        keys: Sequence[str] | None = None,
        on_damaged: Callable[[str, StoreError], None] | None = None,
    ) -> pandas.DataFrame:
        """Return one row per result of these runs, or of all finished ones: RESULT_COLUMNS, then RUN_COLUMNS.

        A run that cannot be read raises StoreError; with ``on_damaged`` it is reported there and left out.
        """
        runs: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        for key, record, results in self._records_and_results(keys):
            try:
                run, provenance, parts = self._parse_record(key, record)
                facts = frames.facts_of_run(run, provenance, records.fit_id(provenance, parts.get(WEIGHTS, "")))
                runs.append((facts, [] if results is None else self._parse_results(key, results)))
            except StoreError as error:
                if on_damaged is None:
                    raise
                on_damaged(key, error)
        return frames.results_frame(runs)

    def _records_and_results(self, keys: Sequence[str] | None) -> Iterator[tuple[str, Read, Read]]:
        """Yield key, ``run.json`` and ``results.parquet`` of these runs, or of all finished ones, as they were read."""
        chosen = self.files.names() if keys is None else list(keys)
        for first in range(0, len(chosen), BATCH):
            batch = chosen[first : first + BATCH]
            paths = [f"{key}/{name}" for key in batch for name in ("run.json", "results.parquet")]
            found = [data for _, data in self.files.read_many(paths)]
            for key, record, results in zip(batch, found[::2], found[1::2], strict=True):
                if record is not None or keys is not None:
                    yield key, record, results

    def _parsed(self, path: str, data: Read, parse: Callable[[bytes], T], remedy: str = REDO) -> T:
        """Return what ``parse`` returns for a file that was read. Raises StoreError."""
        if isinstance(data, StoreError):
            raise data
        if data is None:
            return self.files.read(path, parse, remedy)  # which says that it is missing
        return self.files.parsed(path, data, parse, remedy)

    def _parse_record(self, key: str, data: Read) -> tuple[Run, Provenance, dict[str, str]]:
        return self._parsed(f"{key}/run.json", data, lambda data: records.parse_run(data, key))

    def _parse_results(self, key: str, data: bytes | StoreError) -> list[dict[str, Any]]:
        path = f"{key}/results.parquet"
        return self._parsed(path, data, lambda data: parquet.parse_results(data, key), RESULTS_REMEDY)

    def _scores_path(self, key: str, dataset: str | None, split: str) -> str:
        if dataset == "in":
            raise StoreError(
                "a data set cannot be called 'in': its scores would replace those of the in-data; rename it"
            )
        folder = f"{key}/scores" if split == "test" else f"{key}/scores/{split}"
        return f"{folder}/{'in' if dataset is None else file_name(dataset)}.parquet"

    def _results(self, key: str) -> list[Result]:
        path = f"{key}/results.parquet"
        if not self.files.exists(path):
            return []
        rows = self.files.read(path, lambda data: parquet.parse_results(data, key), RESULTS_REMEDY)
        return [Result(**row) for row in rows]

    def _write_results(self, key: str, results: Sequence[Result]) -> None:
        self.files.write(f"{key}/results.parquet", parquet.to_bytes(parquet.results_table(results, key)))

    # --------------------------------------------------------------------- failures and tunings

    def write_failure(self, failed: Combination, error: str, traceback: str) -> None:
        """Record that a combination failed, and why."""
        self.files.write(_failure_path(failed), records.failure_json(failed, error, traceback))

    def read_failure(self, run: Run) -> str:
        """Return why the whole run failed when it was last tried; empty if it did not."""
        path = _failure_path(Combination(run))
        return self.files.read(path, records.parse_failure, "delete it")[1] if self.files.exists(path) else ""

    def clear_failure(self, combination: Combination) -> None:
        """Remove the record of an earlier failure, if there is one."""
        self.files.remove_file(_failure_path(combination))

    def clear_earlier_failure(self, combination: Combination) -> None:
        """Remove the record of a failure that existed when this was first called, for a combination found finished.

        In object storage this is one listing for all combinations, and no write where there is nothing to remove.
        """
        if self._earlier_failures is None:
            self._earlier_failures = frozenset(self.files.names(FAILURES))
        if _failure_path(combination).removeprefix(f"{FAILURES}/") in self._earlier_failures:
            self.clear_failure(combination)

    def read_failures(self, on_damaged: Callable[[str, StoreError], None] | None = None) -> pandas.DataFrame:
        """Return one row per combination that failed, with the columns of ``read_results`` (see ``schema``).

        A record that cannot be read raises StoreError; with ``on_damaged`` it is reported there and left out.
        """
        rows: list[dict[str, Any]] = []
        paths = [f"{FAILURES}/{name}" for name in self.files.names(FAILURES) if name.endswith(".json")]
        for path, data in self.files.read_many(paths):
            try:
                if data is not None:  # else its run has succeeded meanwhile
                    rows.append(frames.failure_row(*self._parsed(path, data, records.parse_failure, "delete it")))
            except StoreError as error:
                if on_damaged is None:
                    raise
                on_damaged(path.removeprefix(f"{FAILURES}/"), error)
        return frames.frame(rows)

    def write_tuning(self, key: str, record: dict[str, Any]) -> None:
        """Store what ``oodbench tune`` chose, with its evidence."""
        self.files.write(f"{TUNINGS}/{key}.json", records.to_json(record))

    def read_tuning(self, key: str) -> dict[str, Any] | None:
        """Return what ``write_tuning`` was given; None where there is none."""
        path = f"{TUNINGS}/{key}.json"
        return self.files.read(path, records.parse_object, "delete it") if self.files.exists(path) else None

    def where_tuning(self, key: str) -> str:
        """Return the file of a tuning."""
        return self.files.where(f"{TUNINGS}/{key}.json")


def _failure_path(failed: Combination) -> str:
    """Return the file of a failure, without the data's fingerprint in its name: reading the data may have failed."""
    of_split = [failed.split] if failed.split != "test" else []
    of_set = [file_name(failed.out_dataset), *of_split] if failed.out_dataset else []
    parts = [failed.run.key(fingerprint=""), *of_set]
    return f"{FAILURES}/{'.'.join(parts)}.json"
