"""Checks of an entry before it goes into a suite: is anything wrong, not part of the suite, or already published?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from oodbench.api.full_spectrum import covariate_sets, with_full_spectrum
from oodbench.leaderboard.failures import is_failure
from oodbench.leaderboard.publication import Publication
from oodbench.leaderboard.row_labels import add_row_labels
from oodbench.leaderboard.uncertainty import same_images
from oodbench.leaderboard.verification import Verification

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.leaderboard.suites import Suite
    from oodbench.plugin.registry import Registry

CELL = ["label", "in_dataset", "out_dataset"]


def faults(
    suite: Suite, old: Publication, new: Publication, registry: Registry, checked: Verification
) -> Iterator[str]:
    """Yield reasons to refuse an entry.

    Args:
        old: the published runs that stay.
        new: the entry.
        checked: the verification of the entry by itself.
    """
    rows = new.results[~is_failure(new.results)]
    yield from _failures_alone(new.results[is_failure(new.results)], rows)
    yield from _foreign(suite, rows)
    for run in rows["run"][(rows["in_images"] == "") | (rows["out_images"] == "")]:
        yield f"{run} does not say which images it is of; `oodbench run` with this version makes one that does"
    for run in sorted(set(rows["run"]) & set(old.results["run"])):
        yield f"{run} is published already; --drop {run} replaces it with the entry's"
    for name in sorted({*rows["metric"]} - with_full_spectrum(registry.metrics, {*rows["metric"]}).keys()):
        source = new.metrics[name].source if name in new.metrics else "a package"
        yield f"its metric {name} is of {source}, which is not installed here, so its values cannot be checked"
    for run in checked.unverified:
        yield f"{run} has results without scores"
    yield from checked.differences
    yield from _other_images(old, new)
    yield from _missing_metrics(rows, registry)
    yield from _missing_seeds(suite, old.results, new.results)


def _failures_alone(failures: pd.DataFrame, rows: pd.DataFrame) -> Iterator[str]:
    """Yield failures on data sets that have no results."""
    if rows.empty:
        yield "it has failed runs, or no results at all"
    there = {"", *rows["in_dataset"], *rows["out_dataset"], *(name for name, _ in _shifted_images(rows))}
    for name in [*failures["in_dataset"], *failures["out_dataset"]]:
        if name not in there:
            yield f"it has failures on {name}, and no results"


def _foreign(suite: Suite, rows: pd.DataFrame) -> Iterator[str]:
    """Yield what is not part of the suite: data sets, pairs of them, and covariate-shifted sets."""
    foreign = rows[~rows["in_dataset"].isin(suite.named("in_datasets"))]
    foreign_out = rows[~rows["out_dataset"].isin(suite.named("out_datasets"))]
    for name in [*foreign["in_dataset"], *foreign_out["out_dataset"]]:
        yield f"the suite has no data set {name}"
    pairs = {pair for each in suite.requests for pair in product(each.in_datasets, each.out_datasets)}
    for in_dataset, out_dataset in rows[["in_dataset", "out_dataset"]].drop_duplicates().itertuples(index=False):
        if in_dataset == out_dataset or (in_dataset, out_dataset) not in pairs:
            yield f"{out_dataset} is no out-data of {in_dataset} in the suite"
    for in_dataset, covariate in rows[["in_dataset", "covariate"]].drop_duplicates().itertuples(index=False, name=None):
        names = {*covariate_sets(covariate)}
        if names and names not in [{*each.covariates} for each in suite.requests if in_dataset in each.in_datasets]:
            yield f"the suite has no full spectrum of {in_dataset} with {', '.join(sorted(names))}"


def _missing_metrics(rows: pd.DataFrame, registry: Registry) -> Iterator[str]:
    """Yield the metrics of oodbench itself that a run has no result of: the submitter has left them out."""
    core = {name for name in registry.metrics if not registry.metric_version(name)}
    for (run, out_dataset), cell in rows[rows["covariate"] == ""].groupby(["run", "out_dataset"]):
        for metric in sorted(core - {*cell["metric"]}):
            yield f"{run} on {out_dataset}: it has scores and no {metric}"


def _missing_seeds(suite: Suite, old: pd.DataFrame, new: pd.DataFrame) -> Iterator[str]:
    """Yield the suite's seeds for which a row of the entry has neither a result nor a failure.

    A row that leaves out a seed would look complete. Published results of the row count, too.
    """
    import pandas

    both = add_row_labels(pandas.concat([old, new], ignore_index=True) if len(old) else new)
    coming = both[(both["run"].isin(new["run"])) & ~is_failure(both)]
    for label, in_dataset, out_dataset in coming[CELL].drop_duplicates().itertuples(index=False, name=None):
        of_row = both[(both["label"] == label) & (both["in_dataset"] == in_dataset)]
        is_there = (of_row["out_dataset"] == out_dataset) | (of_row["out_dataset"] == "")
        seeds = _seeds(suite, str(of_row["detector"].iloc[0]), in_dataset, out_dataset)
        for seed in sorted(seeds - {*of_row["seed"][is_there]}):
            yield f"{label} on {in_dataset} lacks seed {seed} on {out_dataset}, which the suite names: bundle it, too"


def _seeds(suite: Suite, detector: str, in_dataset: str, out_dataset: str) -> set[int]:
    """Return the seeds that the suite names for a cell; the smallest set, where several requests name it.

    A detector that the suite does not name needs the same seeds as those that it names.
    """
    places = [each for each in suite.requests if in_dataset in each.in_datasets and out_dataset in each.out_datasets]
    named = [each for each in places if detector in each.detectors]
    return min(({*each.seeds} for each in named or places), key=len, default=set())


def _other_images(old: Publication, new: Publication) -> Iterator[str]:
    """Yield data sets of which the entry has other images than the published runs."""
    for column, kind in (("in_dataset", "in_images"), ("out_dataset", "out_images")):
        known = {str(name): set(rows[kind]) - {""} for name, rows in old.results.groupby(column)}
        for name, images in new.results[[column, kind]].drop_duplicates().itertuples(index=False, name=None):
            if images and known.get(name) and images not in known[name]:
                yield f"its images of {name} ({images}) are not those of the runs that are published"
    shifted = _shifted_images(old.results)
    for name, images in sorted(_shifted_images(new.results) - shifted):
        if name in dict(shifted):
            yield f"its images of {name} ({images}) are not those of the runs that are published"
    known_places = _places_by_images(old)
    for of_set, place in _places_by_images(new).items():
        one, other = new.scores[place], old.scores.get(known_places.get(of_set, ("", "")))
        if other and not same_images(one, other):
            yield f"{place[0]}: its scores of {place[1]} are not of the images that the published runs scored"


def _places_by_images(found: Publication) -> dict[tuple[str, str], tuple[str, str]]:
    """Return (data set, fingerprint of its images) → (a run that has scores of them, data set)."""
    rows = found.results[~is_failure(found.results)]
    places: dict[tuple[str, str], tuple[str, str]] = {}
    for name, images in (("in_dataset", "in_images"), ("out_dataset", "out_images")):
        for run, dataset, fingerprint in rows[["run", name, images]].itertuples(index=False, name=None):
            if fingerprint and (run, dataset) in found.scores:
                places.setdefault((dataset, fingerprint), (run, dataset))
    return places


def _shifted_images(results: pd.DataFrame) -> set[tuple[str, str]]:
    """Return name and fingerprint of each covariate-shifted set."""
    texts = set(results["covariate"][~is_failure(results)])
    return {pair for text in texts for pair in covariate_sets(text).items()}
