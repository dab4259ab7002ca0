"""How results come into a suite's folder: from a store (publish), or from an entry that a stranger hands in (accept).

An entry is one file: a zip archive of ``manifest.json`` (the format, and size and SHA-256 of each other member),
``results.parquet`` and ``scores.parquet``, which are as in a suite's folder. Nothing in it is believed before it is
checked, nothing is unpacked to disk, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pydantic

from oodbench.api.full_spectrum import covariate_sets
from oodbench.errors import OODBenchError
from oodbench.leaderboard import formats, publication, suites
from oodbench.leaderboard.latest import latest_versions
from oodbench.leaderboard.publication import PAGE, RESULTS, SCORES, Merge, Publication, merge
from oodbench.leaderboard.published import parse_results
from oodbench.leaderboard.score_file import parse_scores
from oodbench.leaderboard.uncertainty import Advance
from oodbench.leaderboard.verification import check_publication
from oodbench.reading import read_bytes
from oodbench.runs.states import store_states
from oodbench.store.store import Store
from oodbench.text import one_line, shorten
from oodbench.writing import write_file

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.data.loading import Loader
    from oodbench.leaderboard.suites import Suite
    from oodbench.plugin.registry import Registry

MANIFEST = "manifest.json"
FORMAT = 1
LARGEST_ENTRY = 2**30  # bytes, packed and unpacked
LARGEST_RATIO = 200  # unpacked to packed; the parts are compressed already
DATE = (1980, 1, 1, 0, 0, 0)  # of every member, so that equal entries are equal files
SHOWN = 5  # detectors that a message names


# ---------------------------------------------------------------------------------------- publishing


def publish(
    folder: Path,
    store: str,
    registry: Registry,
    drop: Iterable[str] = (),
    on_message: Callable[[str], None] = lambda text: None,
    advance: Advance = lambda done, total: None,
    detectors: Sequence[str] = (),
) -> Merge:
    """Add what a store has of a suite to the suite's folder, and make its page again.

    Runs that are published already, and that the store has too, are replaced; all others are kept.

    Args:
        drop: published runs to leave out (see ``publication.merge``).
        on_message: called with what a user should know.
        detectors: to publish, with the suite's data and settings, in place of those that it names; empty for those.

    Raises OODBenchError where the store has nothing of the suite, a value is not what its scores give, or a file cannot
    be written. Nothing is written before all of it is known to be right.
    """
    suite = suites.open_suite(folder)
    old = existing(folder)
    if detectors:
        wanted = suites.of_detectors(suite, detectors)
    else:
        wanted = suites.installed(suite, registry, old.results, on_message)
    stored = suites.stored_results(wanted, store, registry, lambda key, error: on_message(f"Left out: {error}"))
    words = "".join(f" --detector {name}" for name in detectors)
    found, unnamed = stored.results, "" if detectors else _unnamed(suite, stored.others, old)
    if found.empty or (found["metric"] == "").all():
        makes = unnamed or f"`oodbench run {folder}{words}` makes them"
        whose = f"{', '.join(detectors)} with this suite's data and settings" if detectors else "this suite"
        raise OODBenchError(f"{store} has no results of {whose}; {makes}")
    if lack := stored.lack(store, folder, words):
        on_message(lack)
    if unnamed:
        on_message(f"{store}: {unnamed}")
    return _take_in(folder, suite, old, publication.from_store(found, Store(store), registry), registry, drop, advance)


def _unnamed(suite: Suite, others: pd.DataFrame, old: Publication) -> str:
    """Say which detectors a store has on the suite's data that the suite neither names nor has published."""
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


def existing(folder: Path) -> Publication:
    """Return what a suite's folder has published; an empty publication where that is nothing."""
    from oodbench.store.frames import frame

    is_there = os.path.lexists(folder / RESULTS)
    return publication.read_publication(folder) if is_there else Publication(frame([]))


def _take_in(
    folder: Path,
    suite: Suite,
    old: Publication,
    new: Publication,
    registry: Registry,
    drop: Iterable[str],
    advance: Advance,
) -> Merge:
    merged = merge(old, new, drop)
    metrics = publication.shown_metrics(merged.publication, registry.metrics)
    sure = publication.with_uncertainty(merged.publication, registry.metrics, advance)
    page = formats.write(formats.Page(suite, sure, [*metrics.values()]), "markdown")
    for name, data in {**sure.files(), PAGE: page.encode()}.items():
        write_file(folder / name, data)
    return merged


# ------------------------------------------------------------------------------------------- entries


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    size: Annotated[int, pydantic.Field(ge=0, le=LARGEST_ENTRY, strict=True)]
    sha256: Annotated[str, pydantic.Field(pattern=r"^([0-9a-f]{64})$")]


class _Manifest(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    format: Annotated[int, pydantic.Field(ge=1, strict=True)]
    parts: dict[str, _Part]


@dataclass(frozen=True)
class Bundle:
    """An entry, and what it was made of.

    Args:
        data: the file.
        runs: one row per run that is in it, as ``Store.read_results`` gives them.
        left_out: run → its state, of those that were named too and have no results.
    """

    data: bytes
    runs: pd.DataFrame
    left_out: Mapping[str, str]


def bundle(store: str, runs: Sequence[str], registry: Registry, latest: bool = False) -> Bundle:
    """Return an entry with all results and scores of these runs of a store: keys, labels or detectors.

    Args:
        latest: take only the runs of the newest version of each detector.

    Raises OODBenchError where a name is unknown.
    """
    record = Store(store)
    found = Publication(record.read_results())
    chosen = found.keep({run for name in runs for run in publication.named_runs(name, found)}).results
    if latest:
        chosen = latest_versions(chosen)
    taken = chosen.drop_duplicates("run").sort_values(["detector", "created", "run"], ignore_index=True)
    return Bundle(_entry(chosen, record, registry), taken, _without_results(record, runs, set(found.results["run"])))


def _without_results(record: Store, names: Iterable[str], done: set[str]) -> dict[str, str]:
    """Run → state, of the runs that are meant by these names and have no results yet."""
    beginnings = tuple(names)
    titles = tuple(f"{name.partition(', ')[0]} on " for name in beginnings)  # a label begins with its detector
    return {
        each.title: "not evaluated" if each.state == "done" else each.state
        for each in store_states(record)
        if each.run not in done and (each.run.startswith(beginnings) or each.title.startswith(titles))
    }


def _entry(results: pd.DataFrame, record: Store, registry: Registry) -> bytes:
    made = publication.from_store(results, record, registry)
    parts = made.files()
    manifest = _Manifest(
        format=FORMAT,
        parts={name: _Part(size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in parts.items()},
    )
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST: manifest.model_dump_json(indent=2).encode(), **parts}.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), data)
    return sink.getvalue()


def read_entry(path: Path) -> Publication:
    """Return what an entry has. Raises OODBenchError, saying what is wrong, where it is not as ``bundle`` makes it."""
    parts = _unpack(read_bytes(path, LARGEST_ENTRY), path.name)
    results = parse_results(parts[RESULTS], f"{path.name}: {RESULTS}")
    scores = parse_scores(parts[SCORES], f"{path.name}: {SCORES}")
    return Publication(results.rows, scores, results.metrics)


def _unpack(data: bytes, name: str) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(archive.infolist())
            manifest = _manifest(archive.read(MANIFEST))
            parts = {part: archive.read(part) for part in (RESULTS, SCORES)}
    except Exception as error:  # zipfile's, and those of each kind of compression
        why = "it ends too early" if isinstance(error, EOFError) else shorten(one_line(str(error)))
        raise OODBenchError(f"{name} is no entry: {why}") from None
    for part, content in parts.items():
        stated = manifest.parts[part]
        if len(content) != stated.size or hashlib.sha256(content).hexdigest() != stated.sha256:
            raise OODBenchError(f"{name}: {part} is not what the manifest says (size or SHA-256): it was changed")
    return parts


def _check_members(members: Sequence[zipfile.ZipInfo]) -> None:
    """Raise ValueError unless there are exactly the three members, each once and of a size that makes sense."""
    expected = {MANIFEST, RESULTS, SCORES}
    names = [member.filename for member in members]
    for name in names:
        if name not in expected:
            raise ValueError(f"it has a member {name[:80]!r}; there may be only {', '.join(sorted(expected))}")
    if len(names) != len(set(names)):
        raise ValueError("it has a member twice")
    if missing := sorted(expected - set(names)):
        raise ValueError(f"it has no {missing[0]}")
    for member in members:
        if member.file_size > LARGEST_ENTRY or member.file_size > LARGEST_RATIO * max(member.compress_size, 1):
            raise ValueError(f"{member.filename} would unpack to {member.file_size:,} bytes")


def _manifest(data: bytes) -> _Manifest:
    try:
        about = json.loads(data)
        if isinstance(about, dict) and isinstance(about.get("format"), int) and about["format"] > FORMAT:
            raise ValueError("a newer oodbench made it; `pip install --upgrade oodbench`")
        manifest = _Manifest.model_validate(about)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if set(manifest.parts) != {RESULTS, SCORES}:
        raise ValueError(f"{MANIFEST} names other parts than {RESULTS} and {SCORES}")
    return manifest


def accept(
    entry: Path,
    folder: Path,
    registry: Registry,
    loader: Loader,
    drop: Iterable[str] = (),
    advance: Advance = lambda done, total: None,
) -> Merge:
    """Take an entry into a suite's folder, after all of it is checked (see ``verification``), and make the page again.

    Args:
        drop: published runs to leave out, or to put the entry's in the place of (see ``publication.merge``).

    Raises OODBenchError with the first reason not to: something in it is wrong, is not of the suite, is published
    already, or is of other images than the runs that are published and the data that are here.
    """
    suite, old, new, drop = suites.open_suite(folder), existing(folder), read_entry(entry), set(drop)
    leaving = {run for name in drop - {publication.OLDER} for run in publication.named_runs(name, old)}
    for fault in _faults(suite, old.keep(set(old.results["run"]) - leaving), new, registry, loader):
        raise OODBenchError(f"{entry.name} is refused: {fault}")
    return _take_in(folder, suite, old, new, registry, drop, advance)


def _faults(suite: Suite, old: Publication, new: Publication, registry: Registry, loader: Loader) -> Iterable[str]:
    """Yield reasons not to take an entry in."""
    rows = new.results
    if rows.empty or (rows["metric"] == "").any():
        yield "it has failed runs, or no results at all"
    foreign = rows[~rows["in_dataset"].isin(suite.named("in_datasets"))]
    foreign_out = rows[~rows["out_dataset"].isin(suite.named("out_datasets"))]
    for name in [*foreign["in_dataset"], *foreign_out["out_dataset"]]:
        yield f"the suite has no data set {name}"
    for in_dataset, covariate in rows[["in_dataset", "covariate"]].drop_duplicates().itertuples(index=False, name=None):
        names = {*covariate_sets(covariate)}
        if names and names not in [{*each.covariates} for each in suite.requests if in_dataset in each.in_datasets]:
            yield f"the suite has no full spectrum of {in_dataset} with {', '.join(sorted(names))}"
    for run in sorted(set(rows["run"]) & set(old.results["run"])):
        yield f"{run} is published already; --drop {run} puts the entry's in its place"
    checked = check_publication(new, registry, loader)
    for run in checked.unverified:
        yield f"{run} has results without scores"
    yield from checked.differences
    yield from _other_images(old, new)


def _other_images(old: Publication, new: Publication) -> Iterable[str]:
    """Yield where the entry's images of a data set are not those of the runs that are published."""
    for column, kind in (("in_dataset", "in_images"), ("out_dataset", "out_images")):
        known = {str(name): set(rows[kind]) - {""} for name, rows in old.results.groupby(column)}
        for name, images in new.results[[column, kind]].drop_duplicates().itertuples(index=False, name=None):
            if known.get(name) and images not in known[name]:
                yield f"its images of {name} ({images or 'unknown'}) are not those of the runs that are published"
    shifted = _shifted_images(old)
    for name, images in sorted(_shifted_images(new) - shifted):
        if name in dict(shifted):
            yield f"its images of {name} ({images}) are not those of the runs that are published"


def _shifted_images(found: Publication) -> set[tuple[str, str]]:
    """Return name and fingerprint of each covariate-shifted set."""
    return {pair for text in set(found.results["covariate"]) for pair in covariate_sets(text).items()}
