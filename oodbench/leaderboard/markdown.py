"""A page in Markdown: tables, how the runs were made, and notes for the reader as footnotes.

Figures that others reported are below ours, in italics, with their source. They are not ranked, and never the best of a
column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from oodbench.leaderboard.ranks import average_ranks
from oodbench.leaderboard.run_facts import image_counts, image_notes, run_facts
from oodbench.leaderboard.sections import Board, Section
from oodbench.leaderboard.tables import Cell, interval_text, value_text
from oodbench.leaderboard.wording import STATISTICS, arrow, how_to_read
from oodbench.text import one_line

if TYPE_CHECKING:
    import pandas as pd

MARKUP = re.compile(r"[\\`*|<>\[\]~]|(?<![^\W_])_|_(?![^\W_])|^#", re.MULTILINE)


def escape(text: str) -> str:
    """Return untrusted text so that Markdown shows it literally: no markup, no HTML, no link, on one line."""
    line = one_line(text)
    return MARKUP.sub(lambda match: {"<": "&lt;", ">": "&gt;"}.get(match[0], f"\\{match[0]}"), line)


def render(board: Board, title: str = "", introduction: str = "", computed_by: Mapping[str, str] | None = None) -> str:
    """Return a page: for each in-data set the table of the first metric, then all else, folded; notes as footnotes.

    With several in-data sets, a table of all of them comes first.

    Args:
        introduction: Markdown to put below the title.
        computed_by: metric → the package, with version, that computed it.
    """
    writer = _Writer(board)
    reads = how_to_read(board, "*reported*", f"`{STATISTICS}`", escape)
    head = [f"# {escape(title or 'Leaderboard')}", introduction]
    end = ["## How to read this", reads, *writer.sources(computed_by or {}), *writer.footnotes()]
    return "\n\n".join(filter(None, [*head, *writer.tables(), *end])) + "\n"


class _Writer:
    """A writer of a board's tables, with marks for its footnotes."""

    def __init__(self, board: Board):
        self.board = board

    def tables(self) -> Iterator[str]:
        """Yield everything between the page's head and its footnotes."""
        for in_dataset in self.board.shown:
            sections = self.board.sections(in_dataset)
            if in_dataset is None:
                yield "## All in-distribution data sets"
                has_reported = {figure.metric for figure in self.board.reported}
                for section in sections:
                    if section.metric.name in self.board.main | has_reported:
                        yield self._table(section)
                yield from _ranks(sections)
            else:
                yield f"## In-distribution: {escape(in_dataset)}"
                main = [section for section in sections if section.metric.name in self.board.main] or sections[:1]
                for section in main:
                    yield self._table(section)
                    yield from _folded("Each seed, with its 95 % interval over images", self._seeds([section]))
                yield from _folded("Other metrics", [self._table(each) for each in sections if each not in main])
                yield from _folded("How these runs were made", self._how_made(in_dataset))

    def footnotes(self) -> list[str]:
        return [f"[^{number}]: {escape(text)}" for number, text in enumerate(self.board.footnotes, 1)]

    def sources(self, computed_by: Mapping[str, str]) -> list[str]:
        """Return which packages computed the metrics: ``Computed by oodbench 0.2.0: auroc, aupr_out.``"""
        has_results = set(self.board.results["metric"])
        names: dict[str, list[str]] = {}
        for metric in self.board.metrics:
            if metric.name in has_results and metric.name in computed_by:
                names.setdefault(computed_by[metric.name], []).append(escape(metric.name))
        return [f"Computed by {escape(source)}: {', '.join(each)}." for source, each in names.items()]

    def _table(self, section: Section) -> str:
        """Return one metric's table under its heading; columns name their in-data set where the table does not."""
        metric, cells = section.metric, section.table.cells
        rows = [
            [
                self._marked(row, section.in_dataset),
                *(_cell(cells.get((row, column))) for column in section.columns),
                *section.fact_texts(row),
            ]
            for row in section.table.rows
        ]
        for reported in section.reported:
            texts = [
                value_text(*reported.cells[column]) if column in reported.cells else "" for column in section.columns
            ]
            name = f"*{escape(reported.name)} (reported)*[^{self.board.note_on(reported.origin)}]"
            texts += [""] * len(section.fact_names)
            rows.append([name, *(f"*{text}*" if text else "–" for text in texts)])
        head = f"### {escape(metric.name)} {arrow(metric)}: {escape(metric.summary)}"
        return f"{head}\n\n{_markdown(['detector', *_heads(section), *map(escape, section.fact_names)], rows)}"

    def _marked(self, label: str, in_dataset: str | None) -> str:
        """Return the row's name with the marks of its notes on this in-data set, or on all."""
        return escape(label) + "".join(f"[^{number}]" for number in self.board.notes_on(label, in_dataset))

    def _seeds(self, sections: Sequence[Section]) -> list[str]:
        """Return tables of each seed's value; none where results are not published or no cell has several seeds."""
        return [
            _markdown(
                ["detector", *_heads(section)],
                [
                    [escape(row), *(_seeds_text(section.table.cells.get((row, column))) for column in section.columns)]
                    for row in section.table.rows
                ],
            )
            for section in sections
            if self.board.is_published and any(len(cell.fits) > 1 for cell in section.table.cells.values())
        ]

    def _how_made(self, in_dataset: str) -> list[str]:
        runs = self.board.runs_of(in_dataset)
        if runs.empty:
            return []
        facts = run_facts(runs)
        rows = [
            [self._marked(str(label), in_dataset), *map(escape, fact)]
            for label, fact in zip(facts.index, facts.itertuples(index=False, name=None), strict=True)
        ]
        return [_markdown(["detector", *facts.columns], rows), _counts_text(in_dataset, runs)]


def _ranks(sections: Sequence[Section]) -> list[str]:
    """Return a text on average ranks by the first metric, if there are enough data sets for them to be meaningful."""
    ranks = average_ranks(sections[0].table) if sections else None
    if ranks is None:
        return []
    table, ordered = sections[0].table, sorted(ranks.average.items(), key=lambda item: item[1])
    listed = ", ".join(f"{escape(row)} {rank:.2f}" for row, rank in ordered if row in table.rows)
    among = f", among all {len(ordered)} rows" if table.not_shown else ""
    by = f"Average ranks by {escape(table.metric.name)} over these {ranks.columns} data sets{among}: {listed}."
    apart = f"two ranks differ if they are {ranks.critical_difference:.2f} apart (Nemenyi, .05)"
    return [f"{by} Friedman's test: p = {ranks.p:.2g}; {apart}."]


def _heads(section: Section) -> list[str]:
    """Return the head of each column, which names the in-data set where the table does not."""
    heads = [(column[0], section.head(column)) for column in section.columns]
    names = [head if section.in_dataset is not None else f"{head} (in {of_in})" for of_in, head in heads]
    return [f"{escape(name)} {arrow(section.metric)}" for name in names]


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return f"**{cell.text}**" if cell.is_best else cell.text


def _seeds_text(cell: Cell | None) -> str:
    """Return ``0: 0.938 (0.917–0.954), 1: …``, by seed."""
    texts = [
        f"{seed}: {value:.3f}" + (f" ({interval_text(interval)})" if interval else "")
        for seed, value, interval in (cell.fits if cell else ())
    ]
    return ", ".join(texts) or "–"


def _folded(summary: str, parts: Iterable[str]) -> Iterator[str]:
    """Yield the parts in a collapsed block, for what not every reader needs; nothing if there are no parts."""
    if parts := [*parts]:
        yield f"<details>\n<summary>{summary}</summary>"
        yield from parts
        yield "</details>"


def _counts_text(in_dataset: str, results: pd.DataFrame) -> str:
    n_in, n_out = image_counts(results)
    outs = ", ".join(f"{escape(name)} {count}" for name, count in n_out.items())
    notes = "".join(f" {escape(note)}." for note in image_notes(results))
    return f"Images scored: in {escape(in_dataset)} {n_in}; out {outs}.{notes}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)
