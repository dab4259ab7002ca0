"""Failed seeds, and cells whose seeds scored different images: what a row must show beside its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from oodbench.leaderboard.row_labels import configurations

if TYPE_CHECKING:
    import pandas as pd


def failed_seeds(results: pd.DataFrame) -> dict[tuple[str, str, str], dict[int, str]]:
    """Return (in-data set, out-data set, label) → seed → error, of the seeds without a result there.

    A run that failed as a whole failed on every out-data set that others were scored on. A failure on a
    covariate-shifted set, which is no out-data set, is not included (see ``run_facts.run_notes``).
    """
    errors = results[is_failure(results) & (results["covariate"] == "")]
    if errors.empty:
        return {}
    done = results[~is_failure(results)]
    places = ["in_dataset", "out_dataset", "label"]
    have = set(done[[*places, "seed"]].itertuples(index=False, name=None))
    out_datasets = {str(name): sorted(set(rows["out_dataset"])) for name, rows in done.groupby("in_dataset")}
    failed: dict[tuple[str, str, str], dict[int, str]] = {}
    columns = errors[[*places, "seed", "error"]].itertuples(index=False, name=None)
    for in_dataset, out_dataset, label, seed, error in columns:
        for name in [out_dataset] if out_dataset else out_datasets.get(in_dataset, []):
            if (in_dataset, name, label, seed) not in have:
                failed.setdefault((in_dataset, name, label), {})[int(seed)] = error
    return failed


def is_failure(results: pd.DataFrame) -> pd.Series:
    """Return which rows are failures rather than results."""
    return results["metric"] == ""


def mixed_images(label: str, out_dataset: str, seeds: Sequence[int], images: Sequence[str]) -> str:
    """Return why the seeds of a cell cannot be averaged, given their out-images' fingerprints; empty if they can."""
    if len(set(images) - {""}) < 2:
        return ""
    return (
        f"{label} has scores of different images of {out_dataset} for its seeds {', '.join(map(str, seeds))}: "
        "`oodbench run` with all of them scores those that are there now"
    )


def related_failures(failures: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return the failures on other seeds, or other out-data sets, of rows that have results.

    Other failures in a store may never have been meant for a table, such as points that ``oodbench tune`` tried.
    """
    rows = {*configurations(results)}
    places = {*zip(results["in_dataset"], results["out_dataset"], strict=True)}
    places |= {(in_dataset, "") for in_dataset in results["in_dataset"]}
    out_datasets = failures["out_dataset"].where(failures["covariate"] == "", "")  # on a shifted set: the whole run's
    keep = [
        configuration in rows and place in places
        for configuration, place in zip(
            configurations(failures), zip(failures["in_dataset"], out_datasets, strict=True), strict=True
        )
    ]
    return failures[np.array(keep, dtype=bool)]
