"""Verification of a publication: every number is recomputed from the scores, and every cell that differs is listed.

Anyone can check that the results, intervals and tests follow from the scores, that the page follows from the results,
and that the images are those available here. Only fitting again can show that the stated code gives the scores (see
``rerun``).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oodbench.api import SPLITS, ImageSet, Shape
from oodbench.api.full_spectrum import covariate_sets, with_full_spectrum
from oodbench.errors import DataError, OODBenchError, reason
from oodbench.leaderboard import formats
from oodbench.leaderboard.failures import is_failure
from oodbench.leaderboard.full_spectrum import covariate_places
from oodbench.leaderboard.publication import (
    PAGE,
    Publication,
    differing_values,
    read_publication,
    shown_metrics,
    with_uncertainty,
)
from oodbench.leaderboard.row_labels import CONFIGURATION, configurations
from oodbench.leaderboard.suites import open_suite
from oodbench.leaderboard.uncertainty import Advance
from oodbench.plan.tasks import images_hash
from oodbench.reading import read_text
from oodbench.store.schema import PUBLISHED_COLUMNS
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd

    from oodbench.data.loading import Loader
    from oodbench.plugin.registry import Registry

CLOSE = 1e-9  # for intervals and tests, whose sums are longer than those of values


@dataclass
class Verification:
    """What was checked, and what is wrong.

    Args:
        differences: one line for each thing that is not as it should be.
        unverified: runs without scores.
        not_compared: data sets that are not available here and metrics that are not installed, each with the reason.
        values, scores: how many were checked.
    """

    differences: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    not_compared: dict[str, str] = field(default_factory=dict)
    values: int = 0
    scores: int = 0


def verify(
    folder: Path, registry: Registry, loader: Loader, advance: Advance = lambda done, total: None
) -> Verification:
    """Check everything that is published in a suite's folder. Raises OODBenchError where it cannot be read."""
    found = read_publication(folder)
    checked = check_publication(found, registry, loader)
    if not checked.differences:  # else they differ for the same reason
        checked.differences += _differing_uncertainty(found, registry, advance)
    checked.differences += _differing_page(folder, found, registry)
    return checked


def check_publication(found: Publication, registry: Registry, loader: Loader) -> Verification:
    """Check that values follow from scores, and that the scores are of the images available here."""
    rows = found.results[~is_failure(found.results)]
    scored = {run for run, _ in found.scores}
    checked = Verification(unverified=sorted(set(rows["run"]) - scored))
    known = rows[rows["run"].isin(scored)]
    checked.scores = sum(len(part.values) for part in found.scores.values())
    metrics = with_full_spectrum(registry.metrics, set(rows["metric"]))
    checked.values = int(known["metric"].isin([*metrics]).sum())
    for name in sorted(set(rows["metric"]) - metrics.keys()):
        source = found.metrics[name].source if name in found.metrics else "a package"
        checked.not_compared[name] = f"the metric is of {source}, which is not installed"
    checked.differences += [*_misplaced(known, found), *_left_out(known, found, metrics)]
    checked.differences += differing_values(found, metrics)
    checked.differences += _other_images(known, found, loader, checked.not_compared)
    return checked


def _misplaced(rows: pd.DataFrame, found: Publication) -> Iterator[str]:
    """Yield results without scores, and scores without results."""
    places = {(run, name) for run, name in rows[["run", "in_dataset"]].itertuples(index=False, name=None)}
    places |= {(run, name) for run, name in rows[["run", "out_dataset"]].itertuples(index=False, name=None)}
    places |= covariate_places(rows)
    for run, name in sorted(places - found.scores.keys()):
        yield f"{run} on {name}: it has results without scores"
    for run, name in sorted(found.scores.keys() - places):
        yield f"{run} on {name}: it has scores without results"


def _left_out(rows: pd.DataFrame, found: Publication, metrics: Collection[str]) -> Iterator[str]:
    """Yield missing results of metrics that their run has on another out-data set, unless a failure is recorded."""
    failed = found.results[is_failure(found.results)]
    columns = [*CONFIGURATION, "seed", "out_dataset"]
    errors = {*configurations(failed, columns)}
    places = dict(zip(zip(rows["run"], rows["out_dataset"], strict=True), configurations(rows, columns), strict=True))
    for _, of_spectrum in rows.groupby(rows["covariate"] != ""):
        there = {*of_spectrum[["run", "out_dataset", "metric"]].itertuples(index=False, name=None)}
        for run, of_run in of_spectrum.groupby("run"):
            for place in product([run], sorted(set(of_run["out_dataset"])), sorted(set(of_run["metric"]) & {*metrics})):
                if place not in there and places[place[:2]] not in errors:
                    yield f"{run} on {place[1]}: it has scores and no {place[2]}, which it has elsewhere"


def _differing_uncertainty(found: Publication, registry: Registry, advance: Advance) -> Iterator[str]:
    """Yield each interval and test that does not follow from the scores."""
    again = with_uncertainty(found, registry.metrics, advance).results
    metrics = with_full_spectrum(registry.metrics, set(again["metric"]))
    rows = found.results.to_dict("records")
    for row, other in zip(rows, again.to_dict("records"), strict=True):
        for name in PUBLISHED_COLUMNS:
            is_same = np.isclose(row[name], other[name], rtol=CLOSE, atol=CLOSE, equal_nan=True)
            if row["metric"] in metrics and not is_same:
                where = f"{row['run']} on {row['out_dataset']}: {row['metric']}"
                yield f"{where}: {name} is {row[name]!r}, and its scores give {other[name]!r}"


# -------------------------------------------------------------------------------------------- images


def _other_images(
    rows: pd.DataFrame, found: Publication, loader: Loader, not_compared: dict[str, str]
) -> Iterator[str]:
    """Yield where fingerprints, indices or labels are not those of the data available here."""
    for in_dataset, of_in in rows.groupby("in_dataset"):
        try:
            splits = {split: _load(loader, str(in_dataset), split) for split in SPLITS}
        except OODBenchError as error:
            not_compared[str(in_dataset)] = reason(error)
            continue
        for run in sorted(set(of_in["run"][~of_in["in_images"].isin(["", images_hash(splits)])])):
            yield f"{run}: its images of {in_dataset} are not those that are here"
        count = len(splits["train"])
        for run in sorted(set(of_in["run"][~of_in["n_train"].isin([0, count])])):
            yield f"{run}: it says of how many training images it is, and {in_dataset} has {count:,}"
        yield from _other_labels(found, of_in["run"], splits["test"])
        for name, prints in _prints(of_in).items():
            try:
                images = _load(loader, name, "test", splits["test"].shape)
            except OODBenchError as error:
                not_compared[name] = reason(error)
                continue
            for run in sorted({run for run, fingerprint in prints if fingerprint not in ("", images.fingerprint)}):
                yield f"{run}: its images of {name} are not those that are here"
            yield from _other_labels(found, {run for run, _ in prints}, images)


def _prints(rows: pd.DataFrame) -> dict[str, set[tuple[str, str]]]:
    """Return out-data or covariate-shifted set → (run, fingerprint of the images that it scored), sorted by set."""
    found: dict[str, set[tuple[str, str]]] = {}
    columns = rows[["run", "out_dataset", "out_images", "covariate"]].itertuples(index=False, name=None)
    for run, out_dataset, out_images, covariate in columns:
        for name, fingerprint in {**covariate_sets(covariate), out_dataset: out_images}.items():
            found.setdefault(name, set()).add((run, fingerprint))
    return dict(sorted(found.items()))


def _load(loader: Loader, name: str, split: str, shape: Shape | None = None) -> ImageSet:
    """Return the images, or raise DataError if they are not here: verifying must not download anything."""
    if not loader.has_files(name):
        raise DataError("its files are not here")
    return loader.load(name, split, shape)


def _other_labels(found: Publication, runs: Iterable[str], images: ImageSet) -> Iterator[str]:
    for run in sorted(set(runs)):
        part = found.scores.get((run, images.name))
        if part is not None and not (
            np.array_equal(part.indices, images.indices) and np.array_equal(part.labels, images.labels)
        ):
            yield f"{run}: the indices or labels of its scores of {images.name} are not those of the images"


# ---------------------------------------------------------------------------------------------- page


def _differing_page(folder: Path, found: Publication, registry: Registry) -> Iterator[str]:
    """Yield each cell, or other line, of the page that does not follow from the results."""
    if not os.path.lexists(folder / PAGE):
        yield f"there is no {PAGE}; `oodbench publish` makes it"
        return
    metrics = shown_metrics(found, registry.metrics)
    page = formats.Page(open_suite(folder), found, [*metrics.values()])
    expected = formats.write(page, "markdown").splitlines()
    there = read_text(folder / PAGE).splitlines()
    for tag, a, b, c, d in difflib.SequenceMatcher(None, there, expected, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for number in range(max(b - a, d - c)):
            is_line = there[a + number] if a + number < b else ""
            should_be = expected[c + number] if c + number < d else ""
            yield from _differing_line(there, a + number, is_line, should_be)


def _differing_line(page: Sequence[str], number: int, is_line: str, should_be: str) -> Iterator[str]:
    """Yield each cell in which a line of a table differs, else the line."""
    cells, expected = ([cell.strip() for cell in line.split("|")] for line in (is_line, should_be))
    if (
        is_line.startswith("|")
        and should_be.startswith("|")
        and len(cells) == len(expected)
        and cells[1] == expected[1]
    ):
        header = _header(page, number)
        for column, (cell, other) in enumerate(zip(cells, expected, strict=True)):
            if cell != other:
                named = header[column] if column < len(header) else f"column {column}"
                yield f"{PAGE} line {number + 1}: {cells[1]} on {named} is {cell}, and the results give {other}"
    else:
        line = f"{PAGE} line {number + 1}"
        yield f"{line} is {shorten(repr(is_line))}, and the results give {shorten(repr(should_be))}"


def _header(page: Sequence[str], number: int) -> list[str]:
    """Return the cells of the first line of the table that a line is in."""
    while number > 0 and page[number - 1].startswith("|"):
        number -= 1
    return [cell.strip() for cell in page[number].split("|")]
