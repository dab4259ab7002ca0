"""A page as comma-separated values: one row per in-data set, out-data set, row of the table and metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from oodbench.leaderboard.sections import Board, Column, Section
from oodbench.leaderboard.tables import Cell
from oodbench.text import one_line

COLUMNS = (
    "in", "out", "row", "metric", "mean", "sd", "n_seeds", "n_failed", "seeds", "values", "low", "high", "p_best",
    "best", "reported", "source", "mean_of",
)  # fmt: skip
"""``seeds``, ``values``, ``low`` and ``high`` have one entry per seed, separated by spaces: the 95 % interval over
images is of one seed. ``best``: whether the cell is bold in the other formats. ``mean_of``: for the mean over a group,
the group's out-data sets; ``out`` is then the group's name. A row without ``out`` is a fact of the fits on the
in-data's test split, such as accuracy. Numbers have all their digits."""


def render(board: Board) -> str:
    """Return the table with a header line; rows are in the order of the other formats, the reported ones last."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    for in_dataset in board.in_datasets:
        for section in board.sections(in_dataset):
            writer.writerows([*_measured(section), *_reported(section)])
        for section in board.sections(in_dataset)[:1]:
            writer.writerows(_facts(section))
    return written.getvalue()


def _measured(section: Section) -> Iterator[list[str]]:
    for label in section.table.rows:
        for column in (*section.groups, *section.table.columns):
            if cell := section.table.cells.get((label, column)):
                names = [text_cell(text) for text in (*column, label, section.metric.name)]
                yield [*names, *_numbers(cell), "yes" if cell.is_best else "no", "no", "", _members(section, column)]


def _numbers(cell: Cell) -> list[str]:
    there, all_ = cell.seeds
    intervals = [interval or (None, None) for _, _, interval in cell.fits]
    return [
        _number(cell.mean),
        _number(cell.sd),
        str(there),
        str(all_ - there),
        _numbers_of([seed for seed, _, _ in cell.fits]),
        _numbers_of([value for _, value, _ in cell.fits]),
        _numbers_of([low for low, _ in intervals]),
        _numbers_of([high for _, high in intervals]),
        _number(cell.p_best),
    ]


def _reported(section: Section) -> Iterator[list[str]]:
    for row in section.reported:
        for column, (value, sd) in row.cells.items():
            names = [text_cell(text) for text in (*column, row.name, section.metric.name)]
            numbers = [_number(value), _number(sd), "", "", "", "", "", "", ""]
            yield [*names, *numbers, "no", "yes", text_cell(row.origin), _members(section, column)]


def _facts(section: Section) -> Iterator[list[str]]:
    """Yield a row for each fact of the fits on the in-data's test split; it has no out-data set."""
    for label in section.table.rows:
        for name, (value, sd) in section.facts.get(label, {}).items():
            names = [text_cell(text) for text in (section.in_dataset or "", "", label, name)]
            yield [*names, _number(value), _number(sd), *[""] * 7, "no", "no", "", ""]


def _members(section: Section, column: Column) -> str:
    return text_cell(" ".join(section.groups.get(column, ())))


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _numbers_of(values: Sequence[float | None]) -> str:
    """Return one entry per seed, nan where a seed has no value; an empty text if no seed has one."""
    return " ".join("nan" if value is None else repr(value) for value in values) if any(
        value is not None for value in values
    ) else ""  # fmt: skip


def text_cell(text: str) -> str:
    """Return untrusted text on one line, so that no spreadsheet takes it for a formula."""
    line = one_line(text)
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
