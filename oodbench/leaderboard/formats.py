"""The page of a suite in each format, and the choice of the part that is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oodbench.api import Metric
from oodbench.errors import UnknownName
from oodbench.leaderboard import markdown, page_csv, page_html, page_latex
from oodbench.leaderboard.publication import Publication
from oodbench.leaderboard.row_labels import add_row_labels
from oodbench.leaderboard.sections import Board
from oodbench.leaderboard.suites import Suite, introduction
from oodbench.leaderboard.tables import Order
from oodbench.plan.suite_files import MEAN

EXTENSIONS = {".md": "markdown", ".html": "html", ".htm": "html", ".tex": "latex", ".csv": "csv"}

BY_SUITE = Order("")


@dataclass(frozen=True)
class Page:
    """The input of a page.

    Args:
        metrics: those to show, the main one first.
        order: an empty ``sort`` stands for the column that the suite ranks by.
        are_named: whether the user requested these metrics; if not, a LaTeX page shows only ``Board.main``.
    """

    suite: Suite
    published: Publication
    metrics: Sequence[Metric]
    are_named: bool = False
    title: str = ""
    order: Order = BY_SUITE

    @property
    def heading(self) -> str:
        return self.title or self.suite.title

    @property
    def sources(self) -> Mapping[str, str]:
        """Metric → the package, with version, that computed it."""
        return {name: facts.source for name, facts in self.published.metrics.items()}

    def board(self, metrics: Sequence[Metric]) -> Board:
        order = replace(self.order, sort=self.order.sort or self.suite.rank)
        return Board(self.published.results, metrics, self.suite.reported, order, self.suite.groups)


def format_of(output: Path | None) -> str:
    """Return the format that a file's suffix names; Markdown where it names none."""
    return EXTENSIONS.get(output.suffix.lower(), "markdown") if output else "markdown"


def write(page: Page, format_name: str) -> str:
    """Return the page in this format, one of WRITERS. Raises OODBenchError where there is nothing to show."""
    columns = {*page.published.results["out_dataset"], *(each.out_dataset for each in page.suite.reported or ())} - {""}
    columns |= {MEAN, *page.suite.groups}
    if page.order.sort not in {"", *columns}:
        raise UnknownName("column", page.order.sort, columns)
    return WRITERS[format_name](page)


def only_groups(suite: Suite, published: Publication, names: Sequence[str]) -> tuple[Suite, Publication]:
    """Return both with the out-data sets of these groups only; unchanged where no group is named.

    Raises OODBenchError for a group that the suite does not have.
    """
    if not names:
        return suite, published
    for name in names:
        if name not in suite.groups:
            raise UnknownName("group of the suite", name, suite.groups)
    groups = {name: suite.groups[name] for name in suite.groups if name in names}
    outs = {"", *(out for members in groups.values() for out in members)}
    results = add_row_labels(published.results)
    results = results[results["out_dataset"].isin(outs)].reset_index(drop=True)
    figures = None if suite.reported is None else [each for each in suite.reported if each.out_dataset in outs]
    rank = suite.rank if suite.rank in {*groups, *outs} else MEAN
    chosen = replace(suite, reported=figures, groups=groups, rank=rank)
    return chosen, replace(published, results=results)


def only(suite: Suite, published: Publication, in_datasets: Sequence[str]) -> tuple[Suite, Publication]:
    """Return both with these in-data sets only; unchanged where none is named.

    Raises OODBenchError for an in-data set that neither has.
    """
    if not in_datasets:
        return suite, published
    reported = suite.reported or ()
    known = {*published.results["in_dataset"], *(figure.in_dataset for figure in reported)}
    for name in in_datasets:
        if name not in known:
            raise UnknownName("in-data set of these results", name, known)
    results = add_row_labels(published.results)
    results = results[results["in_dataset"].isin(in_datasets)].reset_index(drop=True)
    figures = None if suite.reported is None else [each for each in reported if each.in_dataset in in_datasets]
    return replace(suite, reported=figures), replace(published, results=results)


def _markdown(page: Page) -> str:
    opening = introduction(page.suite, page.published.results)
    return markdown.render(page.board(page.metrics), page.heading, opening, page.sources)


def _html(page: Page) -> str:
    opening = introduction(page.suite, page.published.results)
    return page_html.render(page.board(page.metrics), page.heading, opening, page.sources, page.published.scores)


def _latex(page: Page) -> str:
    board = page.board(page.metrics)
    if not page.are_named:
        board = page.board([metric for metric in page.metrics if metric.name in board.main])
    return page_latex.render(board, page.heading)


def _csv(page: Page) -> str:
    return page_csv.render(page.board(page.metrics))


WRITERS: Mapping[str, Callable[[Page], str]] = {"markdown": _markdown, "html": _html, "latex": _latex, "csv": _csv}
