"""Published results are checked when they are read: nothing in the file is believed as it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from oodbench.api import Run
from oodbench.errors import OODBenchError
from oodbench.leaderboard.published import COLUMNS, COUNTS, load_results, results_file
from oodbench.store.schema import LATER_COLUMNS, PUBLISHED_COLUMNS

TEXTS = {"detector": "ae", "plugin_version": "0.1", "params": '{"a": 1}', "in_dataset": "mnist:0-8", "device": "cpu"}


def results() -> pd.DataFrame:
    run = Run("ae", "0.1", '{"a": 1}', "mnist:0-8")
    row = dict.fromkeys(COLUMNS, "") | dict.fromkeys(COUNTS, 9) | TEXTS
    row |= {
        "low": 0.125,
        "high": 0.75,
        "p_best": 1.0,
        "seed": 0,
        "precision": "float32",
        "preset": "paper",
        "in_images": "c" * 16,
        "fit_seconds": 1.0,
    }
    row |= {"run": run.key("c" * 16), "out_dataset": "noise", "metric": "auroc", "value": 0.5}
    return pd.DataFrame([row, row | {"out_dataset": "mnist:9", "value": 0.25}])[COLUMNS]


@pytest.fixture
def load(tmp_path):
    def load(changed: pd.DataFrame) -> pd.DataFrame:
        changed.to_parquet(tmp_path / "results.parquet")
        return load_results(tmp_path / "results.parquet").rows

    return load


def test_what_was_saved_is_read(tmp_path):
    (tmp_path / "results.parquet").write_bytes(results_file(results()))
    pd.testing.assert_frame_equal(load_results(tmp_path / "results.parquet").rows, results())


def test_a_flipped_bit_is_refused(tmp_path):
    data = bytearray(results_file(results()))
    data[len(data) // 3] ^= 4
    (tmp_path / "results.parquet").write_bytes(data)
    with pytest.raises(OODBenchError, match="holds no results"):
        load_results(tmp_path / "results.parquet")


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_that_older_files_lack_are_empty_and_no_other_may_be_missing(name, load):
    for changed in (results().drop(columns=name), results().assign(**{name: None})):
        if name in PUBLISHED_COLUMNS:
            assert load(changed)[name].isna().all()
        elif name in LATER_COLUMNS:
            assert set(load(changed)[name]) == {""}
        else:
            with pytest.raises(OODBenchError, match=rf"column {name}( |\))|not finite"):
                load(changed)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("value", [b"x", 1.5, "x", True, [1.0]], ids=repr)
def test_a_column_of_another_type_is_refused(name, value, load):
    number = float if name in ("value", "fit_seconds", *PUBLISHED_COLUMNS) else int if name in COUNTS else str
    if isinstance(value, number) and not isinstance(value, bool):
        return
    with pytest.raises(OODBenchError, match=f"its column {name} is "):
        load(results().assign(**{name: [value, value]}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": [np.nan, 0.5]}, "not finite"),
        ({"value": [np.inf, 0.5]}, "not finite"),
        ({"seed": -1}, "counts that cannot be"),
        ({"n_out": 0}, "counts that cannot be"),
        ({"out_dataset": "noise"}, "a result twice"),
        ({"run": "ae-x"}, "the row of ae-x is that of ae-mnist_0-8-s0-"),
        ({"params": "[]"}, "no JSON object"),
        ({"params": "{"}, "holds no results"),
        ({"seed": [0, 7]}, "the rows of ae-.* are of different runs"),
        ({"metric": ["", "auroc"], "out_dataset": ["noise", "constant"]}, "a value of no metric"),
        ({"fit_seconds": [1.0, 2.0]}, "the rows of ae-.* are of different runs"),
        ({"base": '{"detector": "c", "version": "1", "distribution": "", "params": "[1]"}'}, "no JSON object"),
        ({"base": '{"detector": 1}'}, "its base is none"),
        ({"params": "zz", "error": "failed", "metric": "", "value": np.nan, "out_dataset": ["a", "b"]}, "holds no"),
        *[
            ({"facts": text}, "facts of ae-.* are not numbers")
            for text in ("[]", '{"a": null}', '{"a": "x"}', '{"a": NaN}')
        ],
        ({"notes": "x" * 100_001}, "texts that are too long"),
        ({"error": "failed"}, "not finite"),
    ],
)
def test_rows_that_cannot_be_are_refused(change, message, load):
    with pytest.raises(OODBenchError, match=message):
        load(results().assign(**change))


def test_a_failure_has_no_metric_and_no_value(load):
    failed = results().assign(metric=["", "auroc"], value=[np.nan, 0.5], error=["FitError: dead", ""], n_out=[0, 9])
    assert load(failed)["error"].tolist() == ["FitError: dead", ""]
