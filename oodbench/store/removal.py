"""Removal of runs from a store: which runs a name means, what they have, and how they are removed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from oodbench.api import Run
from oodbench.errors import StoreError
from oodbench.store import records
from oodbench.store.processes import Busy
from oodbench.store.selection import matching_key
from oodbench.store.store import FAILURES, Store

KEY = re.compile(r".+-s\d+-[0-9a-f]{8}", re.DOTALL)
"""The form of a run's key. Nothing else is ever taken for a run, as a store may be any folder of the user's."""


@dataclass(frozen=True)
class StoredRun:
    """What a store has of one run.

    Args:
        key: of the run; of a run that failed before it had a folder, the key without its data's fingerprint.
        seed: None where ``run.json`` is missing or cannot be read.
        state: ``finished``, ``unfinished``, ``damaged`` or ``failed``.
        out_datasets: number of score files of out-data sets, test split.
        size: bytes of all its files.
        failures: names of the files that record its failures.
    """

    key: str
    seed: int | None
    state: str
    out_datasets: int
    size: int
    failures: Sequence[str]


def find_runs(store: Store, names: Iterable[str]) -> list[StoredRun]:
    """Return the runs that the names mean, each once, in order; they need not be finished.

    Args:
        names: keys, or prefixes of keys that are unique in the store.

    Raises UnknownName where there is no such run, OODBenchError where a prefix is that of several.
    """
    folders = [name for name in store.files.names() if KEY.fullmatch(name)]
    failures = [name for name in store.files.names(FAILURES) if name.endswith(".json")]
    of_folder = {key: _failure_key(store, key) for key in (folders if failures else ())}
    failed = {_key_of(name) for name in failures} - {*of_folder.values()}
    known = sorted({*folders, *failed})
    keys = dict.fromkeys(matching_key(name, known) for name in names)
    return [_stored(store, key, of_folder.get(key) or key, failures) for key in keys]


def runs_using(store: Store, runs: Iterable[StoredRun]) -> list[str]:
    """Return the keys of other finished runs that depend on these, as they have one as base, or a base that does."""
    removed, bases = {run.key for run in runs}, dict[str, str]()
    for path, data in store.files.read_many(f"{key}/run.json" for key in store.keys()):
        key = path.partition("/")[0]
        with suppress(ValueError):  # the base of a damaged one is unknown
            bases[key] = records.parse_run(data, key)[1].base_run if isinstance(data, bytes) else ""
    found = set(removed)
    while more := {key for key, base in bases.items() if base in found} - found:
        found |= more
    return sorted(found - removed)


def _stored(store: Store, key: str, failure_key: str, failures: Sequence[str]) -> StoredRun:
    run = _read(store, key)
    fitted = store.is_fitted(key)
    is_folder = store.files.exists(key)
    state = "finished" if run else "damaged" if fitted else "unfinished" if is_folder else "failed"
    scores = [name for name in store.files.names(f"{key}/scores") if name.endswith(".parquet")]
    return StoredRun(
        key,
        run.seed if run else None,
        state,
        len([name for name in scores if name != "in.parquet"]),
        store.files.size(key) if is_folder else 0,
        [name for name in failures if _key_of(name) == failure_key],
    )


def _read(store: Store, key: str) -> Run | None:
    """Return the run of a key; None where it is not finished, or damaged: a damaged one must be removable, too."""
    try:
        return store.read_run(key)[0] if store.is_fitted(key) else None
    except StoreError:
        return None


def _failure_key(store: Store, key: str) -> str:
    """Return the key under which the run's failures are recorded, without the data's fingerprint; empty if unknown."""
    run = _read(store, key)
    return run.key("") if run else ""


def _key_of(failure: str) -> str:
    """Return the key in the name of a failure's file: ``KEY.json`` or ``KEY.OUT.json`` → ``KEY``."""
    found = re.match(r"(.+?-s\d+-[0-9a-f]{8})\.", failure, re.DOTALL)
    return found[1] if found else failure


def remove(store: Store, key: str) -> None:
    """Remove a run with all its files. Raises StoreError, without waiting, while another process works on it."""
    try:
        with store.claim(key, wait=False) as claim:
            store.clear(key)
            claim.forget()
    except Busy as busy:
        raise StoreError(f"{busy}, and it is not removed; end that first, or wait") from None


def remove_runs(
    store: Store, runs: Iterable[StoredRun], on_removed: Callable[[StoredRun], None] = lambda run: None
) -> list[StoreError]:
    """Remove runs with their failures; ``on_removed`` is called after each.

    A run that another process works on stays, with its failures. Returns the errors of those that stay.
    """
    errors = []
    for run in runs:
        try:
            if store.files.exists(run.key):
                remove(store, run.key)
            for name in run.failures:
                store.files.remove(f"{FAILURES}/{name}")
        except StoreError as error:
            errors.append(error)
        else:
            on_removed(run)
    return errors
