"""``oodbench evaluate``: metrics again from stored scores."""

from __future__ import annotations

import json

import pytest

from oodbench.store.store import Store

RUN = ["run", "--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1"]


def test_evaluate_computes_results_again_from_scores(oodbench, here, toys):
    first = json.loads(oodbench(*RUN, "--json").stdout)
    (key,) = Store("results").keys()
    (here / "results" / key / "results.parquet").unlink()
    toys.calls.clear()
    again = json.loads(oodbench("evaluate", "--json").stdout)
    assert toys.calls == []
    assert again == first
    assert "auroc ↑" in oodbench("evaluate").stdout


def test_evaluate_only_some_metrics(oodbench):
    oodbench(*RUN, "-q")
    assert {row["metric"] for row in json.loads(oodbench("evaluate", "--metric", "auroc", "--json").stdout)} == {
        "auroc"
    }


def test_evaluate_names_a_damaged_file_and_ends_with_1(oodbench, here):
    oodbench(*RUN, "-q", "--seeds", "2")
    key = Store("results").keys()[0]
    path = here / "results" / key / "scores" / "in.parquet"
    path.write_bytes(path.read_bytes()[:50])
    result = oodbench("evaluate", code=1)
    assert str(path) in result.stderr
    assert "auroc ↑" in result.stdout


@pytest.mark.parametrize("command", ["evaluate", "leaderboard"])
def test_there_must_be_results_and_the_metric_must_exist(oodbench, command, here, refusal):
    assert "oodbench run" in refusal(oodbench(command, code=1))
    assert "unknown metric 'aurok'; did you mean auroc" in refusal(oodbench(command, "--metric", "aurok", code=1))
    assert list(here.iterdir()) == []
