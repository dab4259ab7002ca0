"""Results in full spectrum: which rows they are, and which covariate-shifted images they count as in-distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodbench.api.full_spectrum import covariate_sets, is_full_spectrum

if TYPE_CHECKING:
    import pandas as pd

SPECTRUM = "the full spectrum"
"""Name in messages of all covariate-shifted images of a result."""


def in_full_spectrum(results: pd.DataFrame) -> pd.Series:
    """Return which rows are results in full spectrum."""
    return results["metric"].isin([name for name in results["metric"].unique() if is_full_spectrum(name)])


def covariate_places(results: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the run and name of each covariate-shifted set that some of these results count as in-distribution."""
    full = results[in_full_spectrum(results)]
    places = set(zip(full["run"], full["covariate"], strict=True)) if len(full) else set()
    return {(run, name) for run, covariate in places for name in covariate_sets(covariate)}


def covariates(results: pd.DataFrame) -> dict[str, list[str]]:
    """Return in-data set → names of the covariate-shifted sets that count as in-distribution with it, sorted."""
    full = results[in_full_spectrum(results)]
    found: dict[str, set[str]] = {}
    for in_dataset, covariate in zip(full["in_dataset"], full["covariate"], strict=True) if len(full) else ():
        found.setdefault(in_dataset, set()).update(covariate_sets(covariate))
    return {in_dataset: sorted(names) for in_dataset, names in sorted(found.items())}


def differing_covariates(results: pd.DataFrame) -> dict[tuple[str, str, int], str]:
    """Return (in-data set, label, seed) → a note on its covariate-shifted images.

    Only in-data sets whose results do not all have the same covariate-shifted images are included.
    """
    full = results[in_full_spectrum(results)]
    found: dict[str, dict[str, set[tuple[str, str, int]]]] = {}
    columns = ["in_dataset", "covariate", "label", "seed"]
    for in_dataset, covariate, label, seed in full[columns].itertuples(index=False) if len(full) else ():
        found.setdefault(in_dataset, {}).setdefault(covariate, set()).add((in_dataset, label, seed))
    return {
        place: f"in full spectrum with {_named(text)}"
        for by_text in found.values()
        if len(by_text) > 1
        for text, places in by_text.items()
        for place in places
    }


def _named(covariate: str) -> str:
    return ", ".join(f"{name} ({images})" for name, images in covariate_sets(covariate).items())
