"""Ranks over several data sets, against scipy and against Demšar's table of critical values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from oodbench.api import Metric
from oodbench.cli import main
from oodbench.leaderboard.ranks import (
    Ranks,
    average_ranks,
    cliques,
    friedman_p,
    nemenyi_critical_difference,
    studentized_range_quantile,
)
from oodbench.leaderboard.tables import Cell, RankedTable

AUROC = Metric("auroc", lambda in_scores, out_scores: 0.0, True, "area under the ROC curve")
VALUES = np.round(np.random.default_rng(3).uniform(0.5, 1.0, size=(4, 14)), 2)
"""AUROC of four rows on 14 data sets, (rows, columns), some of them equal."""


def table(values: np.ndarray, lower_is_better: bool = False) -> RankedTable:
    rows, columns = [f"row{i}" for i in range(len(values))], [("in", f"out{j}") for j in range(values.shape[1])]
    cells = {
        (row, column): Cell(float(values[i, j]), None, False, (1, 1))
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    }
    metric = Metric("fpr", AUROC.compute, False, "") if lower_is_better else AUROC
    return RankedTable(metric, rows, columns, cells)


def test_ranks_are_the_means_over_the_columns_best_first():
    ranks = average_ranks(table(VALUES))
    assert [*ranks.average.values()] == pytest.approx(rankdata(-VALUES, axis=0).mean(axis=1).tolist())
    assert (ranks.columns, ranks.left_out) == (14, ())
    assert ranks.p == pytest.approx(friedmanchisquare(*VALUES).pvalue)


def test_friedman_s_test_is_scipy_s():
    values = np.round(np.random.default_rng(0).normal(size=(5, 12)), 1)  # with ties
    assert friedman_p(rankdata(values, axis=0)) == pytest.approx(friedmanchisquare(*values).pvalue)
    assert friedman_p(np.full((3, 9), 2.0)) == 1.0


def test_the_critical_difference_has_demsar_s_values_of_q():
    for rows, q in ((2, 1.960), (4, 2.569), (5, 2.728), (10, 3.164)):
        assert nemenyi_critical_difference(rows, 14) == pytest.approx(
            q * np.sqrt(rows * (rows + 1) / (6 * 14)), rel=1e-3
        )


@pytest.mark.parametrize("rows", [2, 3, 12, 40, 100])
def test_the_studentized_range_is_scipy_s(rows):
    for level in (0.5, 0.9, 0.95, 0.999):
        assert studentized_range_quantile(level, rows) == pytest.approx(
            studentized_range.ppf(level, rows, np.inf), rel=1e-6
        )


def test_a_lower_value_may_be_the_better_one():
    ranks = average_ranks(table(VALUES, lower_is_better=True))
    assert [*ranks.average.values()] == pytest.approx(rankdata(VALUES, axis=0).mean(axis=1).tolist())


def test_few_columns_or_rows_have_no_ranks():
    assert average_ranks(table(VALUES[:, :7])) is None
    assert average_ranks(table(VALUES[:2])) is None


def test_a_row_that_lacks_a_column_is_left_out_and_named():
    made = table(VALUES)
    del made.cells["row1", ("in", "out3")]
    assert average_ranks(made).left_out == ("row1",)
    assert average_ranks(table(VALUES[[0, 2, 3]])).average == {
        f"row{i}": rank for i, rank in zip(range(3), average_ranks(made).average.values(), strict=True)
    }


def test_rows_that_are_not_shown_count():
    whole = table(VALUES)
    cut = replace(whole, rows=whole.rows[:2], not_shown=whole.rows[2:])
    assert average_ranks(cut) == average_ranks(whole)


def test_rows_are_joined_where_they_cannot_be_told_apart():
    ranks = Ranks({"a": 1.0, "b": 1.5, "c": 2.8, "d": 4.0}, 10, 0.01, 1.4)
    assert cliques(ranks) == [("a", "b"), ("b", "c"), ("c", "d")]


def test_too_few_data_sets_are_one_line(toys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ["run", "--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1", "-q"]
    assert CliRunner().invoke(main, run).exit_code == 0
    done = CliRunner().invoke(main, ["plot", "ranks"])
    assert done.exit_code == 1
    assert "ranks need 8 columns and 3 rows that have them all; there are 1 columns and 1 rows" in done.stderr
