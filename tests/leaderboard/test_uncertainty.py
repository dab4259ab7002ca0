"""Which rows of a table cannot be told from the best of a column, and what intervals of its values hold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from result_rows import result_row

from oodbench.builtin.metrics import register_metrics
from oodbench.leaderboard.score_file import ImageScores
from oodbench.leaderboard.statistics import compare_auroc
from oodbench.leaderboard.uncertainty import Uncertainty

METRICS = {metric.name: metric for metric in register_metrics()}
Scores = tuple[np.ndarray, np.ndarray]
Column = Mapping[tuple[str, int], Scores]
"""(detector, seed) → scores of in- and out-images."""


def image_scores(run: str, dataset: str, values: np.ndarray) -> ImageScores:
    places = np.arange(len(values))
    return ImageScores(run, dataset, "test", places, np.zeros(len(values), np.int64), values)


def found(
    columns: Mapping[str, Column], metric: str = "auroc", images: Mapping[str, str] | None = None
) -> dict[tuple[str, str], float]:
    """(detector, out-data set) → p_best.

    Args:
        columns: by out-data set.
        images: detector → fingerprint of its out-images, where it is another.
    """
    rows, scores = [], {}
    for out, column in columns.items():
        for (detector, seed), (inside, outside) in column.items():
            prints = {"in_images": "a" * 16, "out_images": (images or {}).get(detector, "b" * 16)}
            value = METRICS[metric].compute(inside, outside)
            rows.append(result_row(detector, out, value, seed, metric, "digits", **prints))
            scores[rows[-1]["run"], "digits"] = image_scores(rows[-1]["run"], "digits", inside)
            scores[rows[-1]["run"], out] = image_scores(rows[-1]["run"], out, outside)
    sure = Uncertainty(pd.DataFrame(rows), scores, {metric: METRICS[metric]}).add()
    assert ((sure["low"] <= sure["value"]) & (sure["value"] <= sure["high"])).all()
    groups = sure.groupby(["detector", "out_dataset"])["p_best"]
    assert (groups.nunique(dropna=False) == 1).all(), "one p of all seeds of a row"
    return {(str(detector), str(out)): float(p) for (detector, out), p in groups.first().items()}


def draw(generator: np.random.Generator, shift: float, n: int = 200, noise: float = 0.7) -> list[Scores]:
    """Scores of two detectors that are equally good and see the same images."""
    ins, outs = generator.normal(size=n), generator.normal(size=n) + shift
    return [(ins + noise * generator.normal(size=n), outs + noise * generator.normal(size=n)) for _ in range(2)]


def test_each_row_is_tested_against_the_best_and_all_pairs_of_rows_count():
    """Which row is the best the data have said: of three rows it is a choice among three tests, not two."""
    generator = np.random.default_rng(0)
    (good, fair), (poor, _) = draw(generator, 1.5), draw(generator, 0.5)
    column = {("good", 0): good, ("fair", 0): fair, ("poor", 0): poor}
    best, second = sorted(("good", "fair"), key=lambda name: -METRICS["auroc"].compute(*column[name, 0]))
    p = found({"noise": column})
    assert p[best, "noise"] == 1.0
    raw = {name: compare_auroc(column[best, 0], column[name, 0]).p for name in (second, "poor")}
    assert raw["poor"] < raw[second]
    assert p["poor", "noise"] == pytest.approx(3 * raw["poor"])
    assert p[second, "noise"] == pytest.approx(min(1.0, max(2 * raw[second], 3 * raw["poor"])))


def test_columns_of_one_metric_are_adjusted_together():
    generator = np.random.default_rng(1)
    good, poor = draw(generator, 2.0)[0], draw(generator, 0.5)[0]
    column = {("good", 0): good, ("poor", 0): poor}
    alone = found({"noise": column})["poor", "noise"]
    assert found({"noise": column, "constant": column})["poor", "noise"] == pytest.approx(2 * alone)


@pytest.mark.parametrize("metric", ["auroc", "fpr95_out"])
def test_a_row_that_is_ahead_on_the_seeds_that_both_have_is_not_told_apart(metric):
    """The mean over more seeds is behind; where the two are compared it is the better one."""
    generator = np.random.default_rng(2)
    fair, good, poor = (draw(generator, shift)[0] for shift in (1.5, 2.5, 0.1))
    p = found({"noise": {("one", 0): fair, ("three", 0): good, ("three", 1): poor, ("three", 2): poor}}, metric)
    assert p == {("one", "noise"): 1.0, ("three", "noise"): 1.0}


def test_a_row_that_was_scored_on_other_images_is_neither_the_best_nor_compared():
    generator = np.random.default_rng(3)
    best, fair = draw(generator, 3.0)[0], draw(generator, 1.0)[0]
    poor = draw(generator, 0.1)[0]
    column = {("elsewhere", 0): best, ("fair", 0): fair, ("poor", 0): poor}
    p = found({"noise": column}, images={"elsewhere": "c" * 16})
    assert np.isnan(p["elsewhere", "noise"])
    assert p["fair", "noise"] == 1.0 and p["poor", "noise"] < 0.05


@pytest.mark.parametrize("lacking", ["auroc", "fpr95_out"])
def test_a_metric_that_a_run_has_no_result_of_has_no_interval(lacking):
    """As one that was installed after the run was published."""
    generator = np.random.default_rng(4)
    names = {"auroc", "fpr95_out"} - {lacking}
    inside, outside = draw(generator, 1.0)[0]
    rows = [result_row("one", "noise", METRICS[name].compute(inside, outside), 0, name, "digits") for name in names]
    rows = [row | {"in_images": "a" * 16, "out_images": "b" * 16} for row in rows]
    run = rows[0]["run"]
    scores = {(run, "digits"): image_scores(run, "digits", inside), (run, "noise"): image_scores(run, "noise", outside)}
    sure = Uncertainty(pd.DataFrame(rows), scores, {name: METRICS[name] for name in ("auroc", "fpr95_out")}).add()
    assert sure["metric"].tolist() == [*names] and sure[["low", "high"]].notna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [2, 6, 11])
def test_of_columns_of_equal_detectors_at_most_one_in_twenty_has_a_finding(rows):
    generator, any_finding = np.random.default_rng(rows), []
    for _ in range(500):
        column = {(f"d{row}", 0): draw(generator, 1.0, 200)[0] for row in range(rows)}
        any_finding.append(min(found({"noise": column}).values()) < 0.05)
    assert np.mean(any_finding) < 0.07
