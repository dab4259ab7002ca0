"""A page in Markdown: tables, how the runs were made, and what a reader must know as footnotes.

Figures that others reported stand below ours, in italics, with their source: they are not ranked, and never the best of
a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.api import SCORE_CONVENTION, Metric
from oodbench.leaderboard.failures import failed_seeds
from oodbench.leaderboard.reported import LiteratureResult
from oodbench.leaderboard.row_labels import add_row_labels
from oodbench.leaderboard.run_facts import image_counts, image_notes, run_facts, run_notes
from oodbench.leaderboard.tables import chosen_results, ranked, value_text
from oodbench.text import printable

if TYPE_CHECKING:
    import pandas as pd

HOW_TO_READ = (
    "A cell is the mean over seeds ± the sample standard deviation; with one seed, its value. Rows are ranked by their "
    "mean, those that lack a cell last. The best of each column is bold."
)
FAILED = (
    "(2 of 3) behind a value: one of three seeds failed, and the mean is that of the others; such a cell is never the "
    "best. A footnote says why."
)
REPORTED = (
    "Rows in italics are *reported*: others published them, they were not measured here, and they are not ranked."
)
MARKUP = re.compile(r"[\\`*|<>\[\]~]|(?<![^\W_])_|_(?![^\W_])|^#", re.MULTILINE)


def escape(text: str) -> str:
    """Return text from outside so that Markdown shows it as it is: no markup, no HTML, no link, on one line."""
    line = printable(" ".join(text.split()))
    return MARKUP.sub(lambda match: {"<": "&lt;", ">": "&gt;"}.get(match[0], f"\\{match[0]}"), line)


def render(
    results: pd.DataFrame,
    metrics: Iterable[Metric],
    title: str = "",
    reported: Sequence[LiteratureResult] | None = None,
    introduction: str = "",
) -> str:
    """Return a page: for each in-data set a table per metric, then how the runs were made, with notes as footnotes.

    Of several in-data sets, a table of them all comes first.

    Args:
        reported: figures of others; where it is not None there need be no results.
        introduction: Markdown that stands below the title.
    """
    page = _Page(results, list(metrics), reported)
    failed = FAILED if page.has_failures else ""
    parts = [f"# {escape(title or 'Leaderboard')}", introduction, HOW_TO_READ, failed, REPORTED * bool(page.reported)]
    return "\n\n".join(filter(None, [*parts, *page.tables(), *page.footnotes()])) + "\n"


def table(results: pd.DataFrame, in_dataset: str | None, metric: Metric) -> pd.DataFrame:
    """Return detectors (rows, best first) by out-data sets, cells as Markdown text: ``**0.957 ± 0.003**``.

    Where ``in_dataset`` is None, a column is an out-data set with its in-data set.
    """
    import pandas as pd

    made = ranked(results, in_dataset, metric)
    texts = {
        _column(*column, in_dataset, metric): {
            row: _cell_text(made.cells[row, column]) if (row, column) in made.cells else "–" for row in made.rows
        }
        for column in made.columns
    }
    return pd.DataFrame(texts, index=pd.Index(made.rows, name="detector"))


def _cell_text(cell: Any) -> str:
    return f"**{cell.text}**" if cell.is_best else cell.text


class _Page:
    """What a page is made from: results with labels, reported figures, and the footnotes of both."""

    def __init__(self, results: pd.DataFrame, metrics: list[Metric], reported: Sequence[LiteratureResult] | None):
        self.metrics = metrics
        self.results = add_row_labels(results)
        if len(results) or reported is None:
            self.results = chosen_results(self.results, metrics)
        names = {metric.name for metric in metrics}
        self.reported = [figure for figure in reported or [] if figure.metric in names]
        self.has_failures = bool(failed_seeds(self.results))
        self.notes = run_notes(self.results)
        notes = [*self.notes, *dict.fromkeys(figure.origin for figure in self.reported)]
        self.marks: dict[Any, str] = {note: f"[^{number}]" for number, note in enumerate(notes, 1)}

    def tables(self) -> Iterator[str]:
        """Yield all between the page's head and its footnotes."""
        measured = sorted(set(self.results["in_dataset"]))
        everything = sorted({*measured, *(figure.in_dataset for figure in self.reported)})
        if len(everything) > 1:
            yield "## All in-distribution data sets"
            reported = {figure.metric for figure in self.reported}
            for metric in self.metrics:
                if metric is self.metrics[0] or metric.name in reported:
                    yield from self._table(None, metric)
        for in_dataset in everything if len(everything) == 1 else measured:
            yield f"## In-distribution: {escape(in_dataset)}"
            for metric in self.metrics:
                yield from self._table(in_dataset, metric)
            runs = self.results[self.results["in_dataset"] == in_dataset]
            if len(runs):
                yield "### How these runs were made"
                yield _markdown(run_facts(runs).map(escape), self._marks_of(in_dataset))
                yield _counts_text(in_dataset, runs)

    def footnotes(self) -> list[str]:
        origins = dict.fromkeys(figure.origin for figure in self.reported)
        texts = self.notes | {origin: f"reported, not measured here: {origin}" for origin in origins}
        return [f"{self.marks[note]}: {escape(text)}" for note, text in texts.items()]

    def _table(self, in_dataset: str | None, metric: Metric) -> Iterator[str]:
        """One table of one metric under its heading; nothing if there is nothing to show."""
        import pandas as pd

        results = self.results[self.results["metric"].isin([metric.name, ""])]
        results = results if in_dataset is None else results[results["in_dataset"] == in_dataset]
        parts = [table(results, in_dataset, metric).rename(index=escape)] if (results["metric"] != "").any() else []
        figures = [figure for figure in self.reported if figure.metric == metric.name]
        figures = [figure for figure in figures if in_dataset in (None, figure.in_dataset)]
        parts += [_reported_rows(figures, in_dataset, metric, self.marks)] if figures else []
        if parts:
            joined = pd.concat(parts)
            yield f"### {escape(metric.name)} {arrow(metric)}: {escape(metric.summary)}"
            shown = joined[sorted(joined.columns)].fillna("–").rename_axis("detector")
            yield _markdown(shown, self._marks_of(in_dataset))
            yield SCORE_CONVENTION

    def _marks_of(self, in_dataset: str | None) -> dict[str, str]:
        """Escaped label → the marks of its notes on this in-data set, or on all."""
        marks: dict[str, str] = {}
        for of_in, label in self.notes:
            if in_dataset in (None, of_in):
                marks[escape(label)] = marks.get(escape(label), "") + self.marks[of_in, label]
        return marks


def _column(in_dataset: str, out_dataset: str, shown_in: str | None, metric: Metric) -> str:
    """Return the head of a column, which names the in-data set where the table does not."""
    name = out_dataset if shown_in is not None else f"{out_dataset} (in {in_dataset})"
    return f"{escape(name)} {arrow(metric)}"


def _reported_rows(
    figures: Sequence[LiteratureResult], shown_in: str | None, metric: Metric, marks: Mapping[Any, str]
) -> pd.DataFrame:
    """Reported figures as rows of a table, in the order they came, in italics and with the mark of their source."""
    import pandas as pd

    rows: dict[str, dict[str, str]] = {}
    for figure in figures:
        row = rows.setdefault(f"*{escape(figure.row)} (reported)*{marks[figure.origin]}", {})
        column = _column(figure.in_dataset, figure.out_dataset, shown_in, metric)
        row[column] = f"*{value_text(figure.value, figure.sd)}*"
    return pd.DataFrame.from_dict(rows, orient="index")


def arrow(metric: Metric) -> str:
    """Return ↑ where a higher value is better, else ↓."""
    return "↑" if metric.higher_is_better else "↓"


def _counts_text(in_dataset: str, results: pd.DataFrame) -> str:
    n_in, n_out = image_counts(results)
    outs = ", ".join(f"{escape(name)} {count}" for name, count in n_out.items())
    notes = "".join(f" {escape(note)}." for note in image_notes(results))
    return f"Images scored: in {escape(in_dataset)} {n_in}; out {outs}.{notes}"


def _markdown(frame: pd.DataFrame, marks: Mapping[str, str]) -> str:
    """Return the table with a footnote mark behind each row's name that has one; numbers are text already."""
    marked = frame.rename(index={label: label + marks.get(label, "") for label in frame.index})
    return marked.to_markdown(tablefmt="github", disable_numparse=True)
