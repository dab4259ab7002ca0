"""How the runs of a page were made, and the notes on them for readers, as plain data."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.api.full_spectrum import covariate_sets
from oodbench.leaderboard.failures import failed_seeds, is_failure, mixed_images
from oodbench.leaderboard.full_spectrum import differing_covariates, in_full_spectrum
from oodbench.leaderboard.row_labels import Row

if TYPE_CHECKING:
    import pandas as pd

FACT_COLUMNS = (
    "run", "label", "seed", "preset", "precision", "distribution", "plugin_version", "plugin_commit", "base",
    "n_train", "parameters", "fit_seconds", "device",
)  # fmt: skip
"""Columns that say how a run was made."""

UNVERIFIED = "unverified: its scores are not published, so that its numbers cannot be recomputed"


def run_facts(results: pd.DataFrame) -> pd.DataFrame:
    """Return how the runs of one in-data set were made, one row per label."""
    import pandas as pd

    failed = is_failure(results)
    runs: dict[str, list[Row]] = {}  # plain rows: pandas takes milliseconds per group
    known = [name for name in FACT_COLUMNS if name in results]
    for row in results.loc[~failed, known].drop_duplicates("run").to_dict("records"):
        runs.setdefault(row["label"], []).append(row)
    lost: dict[str, set[int]] = {}
    for label, seed in results.loc[failed & (results["out_dataset"] == ""), ["label", "seed"]].itertuples(index=False):
        lost.setdefault(label, set()).add(seed)
    rows = {label: _fact(of_label, lost.get(label, set())) for label, of_label in sorted(runs.items())}
    return pd.DataFrame.from_dict(rows, orient="index").fillna("").rename_axis("detector")


def _fact(runs: Sequence[Row], failed_seeds: set[int]) -> dict[str, str]:
    failed = sorted(failed_seeds - {row["seed"] for row in runs})
    lost = f" ({', '.join(map(str, failed))} failed)" if failed else ""
    return {
        "preset": _each(row["preset"] for row in runs),
        "precision": _each(row["precision"] for row in runs),
        "code": _each(map(_code, runs)),
        **_base_fact(runs),
        "seeds": ", ".join(map(str, sorted(row["seed"] for row in runs))) + lost,
        "training images": _counts(row["n_train"] for row in runs),
        "parameters": _counts(row["parameters"] for row in runs),
        "fit seconds": f"{statistics.fmean(row['fit_seconds'] for row in runs):,.1f}",
        "device": _each(row["device"] for row in runs),
    }


def fit_facts(results: pd.DataFrame) -> dict[str, dict[str, tuple[float, float | None]]]:
    """Return the facts of fitted detectors, or of their bases, on the in-data's test split, by label and name.

    The results must be of one in-data set, and have ``facts``. Example: ``{"po-msp": {"accuracy": (0.97, 0.01)}}``, the
    mean over seeds and the sample standard deviation, None for one seed.
    """
    found: dict[str, dict[str, list[float]]] = {}
    runs = results.drop_duplicates("run")
    for label, text in zip(runs["label"], runs["facts"], strict=True):
        for name, value in json.loads(text).items():
            found.setdefault(label, {}).setdefault(name, []).append(value)
    return {
        label: {
            name: (statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)
            for name, values in by_name.items()
        }
        for label, by_name in found.items()
    }


def _base_fact(runs: Sequence[Row]) -> dict[str, str]:
    """Return the bases of the runs, if they have any: ``classifier 0.1.0``."""
    bases = [json.loads(row["base"]) for row in runs if row.get("base")]
    names = {f"{base['detector']} {base['version']}" for base in bases}
    return {"stands on": ", ".join(sorted(names))} if names else {}


def image_counts(results: pd.DataFrame) -> tuple[str, dict[str, str]]:
    """Return how many in-images were scored, without shifted ones, and how many of each out-data set."""
    results = results[~is_failure(results)]
    is_full = in_full_spectrum(results)
    results = results if is_full.all() else results[~is_full]
    outs = {str(out): _counts(rows["n_out"]) for out, rows in results.groupby("out_dataset")}
    return _counts(results["n_in"]), outs


def image_notes(results: pd.DataFrame) -> list[str]:
    """Return notes on the images for readers: that some are also in-data, and which count as in-distribution."""
    notes = sorted(set(results.get("out_note", [])) - {""})
    full = results[in_full_spectrum(results)]
    for covariate, rows in full.groupby("covariate") if len(full) else ():
        names = ", ".join([str(rows["in_dataset"].iloc[0]), *covariate_sets(str(covariate))])
        notes.append(f"In full spectrum {_counts(rows['n_in'])} images count as in-distribution: those of {names}")
    return notes


def run_notes(results: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return (in-data set, label) → its notes, each with the seeds that it is about if these are not all of several.

    Rows with the same notes have one text. The notes include the errors of failed seeds, and why the seeds of a cell
    cannot be averaged.
    """
    results = results.sort_values("seed", kind="stable")  # so that notes are in the order of the seeds
    texts: dict[Any, dict[str, list[int]]] = {}
    for in_dataset, label, seed in unverified(results)[["in_dataset", "label", "seed"]].itertuples(index=False):
        texts.setdefault((in_dataset, label), {}).setdefault(UNVERIFIED, []).append(seed)
    noted = results[results["notes"] != ""].drop_duplicates("run")
    for in_dataset, label, note, seed in noted[["in_dataset", "label", "notes", "seed"]].itertuples(index=False):
        for part in note.split("; "):  # one note may have several parts, so they stay in this order
            seeds = texts.setdefault((in_dataset, label), {}).setdefault(part, [])
            seeds += [] if seed in seeds else [seed]
    for in_dataset, label, seed, note in _failures(results):
        seeds = texts.setdefault((in_dataset, label), {}).setdefault(note, [])
        seeds += [] if seed in seeds else [seed]
    cell = ["in_dataset", "out_dataset", "label"]
    found = results[~is_failure(results)].drop_duplicates([*cell, "seed"]).sort_values("seed")
    cells: dict[tuple[str, str, str], dict[int, str]] = {}
    if "out_images" in found:
        for *place, seed, images in found[[*cell, "seed", "out_images"]].itertuples(index=False, name=None):
            cells.setdefault(tuple(place), {})[seed] = images
    for (in_dataset, out_dataset, label), seeds_images in cells.items():
        if problem := mixed_images(label, out_dataset, [*seeds_images], [*seeds_images.values()]):
            texts.setdefault((in_dataset, label), {})[problem] = [*seeds_images]
    for (in_dataset, label, seed), note in differing_covariates(results).items():
        texts.setdefault((in_dataset, label), {}).setdefault(note, []).append(seed)
    seeds_of_rows = {place: {*rows["seed"]} for place, rows in results.groupby(["in_dataset", "label"])}
    return _worded(texts, seeds_of_rows)


def _failures(results: pd.DataFrame) -> Iterator[tuple[str, str, int, str]]:
    """Yield in-data set, label, seed and a note of each failure that left a gap."""
    columns = ["in_dataset", "label", "seed", "out_dataset", "covariate", "error"]
    rows = [*results.loc[is_failure(results), columns].itertuples(index=False, name=None)]
    whole = {(in_dataset, label, seed, error) for in_dataset, label, seed, out, _, error in rows if not out}
    for (in_dataset, out_dataset, label), errors in failed_seeds(results).items():
        for seed, error in errors.items():
            where = "" if (in_dataset, label, seed, error) in whole else f" on {out_dataset}"
            yield in_dataset, label, seed, f"failed{where}: {error}"
    for in_dataset, label, seed, out_dataset, covariate, error in rows:
        if covariate:
            yield in_dataset, label, seed, f"failed on the covariate-shifted {out_dataset}: {error}"


def _worded(
    notes: Mapping[tuple[str, str], Mapping[str, list[int]]], all_seeds: Mapping[Any, set[int]]
) -> dict[tuple[str, str], str]:
    """Return (in-data set, label) → text, given the notes of each and the seeds that they are about."""
    in_datasets: dict[tuple[str, str], list[str]] = {}
    for (in_dataset, label), seeds_of in sorted(notes.items()):
        texts = [_with_seeds(note, seeds, all_seeds[in_dataset, label]) for note, seeds in seeds_of.items()]
        in_datasets.setdefault((label, "; ".join(texts)), []).append(in_dataset)
    labels: dict[tuple[str, ...], list[str]] = {}
    for (label, text), names in in_datasets.items():
        labels.setdefault((text, *names), []).append(label)
    return {
        (in_dataset, label): f"{_listed(rows, 'rows')} on {_listed(names, 'in-data sets')}: {text}"
        for (text, *names), rows in labels.items()
        for label in rows
        for in_dataset in names
    }


def _with_seeds(note: str, seeds: Sequence[int], all_seeds: set[int]) -> str:
    """Return the note, with its seeds unless it is about all of several."""
    is_of_all = len(all_seeds) > 1 and {*seeds} == all_seeds
    return note if is_of_all else f"{note} (seed {', '.join(map(str, sorted(seeds)))})"


def _listed(names: Sequence[str], what: str) -> str:
    """Return the names, joined by "and" as names may have commas; if there are more than three, their number."""
    return " and ".join(names) if len(names) <= 3 else f"{len(names)} {what}"


def unverified(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per published run that lacks scores; none where the results are not published.

    Such a run has no interval of any metric on some out-data set. One metric may lack intervals for another reason, for
    example because its code is not installed.
    """
    if "low" not in results:
        return results.iloc[:0]
    done = results[~is_failure(results)]
    has_interval = done["low"].notna().groupby([done["run"], done["out_dataset"]]).transform("any")
    return done[~has_interval].drop_duplicates("run")


def _code(run: Row) -> str:
    """Return the package, version and commit of a run's detector: ``oodbench-ae 0.1.2+34f2c3a5 at 8f136f9``."""
    commit = f" at {run['plugin_commit'][:7]}" if run["plugin_commit"] else ""
    return f"{run['distribution']} {run['plugin_version']}{commit}".strip()


def _each(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _counts(values: Iterable[int]) -> str:
    return " or ".join(f"{value:,}" for value in sorted(set(values)))
