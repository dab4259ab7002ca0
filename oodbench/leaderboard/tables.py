"""Step 5: results → ranked tables → Markdown.

Results are rows as ``storage`` reads them. Values are shown as they are: an AUROC below 0.5 is a finding. Figures that
others reported stand below ours, in italics, with their source: they are not ranked, and never the best of a column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.api import SCORE_CONVENTION, Metric
from oodbench.errors import OODBenchError
from oodbench.leaderboard.reported import LiteratureResult
from oodbench.leaderboard.row_labels import add_row_labels

if TYPE_CHECKING:
    import pandas as pd

HOW_TO_READ = (
    "A cell is the mean over seeds ± the sample standard deviation; with one seed, its value. Rows are ranked by their "
    "mean, those that lack a cell last. The best of each column is bold."
)
REPORTED = (
    "Rows in italics are *reported*: others published them, they were not measured here, and they are not ranked."
)


def records(results: pd.DataFrame, metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """One dict per detector, in-data set, out-data set and metric, over its seeds; all of it fit for JSON.

    ``label`` tells apart the parameters that one detector was run with; ``sd`` (ddof 1) is None for one seed.
    Raises OODBenchError, saying which command makes some, where there are no results.
    """
    metrics = list(metrics)
    chosen = _chosen(add_row_labels(results), metrics)
    groups = dict(list(chosen.groupby(["in_dataset", "out_dataset", "label", "metric"])))
    triples = sorted({key[:3] for key in groups})
    return [
        _record(groups[*triple, metric.name], metric)
        for triple in triples
        for metric in metrics
        if (*triple, metric.name) in groups
    ]


def table(results: pd.DataFrame, in_dataset: str | None, metric: Metric) -> pd.DataFrame:
    """Detectors (rows, best first) by out-data sets, cells as Markdown text: ``**0.957 ± 0.003**``.

    Where ``in_dataset`` is None, a column is an out-data set with its in-data set.
    """
    import pandas as pd

    chosen = results if in_dataset is None else results[results["in_dataset"] == in_dataset]
    cells = pd.DataFrame(records(chosen, [metric]))
    cells["text"] = [value_text(mean, sd) for mean, sd in zip(cells["mean"], cells["sd"], strict=True)]
    cells["column"] = [
        _column(of_in, out, in_dataset, metric)
        for of_in, out in zip(cells["in_dataset"], cells["out_dataset"], strict=True)
    ]
    means = cells.pivot(index="label", columns="column", values="mean")
    texts = cells.pivot(index="label", columns="column", values="text")
    shown = means.round(3)
    best = shown.max() if metric.higher_is_better else shown.min()
    texts = texts.mask(shown == best, "**" + texts + "**").fillna("–").rename_axis(columns=None)
    return texts.loc[_ranked(means, metric)].rename_axis("detector")


def summary(results: pd.DataFrame, metrics: Iterable[Metric]) -> str:
    """In-data set, out-data set and detector (rows) by metrics, as plain text for the terminal."""
    import pandas as pd

    metrics = list(metrics)
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for record in records(results, metrics):
        seeds = ", ".join(map(str, record["seeds"]))
        row = rows.setdefault((record["in_dataset"], record["out_dataset"], record["label"], seeds), {})
        row[record["metric"]] = value_text(record["mean"], record["sd"])
    named = [dict(zip(("in", "out", "detector", "seeds"), names, strict=True)) | row for names, row in rows.items()]
    arrows = {metric.name: f"{metric.name} {_arrow(metric)}" for metric in metrics}
    frame = pd.DataFrame(named).rename(columns=arrows).fillna("–")
    return frame.to_markdown(tablefmt="simple", index=False, disable_numparse=True)


def render(
    results: pd.DataFrame,
    metrics: Iterable[Metric],
    title: str = "",
    reported: Sequence[LiteratureResult] | None = None,
    introduction: str = "",
) -> str:
    """A Markdown page: for each in-data set a table a metric, then how the runs were made, with notes as footnotes.

    Of several in-data sets, a table of them all comes first. Where ``reported`` is not None, there need be no results:
    the page then shows what it has. ``introduction`` is Markdown that stands below the title.
    """
    page = _Page(results, list(metrics), reported)
    parts = [f"# {title or 'Leaderboard'}", introduction, HOW_TO_READ, REPORTED if page.reported else ""]
    return "\n\n".join(filter(None, [*parts, *page.tables(), *page.footnotes()])) + "\n"


class _Page:
    """What a page is made from: results with labels, reported figures, and the footnotes of both."""

    def __init__(self, results: pd.DataFrame, metrics: list[Metric], reported: Sequence[LiteratureResult] | None):
        self.metrics = metrics
        self.results = add_row_labels(results)
        if len(results) or reported is None:
            self.results = _chosen(self.results, metrics)
        names = {metric.name for metric in metrics}
        self.reported = [figure for figure in reported or [] if figure.metric in names]
        self.notes = _notes(self.results)
        notes = [*self.notes, *dict.fromkeys(figure.origin for figure in self.reported)]
        self.marks: dict[Any, str] = {note: f"[^{number}]" for number, note in enumerate(notes, 1)}

    def tables(self) -> Iterator[str]:
        """All between the page's head and its footnotes."""
        measured = sorted(set(self.results["in_dataset"]))
        everything = sorted({*measured, *(figure.in_dataset for figure in self.reported)})
        if len(everything) > 1:
            yield "## All in-distribution data sets"
            told = {figure.metric for figure in self.reported}
            for metric in self.metrics:
                if metric is self.metrics[0] or metric.name in told:
                    yield from self._table(None, metric)
        for in_dataset in everything if len(everything) == 1 else measured:
            yield f"## In-distribution: {in_dataset}"
            for metric in self.metrics:
                yield from self._table(in_dataset, metric)
            runs = self.results[self.results["in_dataset"] == in_dataset]
            if len(runs):
                yield "### How these runs were made"
                yield _markdown(_facts(runs), self._marks_of(in_dataset))
                yield _image_counts(in_dataset, runs)

    def footnotes(self) -> list[str]:
        origins = dict.fromkeys(figure.origin for figure in self.reported)
        texts = self.notes | {origin: f"reported, not measured here: {origin}" for origin in origins}
        return [f"{self.marks[note]}: {text}" for note, text in texts.items()]

    def _table(self, in_dataset: str | None, metric: Metric) -> Iterator[str]:
        """One table of one metric under its heading; nothing if there is nothing to show."""
        import pandas as pd

        results = self.results[self.results["metric"] == metric.name]
        results = results if in_dataset is None else results[results["in_dataset"] == in_dataset]
        parts = [table(results, in_dataset, metric)] if len(results) else []
        figures = [figure for figure in self.reported if figure.metric == metric.name]
        figures = [figure for figure in figures if in_dataset in (None, figure.in_dataset)]
        parts += [_reported_rows(figures, in_dataset, metric, self.marks)] if figures else []
        if parts:
            joined = pd.concat(parts)
            yield f"### {metric.name} {_arrow(metric)}: {metric.summary}"
            shown = joined[sorted(joined.columns)].fillna("–").rename_axis("detector")
            yield _markdown(shown, self._marks_of(in_dataset))
            yield SCORE_CONVENTION

    def _marks_of(self, in_dataset: str | None) -> dict[str, str]:
        """Label → the marks of its notes on this in-data set, or on all."""
        marks: dict[str, str] = {}
        for of_in, label in self.notes:
            if in_dataset in (None, of_in):
                marks[label] = marks.get(label, "") + self.marks[of_in, label]
        return marks


# --------------------------------------------------------------------------------------- cells


def _chosen(results: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    if results.empty:
        raise OODBenchError("there are no results yet; `oodbench run --detector … --in … --out …` makes some")
    chosen = results[results["metric"].isin([metric.name for metric in metrics])]
    if chosen.empty:
        names = ", ".join(metric.name for metric in metrics) or "no metric"
        raise OODBenchError(f"there are no results of {names} yet; `oodbench evaluate` makes them from stored scores")
    return chosen


def _record(group: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    """The rows of one cell, one a seed."""
    group = group.sort_values("seed")
    first = group.iloc[0]
    if len(set(group.get("out_images", [])) - {""}) > 1:
        raise OODBenchError(
            f"{first['label']} has scores of different images of {first['out_dataset']} for its seeds "
            f"{', '.join(map(str, group['seed']))}: `oodbench run` with all of them scores those that are there now"
        )
    facts = {name: first[name] for name in ("detector", "label", "preset", "precision", "plugin_version")}
    return {
        **facts,
        "params": json.loads(first["params"]),
        "in_dataset": first["in_dataset"],
        "out_dataset": first["out_dataset"],
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "mean": float(group["value"].mean()),
        "sd": float(group["value"].std(ddof=1)) if len(group) > 1 else None,
        "values": group["value"].tolist(),
        "seeds": group["seed"].tolist(),
        "runs": group["run"].tolist(),
        "n_train": int(first["n_train"]),
        "n_in": int(first["n_in"]),
        "n_out": int(first["n_out"]),
        "notes": sorted({note for note in group["notes"] if note}),
    }


def value_text(mean: float, sd: float | None) -> str:
    """``0.957 ± 0.003``; ``sd`` is None, or NaN where pandas made it so, for one seed."""
    return f"{mean:.3f}" if sd is None or sd != sd else f"{mean:.3f} ± {sd:.3f}"


def _column(in_dataset: str, out_dataset: str, shown_in: str | None, metric: Metric) -> str:
    """The head of a column; it says the in-data set where the table does not."""
    name = out_dataset if shown_in is not None else f"{out_dataset} (in {in_dataset})"
    return f"{name} {_arrow(metric)}"


def _reported_rows(
    figures: Sequence[LiteratureResult], shown_in: str | None, metric: Metric, marks: Mapping[Any, str]
) -> pd.DataFrame:
    """Reported figures as rows of a table, in the order they came, in italics and with the mark of their source."""
    import pandas as pd

    rows: dict[str, dict[str, str]] = {}
    for figure in figures:
        row = rows.setdefault(f"*{figure.row} (reported)*{marks[figure.origin]}", {})
        row[_column(figure.in_dataset, figure.out_dataset, shown_in, metric)] = (
            f"*{value_text(figure.value, figure.sd)}*"
        )
    return pd.DataFrame.from_dict(rows, orient="index")


def _arrow(metric: Metric) -> str:
    return "↑" if metric.higher_is_better else "↓"


def _ranked(means: pd.DataFrame, metric: Metric) -> pd.Index:
    """The rows, best mean first; a row that lacks a cell comes after those that have all."""
    import pandas as pd

    sign = -1 if metric.higher_is_better else 1
    order = pd.DataFrame({"missing": means.isna().sum(axis=1), "mean": sign * means.mean(axis=1)})
    return order.sort_values(["missing", "mean"], kind="stable").index


# ------------------------------------------------------------------------- below the tables


def _facts(results: pd.DataFrame) -> pd.DataFrame:
    """How the runs of one in-data set were made, one row a label."""
    import pandas as pd

    rows = {label: _fact(runs.drop_duplicates("run")) for label, runs in results.groupby("label")}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def _fact(runs: pd.DataFrame) -> dict[str, str]:
    return {
        "preset": _each(runs["preset"]),
        "precision": _each(runs["precision"]),
        "plugin version": _each(runs["plugin_version"]),
        "seeds": ", ".join(map(str, sorted(runs["seed"]))),
        "training images": _counts(runs["n_train"]),
        "parameters": _counts(runs["parameters"]),
        "fit seconds": f"{runs['fit_seconds'].mean():,.1f}",
        "device": _each(runs["device"]),
    }


def _image_counts(in_dataset: str, results: pd.DataFrame) -> str:
    outs = [f"{out} {_counts(rows['n_out'])}" for out, rows in results.groupby("out_dataset")]
    return f"Images scored: in {in_dataset} {_counts(results['n_in'])}; out {', '.join(outs)}."


def _notes(results: pd.DataFrame) -> dict[tuple[str, str], str]:
    """For each in-data set and label that has notes: the notes, each with the seeds it is about."""
    texts = {}
    noted = results[results["notes"] != ""].drop_duplicates("run")
    for (in_dataset, label), runs in noted.groupby(["in_dataset", "label"]):
        each = [f"{text} (seed {', '.join(map(str, sorted(of['seed'])))})" for text, of in runs.groupby("notes")]
        texts[str(in_dataset), str(label)] = f"{label} on {in_dataset}: {'; '.join(each)}"
    return texts


def _each(values: pd.Series) -> str:
    return ", ".join(sorted(set(values)))


def _counts(values: pd.Series) -> str:
    return " or ".join(f"{value:,}" for value in sorted(set(values)))


def _markdown(frame: pd.DataFrame, marks: Mapping[str, str]) -> str:
    """With a footnote mark behind each row's name that has one. Numbers are text already and are left as they are."""
    marked = frame.rename(index={label: label + marks.get(label, "") for label in frame.index})
    return marked.to_markdown(tablefmt="github", disable_numparse=True)
