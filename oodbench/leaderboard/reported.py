"""Figures that others reported, from a suite's ``reported.toml``. They are kept apart from ours, and never ranked.

A ``[[table]]`` is a table of its source, or the part of one that a suite needs::

    [[table]]
    metric = "auroc"
    source = "A. Author, A paper (2021), Table 2"
    reliability = "read in the paper"           # or how else the figures were obtained
    in = "cifar10"                              # or a list as long as out
    out = ["svhn", "noise"]                     # each row has one value for each of these
    rows = [
        { name = "AE", detector = "ae", values = [0.175, 1.0] },
        { name = "NAE", values = [[0.920, 0.011], 1.0] },         # [value, standard deviation]
    ]

``detector`` names our detector of the same method, if there is one, and ``preset`` one of its rows, if it has several:
``paper, spherical=False``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic

from oodbench.errors import OODBenchError
from oodbench.reading import read_text
from oodbench.text import shorten

Number = Annotated[float, pydantic.Field(strict=True, allow_inf_nan=False, ge=-1e9, le=1e9)]
Deviation = Annotated[float, pydantic.Field(strict=True, allow_inf_nan=False, ge=0, le=1e9)]
Value = Number | tuple[Number, Deviation]


@dataclass(frozen=True)
class LiteratureResult:
    """One figure that was measured elsewhere. ``row`` is the method's name in the source."""

    row: str
    detector: str
    preset: str
    in_dataset: str
    out_dataset: str
    metric: str
    value: float
    sd: float | None
    source: str
    reliability: str

    @property
    def origin(self) -> str:
        """The source of the figure, and how reliable it is."""
        return f"{self.source}; {self.reliability}"


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class _Row(_Model):
    name: str
    detector: str = ""
    preset: str = ""
    values: list[Value]


class _Table(_Model):
    metric: str
    source: str
    reliability: str
    ins: str | list[str] = pydantic.Field(alias="in")
    out: list[str]
    rows: list[_Row] = pydantic.Field(min_length=1)


class _File(_Model):
    table: list[_Table] = []


def read_reported(path: Path) -> list[LiteratureResult]:
    """Return the figures of a file, in the file's order.

    Raises OODBenchError, naming the file, where it cannot be read or is not as described above.
    """
    try:
        tables = _File(**tomllib.loads(read_text(path))).table
        figures = [figure for table in tables for figure in _figures(table)]
        _check_once(figures)
        return figures
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise OODBenchError(f"{path}: {where}: {fault['msg']} (got {shorten(repr(fault['input']))})") from None
    except (ValueError, RecursionError) as error:  # invalid TOML, or inconsistent
        raise OODBenchError(f"{path}: {error}") from None


def _check_once(figures: Iterable[LiteratureResult]) -> None:
    known = set[tuple[str, ...]]()
    for figure in figures:
        place = (figure.row, figure.in_dataset, figure.out_dataset, figure.metric, figure.origin)
        if place in known:
            raise ValueError(
                f"{figure.source}: {figure.row} has two figures of {figure.metric} for {figure.out_dataset}"
            )
        known.add(place)


def _figures(table: _Table) -> Iterable[LiteratureResult]:
    ins = [table.ins] * len(table.out) if isinstance(table.ins, str) else table.ins
    if len(ins) != len(table.out):
        raise ValueError(f"{table.source}: {len(ins)} in-data sets for {len(table.out)} out-data sets")
    for row in table.rows:
        if len(row.values) != len(table.out):
            raise ValueError(f"{table.source}: {row.name} has {len(row.values)} values for {len(table.out)} columns")
        for in_dataset, out_dataset, figure in zip(ins, table.out, row.values, strict=True):
            value, sd = figure if isinstance(figure, tuple) else (figure, None)
            yield LiteratureResult(
                row.name, row.detector, row.preset, in_dataset, out_dataset, table.metric, value, sd,
                table.source, table.reliability,
            )  # fmt: skip


def compare(records: Iterable[Mapping[str, Any]], reported: Iterable[LiteratureResult]) -> list[dict[str, Any]]:
    """Return every reported figure beside ours, if there is one: one dict per figure and matching row of ours.

    Args:
        records: as ``tables.records`` returns them.
        reported: figures of others.

    ``difference`` is our mean minus the reported value.
    """
    measured = list(records)
    return [_beside(figure, ours) for figure in reported for ours in _ours(figure, measured)]


def _beside(figure: LiteratureResult, ours: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "in": figure.in_dataset,
        "out": figure.out_dataset,
        "metric": figure.metric,
        "row": figure.row,
        "reported": figure.value,
        "reported_sd": figure.sd,
        "label": ours and ours["label"],
        "ours": ours and ours["mean"],
        "ours_sd": ours and ours["sd"],
        "difference": ours["mean"] - figure.value if ours and ours["mean"] is not None else None,
        "seeds": ours["seeds"] if ours else [],
        "source": figure.source,
        "reliability": figure.reliability,
    }


def _ours(figure: LiteratureResult, records: list[Mapping[str, Any]]) -> list[Mapping[str, Any] | None]:
    """Return our records of the same detector, data sets, metric, and preset if the figure names one; else [None]."""
    found: list[Mapping[str, Any] | None] = [
        record
        for record in records
        if figure.detector == record["detector"]
        and (figure.in_dataset, figure.out_dataset) == (record["in_dataset"], record["out_dataset"])
        and figure.metric == record["metric"]
        and (not figure.preset or _settings(figure.preset) == _settings(record["preset"]))
    ]
    return found or [None]


def _settings(preset: str) -> tuple[str, list[str]]:
    """Return a preset's name and its settings, sorted: ``paper, b=2, a=1`` → (paper, [a=1, b=2])."""
    name, *settings = re.split(r",\s+", preset.strip())
    return name, sorted(settings)
