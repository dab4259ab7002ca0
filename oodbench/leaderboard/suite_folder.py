"""Adding results to a suite's folder: from a store (publish), or from a submitted entry (accept)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from oodbench.api.full_spectrum import with_full_spectrum
from oodbench.errors import OODBenchError
from oodbench.leaderboard import formats, publication, suites
from oodbench.leaderboard.entries import read_entry
from oodbench.leaderboard.entry_checks import faults
from oodbench.leaderboard.publication import PAGE, RESULTS, Merge, Publication, merge
from oodbench.leaderboard.uncertainty import Advance
from oodbench.leaderboard.verification import check_publication
from oodbench.store.store import Store
from oodbench.writing import write_file

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.data.loading import Loader
    from oodbench.leaderboard.suites import Suite
    from oodbench.plugin.registry import Registry

SHOWN = 5  # detectors that a message names


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Return a context in which no other process of this machine publishes in the folder, or accepts into it.

    Raises OODBenchError where one does: if two read, merge and write at once, the work of one would be lost.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no locks on folders
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OODBenchError(
                f"another `oodbench publish` or `accept` works on {folder}; try again when it is done"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def publish(
    folder: Path,
    store: str,
    registry: Registry,
    drop: Iterable[str] = (),
    on_message: Callable[[str], None] = lambda text: None,
    advance: Advance = lambda done, total: None,
    detectors: Sequence[str] = (),
) -> Merge:
    """Add a store's results of a suite to the suite's folder, and write its page again.

    Published runs that the store has too are replaced; all others are kept.

    Args:
        drop: published runs to leave out (see ``publication.merge``), even where the store has nothing to add.
        on_message: called with messages for the user.
        detectors: to publish, with the suite's data and settings, in place of those that it names; empty for those.

    Raises OODBenchError where the store has no results of the suite, a value does not follow from its scores, or a file
    cannot be written. Nothing is written before everything is checked.
    """
    with _locked(folder):
        return _publish(folder, store, registry, drop, on_message, advance, detectors)


def _publish(
    folder: Path,
    store: str,
    registry: Registry,
    drop: Iterable[str],
    on_message: Callable[[str], None],
    advance: Advance,
    detectors: Sequence[str],
) -> Merge:
    suite = suites.open_suite(folder)
    old = existing(folder)
    if detectors:
        wanted = suites.of_detectors(suite, detectors)
    else:
        wanted = suites.installed(suite, registry, old.results, on_message)
    stored = suites.stored_results(wanted, store, registry, lambda key, error: on_message(f"Left out: {error}"))
    words = "".join(f" --detector {name}" for name in detectors)
    found, unnamed = stored.results, "" if detectors else _unnamed(suite, stored.others, old)
    record = Store(store)
    if (found.empty or (found["metric"] == "").all()) and not (drop and len(old.results)):
        makes = unnamed or f"`oodbench run {folder}{words}` makes them"
        whose = f"{', '.join(detectors)} with this suite's data and settings" if detectors else "this suite"
        lack = f"there is no store {store}" if record.is_missing() else f"{store} has no results of {whose}"
        raise OODBenchError(f"{lack}; {makes}")
    if lack := stored.lack(store, folder, words):
        on_message(lack)
    if unnamed:
        on_message(f"{store}: {unnamed}")
    return _merge_and_write(
        folder, suite, old, publication.from_store(found, record, registry), registry, drop, advance
    )


def _unnamed(suite: Suite, others: pd.DataFrame, old: Publication) -> str:
    """Return a text on the store's detectors, on the suite's data, that the suite neither names nor has published."""
    is_there = others["in_dataset"].isin(suite.named("in_datasets"))
    is_there &= others["out_dataset"].isin(suite.named("out_datasets")) & (others["metric"] != "")
    is_there &= ~others["detector"].isin(suite.named("detectors")) & ~others["run"].isin(old.results["run"])
    counts = others[is_there].drop_duplicates("run")["detector"].value_counts().sort_index()
    if counts.empty:
        return ""
    shown = [f"{count} of {name}" for name, count in counts.items()][:SHOWN]
    more = f" and {len(counts) - SHOWN} more detectors" if len(counts) > SHOWN else ""
    return (
        f"there are runs on its data that suite.toml does not name, {', '.join(shown)}{more}; `oodbench publish` with "
        f"--detector {counts.index[0]} adds those that have the suite's settings"
    )


def accept(
    entry: Path,
    folder: Path,
    registry: Registry,
    loader: Loader,
    drop: Iterable[str] = (),
    on_message: Callable[[str], None] = lambda text: None,
    advance: Advance = lambda done, total: None,
) -> Merge:
    """Add an entry to a suite's folder, after checking all of it (see ``verification``), and write the page again.

    Args:
        drop: published runs to leave out, or to replace with the entry's (see ``publication.merge``).
        on_message: called with messages for the user.

    Raises OODBenchError with the first reason to refuse it: something in it is wrong, not part of the suite, already
    published, or of other images than the published runs and the data available here.
    """
    with _locked(folder):
        suite, old, new, drop = suites.open_suite(folder), existing(folder), read_entry(entry), set(drop)
        leaving = {run for name in drop - {publication.OLDER} for run in publication.named_runs(name, old)}
        checked = check_publication(new, registry, loader)
        for fault in faults(suite, old.keep(set(old.results["run"]) - leaving), new, registry, checked):
            raise OODBenchError(f"{entry.name} is refused: {fault}")
        for what, why in checked.not_compared.items():
            on_message(f"Not compared: {what}, {why}")
        metrics = with_full_spectrum(registry.metrics, set(new.results["metric"]))
        facts = {name: publication.facts_of(metrics[name], registry) for name in new.metrics if name in metrics}
        return _merge_and_write(folder, suite, old, replace(new, metrics=facts), registry, drop, advance)


def existing(folder: Path) -> Publication:
    """Return the publication in a suite's folder; an empty one where nothing is published."""
    from oodbench.store.frames import frame

    is_there = os.path.lexists(folder / RESULTS)
    return publication.read_publication(folder) if is_there else Publication(frame([]))


def _merge_and_write(
    folder: Path,
    suite: Suite,
    old: Publication,
    new: Publication,
    registry: Registry,
    drop: Iterable[str],
    advance: Advance,
) -> Merge:
    merged = merge(old, new, drop)
    if merged.publication.results.empty:
        names = ", ".join((RESULTS, publication.SCORES, PAGE))
        raise OODBenchError(f"{folder} would be left with no runs; delete its {names} to begin anew")
    metrics = publication.shown_metrics(merged.publication, registry.metrics)
    sure = publication.with_uncertainty(merged.publication, registry.metrics, advance)
    page = formats.write(formats.Page(suite, sure, [*metrics.values()]), "markdown")
    files = sure.files()
    for name in (publication.SCORES, RESULTS):  # results last: scores alone, after a kill, do not count
        write_file(folder / name, files[name])
    write_file(folder / PAGE, page.encode())
    known = with_full_spectrum(registry.metrics, set(sure.results["metric"]))
    return replace(merged, uncomputed=sorted(set(sure.results["metric"]) - {"", *known}))
