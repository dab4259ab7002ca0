"""Suite files: requests written down in TOML, with the words of the command line."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oodbench.api.parameters import flatten
from oodbench.data.names import canonical
from oodbench.errors import OODBenchError, UnknownName
from oodbench.plan.executors import NO_CHOICE, ExecutorChoice, read_executor_table
from oodbench.plan.requests import RunRequest, first_seeds
from oodbench.reading import read_text
from oodbench.text import shorten

SUITE_WORDS = ("title", "detector", "in", "out", "covariate", "seed", "seeds", "preset", "precision", "set")
WHOLE_FILE = ("executor", "groups", "rank", "run")
"""Words for the whole suite, which must not be inside ``[[run]]`` or ``[groups]``."""
MEAN = "mean"
"""What rows are ranked by unless ``rank`` says otherwise: their mean over all out-data sets."""


@dataclass(frozen=True)
class SuiteFile:
    """The content of a suite file.

    Args:
        requests: one, or one per ``[[run]]`` table, each overriding what precedes the tables.
        groups: name → the out-data sets of which tables show the mean, such as ``near = ["cifar100", "tin"]``.
        rank: the group or out-data set that rows are ranked by; ``mean`` for all out-data sets.
        executor: the choice in the ``[executor]`` table.
    """

    requests: Sequence[RunRequest]
    groups: Mapping[str, tuple[str, ...]]
    rank: str = MEAN
    executor: ExecutorChoice = NO_CHOICE


def read_suite(path: Path) -> Sequence[RunRequest]:
    """Return the requests of a suite file (see ``read_suite_file``)."""
    return read_suite_file(path).requests


def read_suite_file(path: Path) -> SuiteFile:
    """Return the content of a suite file; for a folder, read its ``suite.toml``.

    Raises OODBenchError, naming the file, where it cannot be understood.
    """
    path = path / "suite.toml" if os.path.isdir(path) else path
    text = read_text(path)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # no TOML, no text, a number too long, nested too deep
        raise OODBenchError(f"suite {path} is not TOML: {shorten(str(error))}") from None
    tables = table.pop("run", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise OODBenchError(f"suite {path}: write runs as [[run]] tables")
    try:
        groups, rank = table.pop("groups", {}), _text({"rank": table.pop("rank", "")}, "rank") or MEAN
        executor = read_executor_table(table.pop("executor", {}))
        top = _request(table)
        requests = [top.overridden_by(_request(each)) for each in tables] or [top]
        return _suite(requests, groups, rank, executor)
    except OODBenchError as error:
        raise OODBenchError(f"suite {path}: {error}") from None


def _request(table: Mapping[str, Any]) -> RunRequest:
    for word in table:
        if word in WHOLE_FILE:
            raise _misplaced(word, "[[run]]")
        if word not in SUITE_WORDS:
            raise UnknownName("word", word, (*SUITE_WORDS, *WHOLE_FILE))
    return RunRequest(
        detectors=_texts(table, "detector"),
        in_datasets=_data_sets(table, "in"),
        out_datasets=_data_sets(table, "out"),
        seeds=_seeds(table),
        preset=_text(table, "preset"),
        sets=_sets(table),
        precision=_text(table, "precision"),
        title=_text(table, "title"),
        covariates=_data_sets(table, "covariate"),
    )


def _misplaced(word: str, table: str) -> OODBenchError:
    """Return the error for a word inside a table: in TOML, all that follows a heading belongs to it."""
    return OODBenchError(f"{word} stands in {table}: it belongs at the top level, above the first [table]")


def _suite(requests: Sequence[RunRequest], groups: Any, rank: str, executor: ExecutorChoice) -> SuiteFile:
    """Return the suite; if its runs name no out-data sets, they get those of its groups."""
    if not isinstance(groups, dict):
        raise OODBenchError(f"groups is a table of names and lists, not {shorten(repr(groups))}")
    for name in groups:
        if name in SUITE_WORDS or name in WHOLE_FILE:
            raise _misplaced(name, "[groups]")
    groups = {name: _data_sets(groups, name) for name in groups}
    outs = list(dict.fromkeys(out for request in requests for out in request.out_datasets))
    if not outs:
        outs = list(dict.fromkeys(member for members in groups.values() for member in members))
        requests = [replace(request, out_datasets=tuple(outs)) for request in requests]
    _check_groups(groups, outs)
    _check_written(rank)
    if rank not in {MEAN, *groups, *outs}:
        raise UnknownName("group or out-data set to rank by", rank, {MEAN, *groups, *outs})
    return SuiteFile(requests, groups, rank, executor)


def _check_groups(groups: Mapping[str, Sequence[str]], outs: Sequence[str]) -> None:
    for name, members in groups.items():
        if name in outs or name == MEAN:
            raise OODBenchError(f"group {name} has the same name as a column; choose another")
        if not members or len(set(members)) < len(members):
            raise OODBenchError(f"group {name} needs at least one out-data set, and each once")
        for member in members:
            if member not in outs:
                raise UnknownName(f"out-data set of group {name}", member, outs)


def _text(table: Mapping[str, Any], word: str) -> str:
    value = table.get(word, "")
    if not isinstance(value, str):
        raise OODBenchError(f"{word} is one text, not {shorten(repr(value))}")
    return value


def _texts(table: Mapping[str, Any], word: str) -> tuple[str, ...]:
    value = table.get(word, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise OODBenchError(f"{word} is a name or a list of names, not {shorten(repr(value))}")
    return tuple(values)


def _data_sets(table: Mapping[str, Any], word: str) -> tuple[str, ...]:
    names = _texts(table, word)
    for name in names:
        _check_written(name)
    return names


def _check_written(name: str) -> None:
    """Raise OODBenchError for classes not in canonical form: groups and reported figures are matched by that form."""
    written = canonical(name)
    if written != name:
        path = name.partition(":")[2]
        raise OODBenchError(f"write {shorten(name)} as {written} (and a path of that name as ./{shorten(path)})")


def _seeds(table: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the seeds: ``seeds = 3`` means 0, 1, 2; ``seeds = [3, 5]`` and ``seed = 3`` mean exactly these."""
    if {"seed", "seeds"} <= table.keys():
        raise OODBenchError("give seed or seeds, not both")
    count, one = table.get("seeds", []), table.get("seed", [])
    values = list(first_seeds(count)) if type(count) is int else count or one
    values = [values] if type(values) is int else values
    if not isinstance(values, list) or not all(type(each) is int for each in values):
        raise OODBenchError(f"seeds is a number or a list of numbers, not {shorten(repr(values))}")
    if not values and table.keys() & {"seed", "seeds"}:
        raise OODBenchError("seeds is empty: a run needs at least one")
    return tuple(values)


def _sets(table: Mapping[str, Any]) -> tuple[str, ...]:
    values = table.get("set", {})
    if not isinstance(values, dict):
        raise OODBenchError(f"set is a table of parameters, not {shorten(repr(values))}")
    return tuple(f"{path}={json.dumps(value, default=str)}" for path, value in flatten(values).items())
