"""Runs of a store found by the beginnings of their keys, and removed with all that they have."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from oodbench.api import Provenance, Run
from oodbench.errors import OODBenchError, StoreError, UnknownName
from oodbench.store.records import Combination
from oodbench.store.removal import find_runs, remove_runs
from oodbench.store.store import Store

RUN = Run("ae", "0.2", "{}", "mnist:0-8")
PROVENANCE = Provenance(
    "0.2.0", "p", "0.1", "2", "3", "", "cpu", 1.0, 1.0, 1, {"train": 9, "validation": 9, "test": 300}, "",
    in_images="c" * 16,
)  # fmt: skip


def add(store: Store, seed: int = 0) -> str:
    run = replace(RUN, seed=seed)
    key = run.key("c" * 16)
    store.write_fit(key, run, PROVENANCE, {}, [])
    return key


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return Store(str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


def test_a_run_is_removed_with_its_failures_and_the_others_stay(store):
    first, second = add(store), add(store, seed=1)
    for out in (None, "noise"):
        store.write_failure(Combination(RUN, out), "diverged", "")
    store.write_failure(Combination(replace(RUN, seed=1), "noise"), "diverged", "")
    (found,) = find_runs(store, [first[:-3]])
    assert (found.key, found.seed, found.state, len(found.failures)) == (first, 0, "finished", 2)
    assert found.size > 500
    removed = []
    assert remove_runs(store, [found], lambda run: removed.append(run.key)) == []
    assert removed == [first] and store.keys() == [second]
    assert list(store.read_failures()["seed"]) == [1]
    assert not any(name for name in store.files.fs.find(store.where(first)))
    with pytest.raises(UnknownName, match="unknown run"):
        find_runs(store, [first])


def test_a_run_that_is_unfinished_damaged_or_only_failed_is_found_too(store):
    unfinished, damaged = replace(RUN, seed=7).key("c" * 16), add(store, seed=8)
    store.files.write(f"{unfinished}/checkpoint.pt", b"12345")
    store.files.write(f"{damaged}/run.json", b"{")
    failed = replace(RUN, seed=9)
    store.write_failure(Combination(failed), "diverged", "")
    found = find_runs(store, [unfinished, damaged, failed.key("")])
    assert [(run.state, run.seed, len(run.failures)) for run in found] == [
        ("unfinished", None, 0), ("damaged", None, 0), ("failed", None, 1)
    ]  # fmt: skip
    assert found[0].size == 5
    assert remove_runs(store, found) == []
    assert store.read_failures().empty
    for run in found:
        assert not store.files.fs.find(store.where(run.key))


def test_a_whole_key_is_that_run_even_where_another_begins_so(store):
    first, second = add(store), add(store, seed=1)
    assert [run.key for run in find_runs(store, [first, second, first])] == [first, second]
    with pytest.raises(OODBenchError, match=f"several runs begin with ae-: {first}, {second}; write more of it"):
        find_runs(store, ["ae-"])


@pytest.mark.parametrize("name", ["", "notes", "failures", "tunings", "../outside", "/", "."])
def test_only_runs_are_ever_found(tmp_path, name):
    """A store may be any folder, and there is no way back."""
    store = Store(str(tmp_path / "store"))
    add(store)
    store.write_tuning("t", {})
    (tmp_path / "store" / "notes").mkdir()
    (tmp_path / "outside").mkdir()
    with pytest.raises(UnknownName):
        find_runs(store, [name])


def test_what_another_process_works_on_stays_with_its_failures(store):
    busy, idle = add(store), add(store, seed=1)
    store.write_failure(Combination(RUN, "noise"), "diverged", "")
    with Store(store.address).claim(busy):
        (error,) = remove_runs(store, find_runs(store, [busy, idle]))
    assert isinstance(error, StoreError) and str(error).startswith(f"another process works on {busy}")
    assert store.keys() == [busy] and len(store.read_failures()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_may_not_be_removed_is_an_error(tmp_path):
    store = Store(str(tmp_path / "store"))
    key = add(store)
    Path(store.where(key)).chmod(0o500)
    (error,) = remove_runs(store, find_runs(store, [key]))
    assert "cannot be written" in str(error)
