"""``oodbench.metrics``: the benchmark's metrics as functions, whose arguments are checked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import oodbench
from oodbench import ScoreError

IN, OUT = [0.1, 0.4, 0.35], [0.8, 0.4]
LABELS = [0, 0, 0, 1, 1]


def test_they_are_those_of_scikit_learn():
    assert oodbench.metrics.auroc(IN, OUT) == pytest.approx(roc_auc_score(LABELS, IN + OUT))
    assert oodbench.metrics.aupr_out(IN, OUT) == pytest.approx(average_precision_score(LABELS, IN + OUT))


def test_every_metric_of_the_core_is_there(no_traces):
    from oodbench.plugin.registry import load_registry

    for name, metric in load_registry().metrics.items():
        assert getattr(oodbench.metrics, name)(pd.Series(IN), torch.tensor(OUT)) == metric.compute(
            pd.Series(IN).to_numpy(), torch.tensor(OUT).double().numpy()
        )


@pytest.mark.parametrize(
    "scores",
    [
        torch.tensor([2.0, 3.0], requires_grad=True),
        torch.tensor([2.0, 3.0], dtype=torch.bfloat16),
        torch.tensor([2, 3]),
        pd.Series([2.0, 3.0], dtype="Float64"),
    ],
)
def test_numbers_of_every_kind_are_scores(scores):
    assert oodbench.metrics.auroc([1, 2.5], scores) == 0.75


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], r"out_scores are \(0,\): give one score per image, \(n,\), of one image or more"),
        ([[1.0]], r"out_scores are \(1, 1\)"),
        ([float("nan"), 1], "1 of the 2 out_scores are NaN or infinite"),
        (["a"], "out_scores are no numbers"),
        (["1", "2"], "out_scores are no numbers"),
        (np.array(["1", None], object), "out_scores are no numbers"),
        (np.array([1 + 2j]), "out_scores are no numbers"),
        (torch.tensor([1 + 2j]), "out_scores are no numbers"),
    ],
)
def test_what_are_no_scores_is_refused(scores, message):
    with pytest.raises(ScoreError, match=message):
        oodbench.metrics.auroc(IN, scores)
