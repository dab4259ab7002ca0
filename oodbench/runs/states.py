"""The state of the runs of a store or a suite: which are done, running (and where), failed or waiting.

It is read from the store alone, so that any machine can tell it: from one list of the store's files, from
``status.json`` and the claims of runs that are worked on, and from the failure records.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from oodbench.api import Run, file_name
from oodbench.errors import StoreError
from oodbench.plan.tasks import Task, title_of, with_bases
from oodbench.store import records
from oodbench.store.file_systems import Facts
from oodbench.store.held_claims import NUMBERED, STATUS
from oodbench.store.processes import is_alive
from oodbench.store.records import Combination
from oodbench.store.removal import KEY
from oodbench.store.store import FAILURES, Store
from oodbench.store.work import Work, parse_work

STATES = ("done", "running", "stopped", "failed", "waiting", "unfinished")
"""States of a run.

``stopped``: its process has sent no heartbeat for longer than its lease; the next process resumes from its checkpoint.
``waiting``: a suite names it, and nobody works on it. ``unfinished``: the same where no suite is given."""
RECENT_SECONDS = 3600.0
"""Claims on finished runs are read only if they are not older than this: a process renews its claim more often."""


@dataclass(frozen=True)
class RunState:
    """One run, or a suite's run that has not started yet.

    Args:
        title: name for people; its key where nothing more is known.
        state: one of STATES.
        run: its key; empty where it has none yet.
        work: who works on it, or did last, where that is recorded.
        silent: seconds since the last heartbeat of that process.
        missing: number of the suite's out-data sets that it has no scores of yet.
        error: why it failed.
    """

    title: str
    state: str
    run: str = ""
    work: Work | None = None
    silent: float = 0.0
    missing: int = 0
    error: str = ""


@dataclass(frozen=True)
class _Found:
    """A run as found in a store: its files, who works on it, and the seconds since that process's last heartbeat."""

    key: str
    names: frozenset[str]
    work: Work | None = None
    silent: float = 0.0

    @property
    def is_fitted(self) -> bool:
        return "run.json" in self.names

    @property
    def is_worked_on(self) -> bool:
        return self.work is not None and is_alive(self.work, self.silent)

    def has_scores(self, out_dataset: str) -> bool:
        return f"scores/{file_name(out_dataset)}.parquet" in self.names


def store_states(store: Store) -> list[RunState]:
    """Return the state of each run that has files in the store, or failed before it had any."""
    found, failures = _survey(store)
    errors = _errors(failures)
    beginnings = tuple({_beginning(failed.run) for failed, _ in failures})
    near = [each for each in found if each.key.startswith(beginnings)]
    identities = {each.key: identity for identity, each in _identified(store, near)}
    states = []
    for each in found:
        state = RunState(_title(each), _state(each), each.key, each.work, each.silent)
        error = "" if each.is_worked_on else errors.get(identities.get(each.key, ""), "")
        states.append(replace(state, state="failed", error=error) if error else state)
    titles = {failed.run.key(""): title_of(failed.run) for failed, _ in failures}
    nothing_of = [key for key in errors if key not in identities.values()]
    return [*states, *(RunState(titles[key], "failed", key, error=errors[key]) for key in nothing_of)]


def _errors(failures: Iterable[tuple[Combination, str]]) -> dict[str, str]:
    """Return all errors of each run: key without its data's fingerprint → text."""
    errors: dict[str, list[str]] = {}
    for failed, error in failures:
        text = f"{failed.set_title}: {error}" if failed.out_dataset else error
        errors.setdefault(failed.run.key(""), []).append(text)
    return {key: "; ".join(texts) for key, texts in errors.items()}


def suite_states(store: Store, tasks: Sequence[Task]) -> list[RunState]:
    """Return the state of each run of these tasks, and of their bases; the data need not be available."""
    found, failures = _survey(store)
    tasks = with_bases(tasks)
    beginnings = tuple({_beginning(task.run) for task in tasks})
    by_identity: dict[str, _Found] = {}
    for identity, each in _identified(store, [each for each in found if each.key.startswith(beginnings)]):
        other = by_identity.get(identity)
        if other is None or _rank(each) >= _rank(other):
            by_identity[identity] = each
    errors = {(failed.run.key(""), failed.set_title): error for failed, error in failures}
    return [_of_task(task, by_identity.get(task.run.key("")), errors) for task in tasks]


def counts(states: Iterable[RunState]) -> dict[str, int]:
    """Return how many runs are in each state; states without runs are left out."""
    all_states = [each.state for each in states]
    return {state: all_states.count(state) for state in STATES if state in all_states}


def _of_task(task: Task, found: _Found | None, errors: Mapping[tuple[str, str], str]) -> RunState:
    names = [name for name in task.scored if found is None or not found.has_scores(name)]
    identity = task.run.key("")
    error = next((errors[identity, out] for out in ("", *names) if (identity, out) in errors), "")
    state = RunState(task.title, "waiting", missing=len(names))
    if found:
        state = replace(state, run=found.key, work=found.work, silent=found.silent)
        if found.is_worked_on:
            return replace(state, state="running")
        if found.is_fitted and not names and (not task.out_datasets or "results.parquet" in found.names):
            return replace(state, state="done", work=None)
    if error:
        return replace(state, state="failed", error=error)
    is_stopped = found is not None and found.work is not None and not found.work.ended
    return replace(state, state="stopped" if is_stopped else "waiting")


def _state(found: _Found) -> str:
    if found.is_worked_on:
        return "running"
    if found.is_fitted:
        return "done"
    return "stopped" if found.work and not found.work.ended else "unfinished"


def _title(found: _Found) -> str:
    return (found.work.title if found.work else "") or found.key


def _rank(found: _Found) -> tuple[bool, bool]:
    """Return the rank of a run among those that differ only in their images: worked on ranks above fitted."""
    return found.is_worked_on, found.is_fitted


def _beginning(run: Run) -> str:
    return run.key("").rpartition("-")[0] + "-"


def _identified(store: Store, found: Sequence[_Found]) -> Iterable[tuple[str, _Found]]:
    """Yield (key without the data's fingerprint, run), with the key from the record, or else from status or claim."""
    fitted = {f"{each.key}/run.json": each for each in found if each.is_fitted}
    for path, data in store.files.read_many(fitted):
        each = fitted[path]
        try:
            if isinstance(data, bytes):
                yield records.parse_run(data, each.key)[0].key(""), each
        except ValueError:
            continue  # damaged: the run will be repeated
    for each in found:
        if not each.is_fitted and each.work and each.work.run:
            yield each.work.run, each


def _survey(store: Store) -> tuple[list[_Found], list[tuple[Combination, str]]]:
    """Return what the store has of each run, sorted by key, and its failures."""
    folders: dict[str, dict[str, Facts]] = {}
    for path, facts in store.files.listing().items():
        folder, _, name = path.partition("/")
        folders.setdefault(folder, {})[name] = facts
    runs = {key: files for key, files in sorted(folders.items()) if KEY.fullmatch(key)}
    works = _works(store, runs)
    found = [_Found(key, frozenset(files), *works.get(key, ())) for key, files in runs.items()]
    return found, _failures(store, [name for name in folders.get(FAILURES, {}) if name.endswith(".json")])


def _works(store: Store, runs: Mapping[str, Mapping[str, Facts]]) -> dict[str, tuple[Work, float]]:
    """Return key → who works on the run, or did last, and the seconds since the last heartbeat."""
    claims = {key: name for key, files in runs.items() if (name := _claim(files))}
    if not claims and not any(STATUS in files for files in runs.values()):
        return {}
    now = _now(store)
    wanted = [f"{key}/{STATUS}" for key, files in runs.items() if STATUS in files]
    for key, name in claims.items():
        if "run.json" not in runs[key] or now - runs[key][name].modified < RECENT_SECONDS:
            wanted.append(f"{key}/{name}")
    works: dict[str, tuple[Work, float]] = {}
    for path, data in store.files.read_many(wanted):  # a run's status comes before its claim
        key, _, name = path.partition("/")
        work = _parsed(data)
        if work is None:
            continue
        told, silent = works.get(key, (None, 0.0))
        age = now - runs[key][name].modified
        if told and told.token == work.token and not work.ended:
            works[key] = told, min(silent, age)
        else:
            works[key] = work, age
    return works


def _claim(files: Mapping[str, Facts]) -> str:
    """Return the name of the last claim on a run in object storage; empty where there is none."""
    numbers = [int(found[1]) for name in files if (found := NUMBERED.fullmatch(name))]
    return f".claim-{max(numbers)}" if numbers else ""


def _now(store: Store) -> float:
    """Return the time by the store's clock, or by this machine's where this user may not write to the store."""
    try:
        return store.claims.clock.now()
    except StoreError:
        return time.time()


def _parsed(data: object) -> Work | None:
    try:
        return parse_work(data) if isinstance(data, bytes) else None
    except ValueError:
        return None


def _failures(store: Store, names: Sequence[str]) -> list[tuple[Combination, str]]:
    failures = []
    for _, data in store.files.read_many(f"{FAILURES}/{name}" for name in sorted(names)):
        try:
            if isinstance(data, bytes):
                failures.append(records.parse_failure(data))
        except ValueError:
            continue
    return failures
