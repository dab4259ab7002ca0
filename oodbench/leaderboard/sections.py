"""The content of a page in any format: for each in-data set and metric the ranked rows, then what others reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from oodbench.api import Metric
from oodbench.api.full_spectrum import in_full_spectrum
from oodbench.leaderboard.failures import failed_seeds
from oodbench.leaderboard.full_spectrum import covariates
from oodbench.leaderboard.groups import NO_GROUPS, Groups
from oodbench.leaderboard.reported import LiteratureResult
from oodbench.leaderboard.row_labels import add_row_labels
from oodbench.leaderboard.run_facts import fit_facts, run_notes
from oodbench.leaderboard.tables import BY_MEAN, Order, RankedTable, chosen_results, ranked, records, value_text
from oodbench.store.frames import with_plain_texts

if TYPE_CHECKING:
    import pandas as pd

Column = tuple[str, str]
"""(in-data set, out-data set)."""

FACTS_OF = ["in_dataset", "metric"]


@dataclass
class ReportedRow:
    """The figures of one method in one source: column → value and standard deviation, if it has one."""

    name: str
    origin: str
    cells: dict[Column, tuple[float, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One metric on one in-data set, or on all of them where ``in_dataset`` is None."""

    in_dataset: str | None
    table: RankedTable
    reported: Sequence[ReportedRow]
    groups: Mapping[Column, tuple[str, ...]] = field(default_factory=dict)
    """Columns that are means → the out-data sets that each is a mean of."""
    facts: Mapping[str, Mapping[str, tuple[float, float | None]]] = field(default_factory=dict)
    """Row → facts of its fits on the in-data's test split (see ``fit_facts``); empty for all in-data sets together."""

    @cached_property
    def fact_names(self) -> list[str]:
        """The names of facts that any row has, sorted; they are columns after those of the metric."""
        return sorted({name for row in self.table.rows for name in self.facts.get(row, ())})

    def fact_texts(self, row: str) -> list[str]:
        """Return the row's text in each of these columns: ``0.972 ± 0.001``, or a dash."""
        facts = self.facts.get(row, {})
        return [value_text(*facts[name]) if name in facts else "–" for name in self.fact_names]

    def head(self, column: Column) -> str:
        """Return a column's heading, without its in-data set: ``near (mean of 2)``."""
        return f"{column[1]} (mean of {len(self.groups[column])})" if column in self.groups else column[1]

    @property
    def metric(self) -> Metric:
        return self.table.metric

    @cached_property
    def columns(self) -> list[Column]:
        """The groups, then our columns and the reported ones, sorted.

        In a table of several in-data sets, those that have groups show only their groups.
        """
        own = {*self.table.columns, *(column for row in self.reported for column in row.cells)} - {*self.groups}
        grouped = {in_dataset for in_dataset, _ in self.groups}
        shown = {column for column in own if self.in_dataset is not None or column[0] not in grouped}
        return [*self.groups, *sorted(shown)]


class Board:
    """Everything that a page shows, computed from results and from reported figures.

    Args:
        reported: figures of others; if not None, there need be no results.
        groups: of out-data sets, whose means are columns too.

    Raises OODBenchError where there is nothing to show.
    """

    def __init__(
        self,
        results: pd.DataFrame,
        metrics: Sequence[Metric],
        reported: Sequence[LiteratureResult] | None = None,
        order: Order = BY_MEAN,
        groups: Groups = NO_GROUPS,
    ):
        self.metrics, self.order, self.groups = list(metrics), order, groups
        self._sections: dict[str | None, list[Section]] = {}
        self.results = add_row_labels(with_plain_texts(results))
        if len(results) or reported is None:
            self.results = chosen_results(self.results, self.metrics)
        names = {metric.name for metric in metrics}
        self.reported = [figure for figure in reported or [] if figure.metric in names]
        self.is_published = "p_best" in self.results
        self.has_failures = bool(failed_seeds(self.results))
        self.notes = run_notes(self.results)
        self.covariates = covariates(self.results)
        self.origins = list(dict.fromkeys(figure.origin for figure in self.reported))

    @cached_property
    def footnotes(self) -> list[str]:
        """The notes on rows, then the sources of reported figures; each text once."""
        return [*dict.fromkeys(self.notes.values()), *map(_reported_by, self.origins)]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {text: number for number, text in enumerate(self.footnotes, 1)}

    def notes_on(self, label: str, in_dataset: str | None) -> list[int]:
        """Return the numbers, from 1, of the footnotes of a row, on one in-data set or, if None, on all of them."""
        texts = [text for (of_in, of), text in self.notes.items() if of == label and in_dataset in (None, of_in)]
        return [self._numbers[text] for text in dict.fromkeys(texts)]

    def note_on(self, origin: str) -> int:
        """Return the number of the footnote that names the source of reported figures."""
        return self._numbers[_reported_by(origin)]

    @property
    def main(self) -> set[str]:
        """The metrics that a page shows unfolded: the first, and the same in full spectrum."""
        return {name for metric in self.metrics[:1] for name in (metric.name, in_full_spectrum(metric).name)}

    @property
    def measured(self) -> list[str]:
        """The in-data sets that we have results of."""
        return sorted(set(self.results["in_dataset"]))

    @property
    def in_datasets(self) -> list[str]:
        """The in-data sets that we or others have figures of."""
        return sorted({*self.measured, *(figure.in_dataset for figure in self.reported)})

    @property
    def shown(self) -> list[str | None]:
        """The in-data sets that a page has sections of, in order; if there are several, first None for all of them."""
        names = self.in_datasets
        return [*names] if len(names) == 1 else [*([None] if names else []), *self.measured]

    def runs_of(self, in_dataset: str) -> pd.DataFrame:
        """Return the results of the rows that the sections of an in-data set show; none where all runs failed."""
        rows = {label for section in self.sections(in_dataset) for label in section.table.rows}
        results = self.results
        runs = results[(results["in_dataset"] == in_dataset) & results["label"].isin(rows)]
        return runs.iloc[:0] if (runs["metric"] == "").all() else runs

    def sections(self, in_dataset: str | None) -> list[Section]:
        """Return one section for each metric that has something to show."""
        if in_dataset not in self._sections:
            made = [self._section(in_dataset, metric) for metric in self.metrics]
            self._sections[in_dataset] = [section for section in made if section.table.rows or section.reported]
        return self._sections[in_dataset]

    @cached_property
    def _records(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """(in-data set, metric) → the records of its cells, made once; a table of all in-data sets joins them."""
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for record in records(self.results, self.metrics) if len(self.results) else ():
            found.setdefault((record["in_dataset"], record["metric"]), []).append(record)
        return found

    def _cells(self, in_dataset: str | None, metric: Metric) -> list[dict[str, Any]]:
        shown = self.measured if in_dataset is None else [in_dataset]
        return [record for each in shown for record in self._records.get((each, metric.name), [])]

    @cached_property
    def _facts(self) -> Mapping[tuple[str | None, str], Mapping[str, Mapping[str, tuple[float, float | None]]]]:
        """(in-data set, metric) → facts of its rows' fits (see ``fit_facts``), where they are known."""
        if "facts" not in self.results:  # a table that is older than facts
            return {}
        known = self.results[self.results["facts"] != ""]
        return {(str(of_in), str(metric)): fit_facts(runs) for (of_in, metric), runs in known.groupby(FACTS_OF)}

    def _section(self, in_dataset: str | None, metric: Metric) -> Section:
        cells = self._cells(in_dataset, metric)
        table = RankedTable(metric, [], [], {})
        if any(cell["runs"] for cell in cells):
            table = ranked(cells, metric, self.order, self.groups)
        rows: dict[tuple[str, str], ReportedRow] = {}
        for figure in self.reported:
            if figure.metric == metric.name and in_dataset in (None, figure.in_dataset):
                row = rows.setdefault((figure.row, figure.origin), ReportedRow(figure.row, figure.origin))
                row.cells[figure.in_dataset, figure.out_dataset] = figure.value, figure.sd
        means = {column: members for row in rows.values() for column, members in self._add_means(row).items()}
        found = {**means, **table.groups}
        order = sorted(found, key=lambda column: (column[0], [*self.groups].index(column[1])))
        groups, facts = {column: found[column] for column in order}, self._facts.get((in_dataset, metric.name), {})
        return Section(in_dataset, table, [*rows.values()], groups, facts)

    def _add_means(self, row: ReportedRow) -> dict[Column, tuple[str, ...]]:
        """Add to a reported row the mean of each group of which it has all figures, but no mean; return its groups."""
        found = {}
        for in_dataset in dict.fromkeys(column[0] for column in row.cells):
            for name, members in self.groups.items():
                values = [row.cells[in_dataset, each][0] for each in members if (in_dataset, each) in row.cells]
                if len(values) == len(members):
                    row.cells.setdefault((in_dataset, name), (sum(values) / len(values), None))
                if (in_dataset, name) in row.cells:
                    found[in_dataset, name] = members
        return found


def _reported_by(origin: str) -> str:
    return f"reported, not measured here: {origin}"
