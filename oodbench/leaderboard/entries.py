"""Entries: the results and scores of some runs in one file, to be submitted to a leaderboard.

An entry is a zip archive of ``manifest.json`` (the format, and size and SHA-256 of each other member),
``results.parquet`` and ``scores.parquet``, which are as in a suite's folder. Nothing in it is trusted before it is
checked, nothing is unpacked to disk, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pydantic

from oodbench.errors import OODBenchError
from oodbench.leaderboard import publication
from oodbench.leaderboard.failures import related_failures
from oodbench.leaderboard.latest import latest_versions
from oodbench.leaderboard.publication import RESULTS, SCORES, Publication
from oodbench.leaderboard.published import parse_results
from oodbench.leaderboard.score_file import parse_scores
from oodbench.reading import read_bytes
from oodbench.runs.states import store_states
from oodbench.store.store import Store
from oodbench.text import one_line, shorten

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.plugin.registry import Registry

MANIFEST = "manifest.json"
FORMAT = 1
LARGEST_ENTRY = 2**30  # bytes, packed and unpacked
LARGEST_RATIO = 200  # unpacked to packed; the parts are compressed already
DATE = (1980, 1, 1, 0, 0, 0)  # of every member, so that equal entries are equal files


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
    """An entry, and the runs that it was made of.

    Args:
        data: the file.
        runs: one row per run that is in it, as ``Store.read_results`` returns them.
        failed: failures of the same rows, which are in it, too.
        left_out: run → its state, of runs that were also named but have no results.
    """

    data: bytes
    runs: pd.DataFrame
    failed: Sequence[str]
    left_out: Mapping[str, str]


def bundle(store: str, runs: Sequence[str], registry: Registry, latest: bool = False) -> Bundle:
    """Return an entry with all results and scores of these runs of a store: keys, labels or detectors.

    Failures of the same rows, such as of another seed, are in it too: a row must show them beside its numbers.

    Args:
        latest: take only the runs of the newest version of each detector.

    Raises OODBenchError where a name is unknown.
    """
    import pandas

    record = Store(store)
    if record.is_missing():
        raise OODBenchError(f"there is no store {store}; `oodbench run` makes one, --store says where")
    found = Publication(record.read_results())
    chosen = found.keep({run for name in runs for run in publication.named_runs(name, found)}).results
    if latest:
        chosen = latest_versions(chosen)
    failures = related_failures(record.read_failures(), chosen)
    taken = chosen.drop_duplicates("run").sort_values(["detector", "created", "run"], ignore_index=True)
    entry = _entry(pandas.concat([chosen, failures], ignore_index=True) if len(failures) else chosen, record, registry)
    columns = ["detector", "in_dataset", "seed", "out_dataset"]
    failed = [
        f"{detector} on {in_dataset}, seed {seed}{f', {out_dataset}' if out_dataset else ''}"
        for detector, in_dataset, seed, out_dataset in failures[columns].itertuples(index=False, name=None)
    ]
    return Bundle(entry, taken, failed, _without_results(record, runs, {*found.results["run"], *failures["run"]}))


def _without_results(record: Store, names: Iterable[str], done: set[str]) -> dict[str, str]:
    """Return run → state of the runs that match these names and have no results yet."""
    beginnings = tuple(names)
    titles = tuple(f"{name.partition(', ')[0]} on " for name in beginnings)  # a label starts with its detector
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
    """Return the publication in an entry. Raises OODBenchError, with the reason, if ``bundle`` would not make it so."""
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
    except Exception as error:  # errors of zipfile and of each kind of compression
        why = "it ends too early" if isinstance(error, EOFError) else shorten(one_line(str(error)))
        raise OODBenchError(f"{name} is no entry: {why}") from None
    for part, content in parts.items():
        stated = manifest.parts[part]
        if len(content) != stated.size or hashlib.sha256(content).hexdigest() != stated.sha256:
            raise OODBenchError(f"{name}: {part} is not what the manifest says (size or SHA-256): it was changed")
    return parts


def _check_members(members: Sequence[zipfile.ZipInfo]) -> None:
    """Raise ValueError unless there are exactly the three members, each once and of a plausible size."""
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
