"""The publication of a suite: its results, the scores behind them, and facts of its metrics; and merging two of them.

A publication is made from a store, read from a suite's folder, or read from a submitted entry. Merging adds or replaces
exactly the runs of the newer one, and keeps all others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oodbench.api import Metric, Scores
from oodbench.api.full_spectrum import PREFIX, with_full_spectrum
from oodbench.errors import OODBenchError
from oodbench.leaderboard.full_spectrum import covariate_places
from oodbench.leaderboard.published import MetricFacts, load_results, results_file
from oodbench.leaderboard.row_choice import all_rows_of
from oodbench.leaderboard.row_labels import CONFIGURATION, add_row_labels, configurations
from oodbench.leaderboard.score_file import ImageScores, ScoreTable, in_scores, load_scores, scores_file
from oodbench.leaderboard.uncertainty import Advance, Uncertainty
from oodbench.runs.evaluation import metric_value
from oodbench.store.schema import PUBLISHED_COLUMNS, RUN_COLUMNS
from oodbench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.plugin.registry import Registry

OLDER = "older"
ROW_ORDER = ["in_dataset", "detector", "run", "out_dataset", "metric"]
"""Rows are sorted so that files and labels do not depend on the order in which runs were added."""
TABLE = ["in_dataset", "metric"]
"""What all rows of one table have in common."""
RESULTS, SCORES, PAGE = "results.parquet", "scores.parquet", "README.md"


@dataclass(frozen=True)
class Publication:
    """Results (rows as in ``published.PublishedResults``), scores by run and data set, and metrics by name.

    Runs without scores were published by a version that did not publish scores: they cannot be verified.
    """

    results: pd.DataFrame
    scores: ScoreTable = field(default_factory=dict)
    metrics: Mapping[str, MetricFacts] = field(default_factory=dict)

    def keep(self, runs: Iterable[str]) -> Publication:
        """Return the publication with these runs only."""
        kept = set(runs)
        scores = {place: part for place, part in self.scores.items() if place[0] in kept}
        results = self.results[self.results["run"].isin(kept)].reset_index(drop=True)
        return Publication(results, scores, self.metrics)

    def files(self) -> dict[str, bytes]:
        """Return file name → content, of results and of scores."""
        named = [facts for name, facts in self.metrics.items() if name in set(self.results["metric"])]
        return {RESULTS: results_file(self.results, named), SCORES: scores_file(self.scores)}


def read_publication(folder: Path) -> Publication:
    """Return the publication in a suite's folder. Raises OODBenchError where there is none, or it is damaged."""
    return read_files(folder / RESULTS)


def read_files(results: Path) -> Publication:
    """Return the published results in this file, with the scores in the file beside it, if there is one."""
    published, beside = load_results(results), results.with_name(SCORES)
    scores = load_scores(beside) if os.path.lexists(beside) else {}
    return Publication(published.rows, scores, published.metrics)


def from_store(results: pd.DataFrame, store: Store, registry: Registry) -> Publication:
    """Return these results of a store with their scores.

    Raises OODBenchError where a value does not follow from its scores: another version of the metric computed it.
    """
    scores: ScoreTable = {}
    done = results[results["metric"] != ""]
    for run, in_dataset in done[["run", "in_dataset"]].drop_duplicates().itertuples(index=False, name=None):
        scores[run, in_dataset] = _image_scores(run, store.read_scores(run, None))
    for run, out_dataset in done[["run", "out_dataset"]].drop_duplicates().itertuples(index=False, name=None):
        scores[run, out_dataset] = _image_scores(run, store.read_scores(run, out_dataset))
    for run, name in sorted(covariate_places(done)):
        scores[run, name] = _image_scores(run, store.read_scores(run, name))
    metrics = with_full_spectrum(registry.metrics, set(done["metric"]))
    publication = Publication(results, scores, {name: facts_of(metrics[name], registry) for name in metrics})
    for difference in differing_values(publication, metrics):
        raise OODBenchError(f"{difference}; `oodbench evaluate` computes it again")
    return publication


def _image_scores(run: str, scores: Scores) -> ImageScores:
    return ImageScores(run, scores.dataset, scores.split, scores.indices, scores.labels, scores.values)


def facts_of(metric: Metric, registry: Registry) -> MetricFacts:
    """Return the facts that a page shows of an installed metric, or of its full-spectrum version."""
    source = registry.source("metric", metric.name.removeprefix(PREFIX))
    return MetricFacts(
        name=metric.name,
        summary=metric.summary,
        higher_is_better=metric.higher_is_better,
        bounds=metric.bounds,
        source=f"{source.distribution or 'a local module'} {source.code_version}",
    )


def shown_metrics(found: Publication, installed: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the installed metrics, those in full spectrum that have results, and those of other packages.

    If a package is not installed here, the facts of its metrics come from the publication.
    """
    known = with_full_spectrum(installed, set(found.results["metric"]))
    return {**known, **{name: each.metric() for name, each in found.metrics.items() if name not in known}}


def differing_values(publication: Publication, metrics: Mapping[str, Metric]) -> Iterable[str]:
    """Yield a line for each result that does not follow from its scores.

    Values are compared to 12 digits: the order in which a processor adds may change the last ones.
    """
    results = publication.results
    columns = ["run", "in_dataset", "out_dataset", "covariate", "metric", "value", "n_in", "n_out"]
    for run, in_dataset, out_dataset, covariate, *stated in results[columns].itertuples(index=False, name=None):
        inside = in_scores(publication.scores, run, in_dataset, covariate)
        outside = publication.scores.get((run, out_dataset))
        metric, value, n_in, n_out = stated
        if metric not in metrics or inside is None or outside is None:
            continue
        where = f"{run} on {out_dataset}"
        counts = len(inside.values), len(outside.values)
        if counts != (n_in, n_out):
            yield f"{where}: it has {counts[0]:,} and {counts[1]:,} scores for {n_in:,} in- and {n_out:,} out-images"
            continue
        found = metric_value(metrics[metric], where, inside.values, outside.values)
        if not abs(found - value) <= 1e-12 * max(1.0, abs(value)):
            yield f"{where}: {metric} is {value!r}, and its scores give {found!r}"


# ---------------------------------------------------------------------------------------- merging


@dataclass(frozen=True)
class Merge:
    """The outcome of a merge: the runs by what was done to them. ``older`` are kept ones that have a newer version.

    ``lost`` are results, as (run, out-data set), of replaced runs, which the new ones do not have: they were of another
    fit, or to be dropped.
    ``uncomputed`` are metrics whose code is not installed: new results have no interval of them, and none has a test.
    """

    publication: Publication
    added: Sequence[str]
    replaced: Sequence[str]
    kept: Sequence[str]
    dropped: Sequence[str]
    older: Sequence[str]
    lost: Sequence[tuple[str, str]] = ()
    uncomputed: Sequence[str] = ()


def merge(old: Publication, new: Publication, drop: Iterable[str] = ()) -> Merge:
    """Return the old publication with every run of the new one added, or in place of the old run of the same key.

    Results that only the replaced run has, such as on other out-data sets, are kept if both are of the same fit.

    Args:
        drop: runs of the old one to leave out: labels, detectors, keys or their prefixes; ``older`` for those of which
            the new one has the same detector, preset, in-data, seed and precision from other code or with other
            parameters.

    Raises OODBenchError where a name in ``drop`` matches nothing.
    """
    import pandas as pd

    old = Publication(old.results[~_is_resolved(old.results, new.results)], old.scores, old.metrics)
    there, coming = _runs(old.results), _runs(new.results)
    others = old.results[~old.results["run"].isin(coming)]
    older = _older(others, new.results)
    named = {run for name in drop for run in (older if name == OLDER else named_runs(name, old))}
    kept = [run for run in there if run not in named and run not in set(coming)]
    before = old.keep({*old.results["run"]} - named - {*new.results["run"]})
    more, lost = _more_of_the_same(old.keep({*there} & {*coming} - named), new)
    added = new.results.drop(columns=[*PUBLISHED_COLUMNS], errors="ignore")  # they depend on the whole table
    parts = [part for part in (before.results, more.results, added) if len(part)]
    results = pd.concat(parts, ignore_index=True) if parts else added
    results = results.reindex(columns=[*dict.fromkeys([*results.columns, *PUBLISHED_COLUMNS])])
    results = _without_old_tests(results.sort_values(ROW_ORDER, ignore_index=True), others)
    scores = {**before.scores, **more.scores, **new.scores}
    merged = Publication(results, scores, {**before.metrics, **new.metrics})
    lost += _lost(old.keep({*there} & {*coming} & named), new)
    return Merge(
        merged,
        [run for run in coming if run not in there],
        [run for run in coming if run in there],
        kept,
        sorted(named - set(coming)),
        [run for run in older if run in kept],
        lost,
    )


def _runs(results: pd.DataFrame) -> list[str]:
    """Return the runs that have results."""
    return list(dict.fromkeys(results["run"][results["metric"] != ""]))


def _is_resolved(old: pd.DataFrame, new: pd.DataFrame) -> np.ndarray:
    """Return which old rows are failures that rows of the new publication replace: (n,) bool."""
    seed = [*CONFIGURATION, "seed"]
    is_whole = (old["out_dataset"] == "").to_numpy()
    is_there = np.where(is_whole, _is_in(old, new, seed), _is_in(old, new, [*seed, "out_dataset"]))
    return (old["metric"] == "").to_numpy() & is_there


def _more_of_the_same(old: Publication, new: Publication) -> tuple[Publication, list[tuple[str, str]]]:
    """Return the old results of incoming runs that the new publication lacks: those to keep, and those that are lost.

    A result is kept if both runs are of the same fit, and gave the in-data the same scores.
    """
    columns = ["run", "out_dataset", "metric"]
    coming = {*new.results[columns].itertuples(index=False, name=None)}
    is_more = [place not in coming for place in old.results[columns].itertuples(index=False, name=None)]
    rows = old.results[np.array(is_more, dtype=bool)]
    facts = new.results.drop_duplicates("run").set_index("run")[[*RUN_COLUMNS]]
    fits = dict(zip(old.results["run"], old.results["fit_id"], strict=True))
    is_same = {
        run: fits[run] == facts["fit_id"][run] and _have_same_scores(old, new, run, in_dataset)
        for run, in_dataset in rows[["run", "in_dataset"]].drop_duplicates().itertuples(index=False, name=None)
    }
    stays = np.array([is_same[run] for run in rows["run"]], dtype=bool)
    stay = rows[stays].assign(**{name: rows["run"][stays].map(facts[name]) for name in RUN_COLUMNS})
    places = {*stay[["run", "out_dataset"]].itertuples(index=False, name=None), *covariate_places(stay)}
    kept = Publication(stay, {place: old.scores[place] for place in places if place in old.scores})
    return kept, _lost(Publication(rows[~stays], {}), new)


def _lost(old: Publication, new: Publication) -> list[tuple[str, str]]:
    """Return the (run, out-data set) pairs with results in the old publication and none in the new one."""
    before, now = ({*zip(each.results["run"], each.results["out_dataset"], strict=True)} for each in (old, new))
    return sorted(before - now)


def _have_same_scores(old: Publication, new: Publication, run: str, in_dataset: str) -> bool:
    before, now = old.scores.get((run, in_dataset)), new.scores.get((run, in_dataset))
    return before is not None and now is not None and np.array_equal(before.values, now.values)


def _without_old_tests(results: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """Return the results without p where the rows of the table have changed; a table is one metric on one in-data set.

    Args:
        kept: the rows of the old publication that no newer ones replace.
    """
    now, then = (
        {table: {*zip(rows["run"], rows["out_dataset"], strict=True)} for table, rows in each.groupby(TABLE)}
        for each in (results, kept)
    )
    tables = results[TABLE].itertuples(index=False, name=None)
    is_changed = np.array([now[table] != then.get(table) for table in tables], dtype=bool)
    return results.assign(p_best=results["p_best"].mask(is_changed))


def _older(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """Return runs that have a newer one of the same detector, preset, in-data, seed and precision."""
    rows = old.drop_duplicates("run")
    is_older = _is_in(rows, new, ["detector", "preset", "in_dataset", "seed", "precision"])
    return rows["run"][is_older].tolist()


def _is_in(rows: pd.DataFrame, others: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return which rows have the same values in these columns as one of the others: (n,) bool."""
    known = {*configurations(others, columns)}
    return np.array([row in known for row in configurations(rows, columns)], dtype=bool)


def named_runs(name: str, publication: Publication) -> set[str]:
    """Return the runs that match a name (see ``row_choice.all_rows_of``)."""
    return set(all_rows_of(add_row_labels(publication.results), name)["run"])


def with_uncertainty(
    publication: Publication, metrics: Mapping[str, Metric], advance: Advance = lambda done, total: None
) -> Publication:
    """Return the publication with intervals and tests, computed from its scores (see ``uncertainty``)."""
    named = set(publication.results["metric"])
    installed = {name: metric for name, metric in with_full_spectrum(metrics, named).items() if name in named}
    results = Uncertainty(publication.results, publication.scores, installed, advance).add()
    return Publication(results, publication.scores, publication.metrics)
