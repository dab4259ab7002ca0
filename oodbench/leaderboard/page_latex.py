"""A page in LaTeX: a booktabs table for each in-data set and metric, to be included in a paper with ``\\input``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from oodbench.leaderboard.sections import Board, Section
from oodbench.leaderboard.tables import Cell, value_text
from oodbench.leaderboard.wording import arrow, how_to_read
from oodbench.text import one_line

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "–": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "≥": r"$\geq$", "→": r"$\rightarrow$",
    "×": r"$\times$", "…": r"\ldots{}",
}  # fmt: skip
HEAD = (
    "% Made by `oodbench leaderboard --format latex`. In the preamble: \\usepackage[T1]{fontenc} "
    "\\usepackage{booktabs,textcomp}"
)


def render(board: Board, title: str = "") -> str:
    """Return a table for each in-data set and metric, with notes for the reader in its caption and as comments."""
    parts = [HEAD, *([f"% {one_line(title)}"] if title else [])]
    for in_dataset in board.in_datasets:
        parts += [_table(section, board) for section in board.sections(in_dataset)]
    parts += [f"% {one_line(note)}" for note in board.footnotes]
    return "\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return untrusted text so that LaTeX prints it literally: no command, no mathematics, on one line."""
    apart = re.split(r"(?<=-)(?=-)|(?<=,)(?=,)", one_line(text))  # -- and ,, would become one character
    return "{}".join("".join(SPECIAL.get(character, character) for character in part) for part in apart)


def _table(section: Section, board: Board) -> str:
    metric = section.metric
    heads = " & ".join(["detector", *map(escape, [*map(section.head, section.columns), *section.fact_names])])
    name = re.sub("[^A-Za-z0-9]+", "-", f"{section.in_dataset}-{metric.name}").strip("-")
    reads = how_to_read(board, "reported" if section.reported else "", "")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(metric.name)} {SPECIAL[arrow(metric)]} ({escape(metric.summary)}) "
        rf"with {escape(section.in_dataset or '')} as in-distribution data. {escape(reads.replace(': )', ')'))}}}",
        rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(section.columns) + len(section.fact_names))}}}",
        r"\toprule",
        rf"{heads} \\",
        r"\midrule",
        *_measured(section),
        *_reported(section),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _measured(section: Section) -> Iterator[str]:
    for label in section.table.rows:
        cells = [section.table.cells.get((label, column)) for column in section.columns]
        yield " & ".join([escape(label), *map(_cell, cells), *map(escape, section.fact_texts(label))]) + r" \\"


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    return rf"\textbf{{{escape(cell.text)}}}" if cell.is_best else escape(cell.text)


def _reported(section: Section) -> Iterator[str]:
    if section.table.rows and section.reported:
        yield r"\midrule"
    for row in section.reported:
        texts = [value_text(*row.cells[column]) if column in row.cells else "–" for column in section.columns]
        texts += ["–"] * len(section.fact_names)
        yield " & ".join(rf"\textit{{{escape(text)}}}" for text in (f"{row.name} (reported)", *texts)) + r" \\"
