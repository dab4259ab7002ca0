"""A page in Markdown: tables, how the runs were made, and what a reader must know as footnotes.

Figures that others reported stand below ours, in italics, with their source: they are not ranked, and never the best of
a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.api import Metric
from oodbench.leaderboard.failures import failed_seeds
from oodbench.leaderboard.ranks import average_ranks
from oodbench.leaderboard.reported import LiteratureResult
from oodbench.leaderboard.row_labels import add_row_labels
from oodbench.leaderboard.run_facts import image_counts, image_notes, run_facts, run_notes
from oodbench.leaderboard.tables import BY_MEAN, Cell, Order, chosen_results, interval_text, ranked, value_text
from oodbench.leaderboard.wording import STATISTICS, arrow, how_to_read
from oodbench.text import one_line

if TYPE_CHECKING:
    import pandas as pd

MARKUP = re.compile(r"[\\`*|<>\[\]~]|(?<![^\W_])_|_(?![^\W_])|^#", re.MULTILINE)


def escape(text: str) -> str:
    """Return text from outside so that Markdown shows it as it is: no markup, no HTML, no link, on one line."""
    line = one_line(text)
    return MARKUP.sub(lambda match: {"<": "&lt;", ">": "&gt;"}.get(match[0], f"\\{match[0]}"), line)


def render(
    results: pd.DataFrame,
    metrics: Iterable[Metric],
    title: str = "",
    reported: Sequence[LiteratureResult] | None = None,
    introduction: str = "",
    computed_by: Mapping[str, str] | None = None,
    order: Order = BY_MEAN,
) -> str:
    """Return a page: for each in-data set the table of the first metric, then all else, folded; notes as footnotes.

    Of several in-data sets, a table of them all comes first.

    Args:
        reported: figures of others; where it is not None there need be no results.
        introduction: Markdown that stands below the title.
        computed_by: metric → the package, with version, that computed it.
        order: which rows of each table come first, and how many are shown.
    """
    page = _Page(results, list(metrics), reported, order)
    reads = how_to_read(
        page.is_published, bool(page.reported), page.has_failures, "*reported*", f"`{STATISTICS}`", order
    )
    parts = [
        f"# {escape(title or 'Leaderboard')}",
        introduction,
        *page.tables(),
        "## How to read this",
        reads,
    ]
    parts += page.sources(computed_by or {})
    return "\n\n".join(filter(None, [*parts, *page.footnotes()])) + "\n"


def table(results: pd.DataFrame, in_dataset: str | None, metric: Metric, order: Order = BY_MEAN) -> pd.DataFrame:
    """Return detectors (rows, best first) by out-data sets, cells as Markdown text: ``**0.957 ± 0.003**``.

    Where ``in_dataset`` is None, a column is an out-data set with its in-data set.
    """
    import pandas as pd

    made = ranked(results, in_dataset, metric, order)
    texts = {
        _column(*column, in_dataset, metric): {
            row: _cell_text(made.cells[row, column]) if (row, column) in made.cells else "–" for row in made.rows
        }
        for column in made.columns
    }
    return pd.DataFrame(texts, index=pd.Index(made.rows, name="detector"))


def _cell_text(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.is_best else cell.text


class _Page:
    """What a page is made from: results with labels, reported figures, and the footnotes of both."""

    def __init__(
        self, results: pd.DataFrame, metrics: list[Metric], reported: Sequence[LiteratureResult] | None, order: Order
    ):
        self.metrics, self.order = metrics, order
        self.results = add_row_labels(results)
        if len(results) or reported is None:
            self.results = chosen_results(self.results, metrics)
        names = {metric.name for metric in metrics}
        self.reported = [figure for figure in reported or [] if figure.metric in names]
        self.has_failures = bool(failed_seeds(self.results))
        self.is_published = "p_best" in self.results
        self.shown = set(self.results["metric"])
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
            yield from self._ranks()
        for in_dataset in everything if len(everything) == 1 else measured:
            yield f"## In-distribution: {escape(in_dataset)}"
            first, *others = [
                *filter(None, ("\n\n".join(self._table(in_dataset, metric)) for metric in self.metrics))
            ] or [""]
            yield first
            runs = self.results[self.results["in_dataset"] == in_dataset]
            yield from _folded("Each seed, with its 95 % interval over images", self._seeds(in_dataset))
            yield from _folded("Other metrics", others)
            if len(runs):
                facts = _markdown(run_facts(runs).map(escape), self._marks_of(in_dataset))
                yield from _folded("How these runs were made", [facts, _counts_text(in_dataset, runs)])

    def _ranks(self) -> list[str]:
        """Average ranks by the first metric, where there are enough data sets for them to mean anything."""
        has_results = (self.results["metric"] == self.metrics[0].name).any() if self.metrics else False
        ranks = average_ranks(ranked(self.results, None, self.metrics[0])) if has_results else None
        if ranks is None:
            return []
        ordered = sorted(ranks.average.items(), key=lambda item: item[1])
        listed = ", ".join(f"{escape(row)} {rank:.2f}" for row, rank in ordered)
        by = f"Average ranks by {escape(self.metrics[0].name)} over these {ranks.columns} data sets: {listed}."
        apart = f"two ranks differ if they are {ranks.critical_difference:.2f} apart (Nemenyi, .05)"
        return [f"{by} Friedman's test: p = {ranks.p:.2g}; {apart}."]

    def _seeds(self, in_dataset: str) -> list[str]:
        """The values of each seed, for the first metric; nothing where the cells show all there is to know."""
        import pandas as pd

        if not self.is_published:
            return []
        made = ranked(self.results, in_dataset, self.metrics[0], self.order)
        if not any(len(cell.fits) > 1 for cell in made.cells.values()):
            return []
        texts = {
            _column(*column, in_dataset, made.metric): {
                escape(row): _seeds_text(made.cells[row, column]) if (row, column) in made.cells else "–"
                for row in made.rows
            }
            for column in made.columns
        }
        return [_markdown(pd.DataFrame(texts).rename_axis("detector"), {})]

    def sources(self, computed_by: Mapping[str, str]) -> list[str]:
        """Which packages computed the metrics: ``Computed by oodbench 0.2.0: auroc, aupr_out.``"""
        shown = [metric.name for metric in self.metrics if metric.name in self.shown]
        names: dict[str, list[str]] = {}
        for name in shown:
            if name in computed_by:
                names.setdefault(computed_by[name], []).append(escape(name))
        return [f"Computed by {escape(source)}: {', '.join(each)}." for source, each in names.items()]

    def footnotes(self) -> list[str]:
        origins = dict.fromkeys(figure.origin for figure in self.reported)
        texts = self.notes | {origin: f"reported, not measured here: {origin}" for origin in origins}
        return [f"{self.marks[note]}: {escape(text)}" for note, text in texts.items()]

    def _table(self, in_dataset: str | None, metric: Metric) -> Iterator[str]:
        """One table of one metric under its heading; nothing if there is nothing to show."""
        import pandas as pd

        results = self.results[self.results["metric"].isin([metric.name, ""])]
        results = results if in_dataset is None else results[results["in_dataset"] == in_dataset]
        is_measured = (results["metric"] != "").any()
        parts = [table(results, in_dataset, metric, self.order).rename(index=escape)] if is_measured else []
        figures = [figure for figure in self.reported if figure.metric == metric.name]
        figures = [figure for figure in figures if in_dataset in (None, figure.in_dataset)]
        parts += [_reported_rows(figures, in_dataset, metric, self.marks)] if figures else []
        if parts:
            joined = pd.concat(parts)
            yield f"### {escape(metric.name)} {arrow(metric)}: {escape(metric.summary)}"
            shown = joined[sorted(joined.columns)].fillna("–").rename_axis("detector")
            yield _markdown(shown, self._marks_of(in_dataset))

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


def _folded(summary: str, parts: Sequence[str]) -> Iterator[str]:
    """What not every reader needs: closed until somebody opens it; nothing where there is nothing."""
    if parts:
        yield f"<details>\n<summary>{summary}</summary>"
        yield from parts
        yield "</details>"


def _seeds_text(cell: Cell) -> str:
    """``0: 0.938 (0.917–0.954), 1: …``, by seed."""
    return (
        ", ".join(
            f"{seed}: {value:.3f}" + (f" ({interval_text(interval)})" if interval else "")
            for seed, value, interval in cell.fits
        )
        or "–"
    )


def _counts_text(in_dataset: str, results: pd.DataFrame) -> str:
    n_in, n_out = image_counts(results)
    outs = ", ".join(f"{escape(name)} {count}" for name, count in n_out.items())
    notes = "".join(f" {escape(note)}." for note in image_notes(results))
    return f"Images scored: in {escape(in_dataset)} {n_in}; out {outs}.{notes}"


def _markdown(frame: pd.DataFrame, marks: Mapping[str, str]) -> str:
    """Return the table with a footnote mark behind each row's name that has one; numbers are text already."""
    marked = frame.rename(index={label: label + marks.get(label, "") for label in frame.index})
    return marked.to_markdown(tablefmt="github", disable_numparse=True)
