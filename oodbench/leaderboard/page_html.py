"""A page in HTML: one self-contained file, which shows the tables of the first metric where scripts do not run.

Everything that scripts add (sorting, filtering, the choice of a metric, the panel of a cell) works on data in the file.
The security policy in its head forbids every request, and every script but its own.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape as escape_html
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from oodbench.api import Metric
from oodbench.leaderboard.page_data import Place, page_data
from oodbench.leaderboard.prose import to_html
from oodbench.leaderboard.run_facts import image_counts, image_notes, run_facts
from oodbench.leaderboard.score_file import ScoreTable
from oodbench.leaderboard.sections import Board, Column, ReportedRow, Section
from oodbench.leaderboard.tables import Cell, value_text
from oodbench.leaderboard.wording import STATISTICS, arrow, how_to_read
from oodbench.text import one_line

if TYPE_CHECKING:
    import pandas as pd

HOW = f"<code>{STATISTICS}</code>"


def render(
    board: Board,
    title: str = "",
    introduction: str = "",
    computed_by: Mapping[str, str] | None = None,
    scores: ScoreTable | None = None,
) -> str:
    """Return the page.

    Args:
        introduction: Markdown to put below the title.
        computed_by: metric → the package, with version, that computed it.
        scores: of the runs whose curves the page shows.
    """
    numbers, data = page_data(board, scores or {})
    writer = _Writer(board, numbers)
    style, script = _resource("page.css"), _resource("page.js")
    reads = escape(how_to_read(board, "$r", "$h"))
    return Template(_resource("page.html")).substitute(
        title=escape(title or "Leaderboard"),
        introduction=_introduction(introduction),
        metrics="\n".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in writer.metrics()),
        sections="\n".join(writer.all_sections()),
        how=reads.replace("$r", "<em>reported</em>").replace("$h", HOW),
        computed_by=" ".join(_sources(writer.metrics(), computed_by or {})),
        notes=writer.notes(),
        data=data,
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}",
    )


def escape(text: str) -> str:
    """Return untrusted text so that HTML shows it literally, in an element or in an attribute, on one line."""
    return escape_html(one_line(text))


def _introduction(markdown: str) -> str:
    """Return the introduction, open; the script closes it on a narrow screen, where the tables would be far below."""
    if not markdown:
        return ""
    return f'<details class="prose" id="introduction" open>\n<summary>Notes</summary>\n{to_html(markdown)}\n</details>'


def _resource(name: str) -> str:
    return (files("oodbench.leaderboard") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def _sources(metrics: list[str], computed_by: Mapping[str, str]) -> Iterator[str]:
    for source in dict.fromkeys(computed_by[name] for name in metrics if name in computed_by):
        names = ", ".join(escape(name) for name in metrics if computed_by.get(name) == source)
        yield f"Computed by {escape(source)}: {names}."


class _Writer:
    """A writer of a board's tables; ``numbers`` are those of the places in the page's data."""

    def __init__(self, board: Board, numbers: Mapping[Place, int]):
        self.board, self.numbers = board, numbers
        self.sections = {name: board.sections(name) for name in board.shown}

    def metrics(self) -> list[str]:
        """Return the metrics that some table shows; without scripts, the page shows the first of them."""
        shown = {section.metric.name for sections in self.sections.values() for section in sections}
        return [metric.name for metric in self.board.metrics if metric.name in shown]

    def all_sections(self) -> Iterator[str]:
        for number, (in_dataset, sections) in enumerate(self.sections.items()):
            what = "All in-distribution data sets"
            if in_dataset is not None:
                what = f"In-distribution: <code>{escape(in_dataset)}</code>"
            tables = "\n".join(self._table(section, f"s{number}m{index}") for index, section in enumerate(sections))
            made = "" if in_dataset is None else self._how_made(in_dataset)
            yield f'<section aria-labelledby="s{number}">\n<h2 id="s{number}">{what}</h2>\n{tables}\n{made}</section>'

    def notes(self) -> str:
        items = [f'<li id="note-{number}">{escape(text)}</li>' for number, text in enumerate(self.board.footnotes, 1)]
        return f"<section>\n<h2>Footnotes</h2>\n<ol>{''.join(items)}</ol>\n</section>" if items else ""

    # ------------------------------------------------------------------------------------- tables

    def _table(self, section: Section, name: str) -> str:
        metric = section.metric
        hidden = "" if metric.name == self.metrics()[0] else " hidden"
        heads = "".join(f'<th scope="col">{self._head(column, section)}</th>' for column in section.columns)
        heads += '<th scope="col">mean</th>' * self._has_mean(section)
        heads += "".join(f'<th scope="col">{escape(name)}</th>' for name in section.fact_names)
        ours = "\n".join(self._row(label, section) for label in section.table.rows)
        theirs = "\n".join(self._reported_row(row, section) for row in section.reported)
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}" '
            f'data-metric="{escape(metric.name)}" data-better="{"higher" if metric.higher_is_better else "lower"}"'
            f'{hidden}>\n<table>\n<caption id="{name}">{_caption(metric)}</caption>\n'
            f'<thead><tr><th scope="col">detector</th>{heads}</tr></thead>\n'
            + (f'<tbody class="ours">\n{ours}\n</tbody>\n' if ours else "")
            + (f'<tbody class="reported">\n{theirs}\n</tbody>\n' if theirs else "")
            + "</table>\n</div>"
        )

    def _head(self, column: Column, section: Section) -> str:
        within = "" if section.in_dataset is not None else f'<span class="in">in {escape(column[0])}</span> '
        return f"{within}{escape(section.head(column))}"

    def _has_mean(self, section: Section) -> bool:
        return len(section.table.columns) > 1

    def _row(self, label: str, section: Section) -> str:
        marks = _marks(self.board.notes_on(label, section.in_dataset))
        cells = [section.table.cells.get((label, column)) for column in section.columns]
        texts = [self._cell(cell, (label, *column)) for cell, column in zip(cells, section.columns, strict=True)]
        if self._has_mean(section):
            own = [section.table.cells.get((label, column)) for column in section.table.columns]
            means = [cell.mean for cell in own if cell and cell.mean is not None]
            mean = sum(means) / len(means) if len(means) == len(own) else None
            texts.append("<td>–</td>" if mean is None else f'<td data-value="{mean!r}">{mean:.3f}</td>')
        for name, text in zip(section.fact_names, section.fact_texts(label), strict=True):
            fact = section.facts.get(label, {}).get(name)
            texts.append(f'<td data-value="{fact[0]!r}">{text}</td>' if fact else f"<td>{text}</td>")
        return f'<tr><th scope="row">{escape(label)}{marks}</th>{"".join(texts)}</tr>'

    def _cell(self, cell: Cell | None, place: Place) -> str:
        if cell is None:
            return "<td>–</td>"
        value = "" if cell.mean is None else f' data-value="{cell.mean!r}"'
        number = f' data-place="{self.numbers[place]}"' if place in self.numbers else ""
        text = f"<strong>{escape(cell.text)}</strong>" if cell.is_best else escape(cell.text)
        return f"<td{value}{number}>{text}</td>"

    def _reported_row(self, row: ReportedRow, section: Section) -> str:
        texts = [value_text(*row.cells[column]) if column in row.cells else "–" for column in section.columns]
        texts += ["–"] * (self._has_mean(section) + len(section.fact_names))
        cells = "".join(f"<td>{f'<em>{text}</em>' if text != '–' else text}</td>" for text in texts)
        marks = _marks([self.board.note_on(row.origin)])
        return f'<tr><th scope="row"><em>{escape(row.name)} (reported)</em>{marks}</th>{cells}</tr>'

    def _how_made(self, in_dataset: str) -> str:
        """Return how the runs of the rows were made, as a collapsed block."""
        runs = self.board.runs_of(in_dataset)
        if runs.empty:
            return ""
        facts = run_facts(runs)
        heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in facts.columns)
        body = "\n".join(
            f'<tr><th scope="row">{escape(label)}</th>{"".join(f"<td>{escape(text)}</td>" for text in fact)}</tr>'
            for label, fact in zip(facts.index, facts.itertuples(index=False, name=None), strict=True)
        )
        return (
            "<details>\n<summary>How these runs were made</summary>\n"
            '<div class="scroll" role="region" tabindex="0" aria-label="How these runs were made">\n'
            f'<table class="facts">\n<thead><tr><th scope="col">detector</th>{heads}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
            f"<p>{_counts(in_dataset, runs)}</p>\n</details>\n"
        )


def _caption(metric: Metric) -> str:
    better = "higher is better" if metric.higher_is_better else "lower is better"
    symbol = f'<span aria-hidden="true" title="{better}">{arrow(metric)}</span>'
    return f"<span><b>{escape(metric.name)}</b> {symbol} {escape(metric.summary)}; {better}</span>"


def _counts(in_dataset: str, runs: pd.DataFrame) -> str:
    n_in, n_out = image_counts(runs)
    outs = ", ".join(f"{escape(name)} {count}" for name, count in n_out.items())
    notes = "".join(f" {escape(note)}." for note in image_notes(runs))
    return f"Images scored: in {escape(in_dataset)} {n_in}; out {outs}.{notes}"


def _marks(numbers: list[int]) -> str:
    return "".join(f'<sup><a href="#note-{n}" aria-label="note {n}">{n}</a></sup>' for n in numbers)
