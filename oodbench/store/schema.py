"""The columns of the Parquet files that oodbench writes: results, and scores.

The tables are plain facts; all code that reads or writes columns takes their names from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow

RESULT_COLUMNS = (
    "run", "detector", "in_dataset", "out_dataset", "seed", "metric", "value", "n_in", "n_out", "out_images",
    "out_note", "covariate", "metric_version",
)  # fmt: skip
"""The fields of Result, one row per run, out-data set and metric. ``covariate`` has, as JSON, the covariate-shifted
sets whose images count as in-distribution, with their fingerprints; only full-spectrum metrics have some, and failures
on such a set."""

RUN_COLUMNS = (
    "preset", "precision", "plugin_version", "params", "device", "fit_seconds", "parameters", "notes", "n_train",
    "in_images", "distribution", "reduced", "base", "facts", "error", "plugin_commit", "oodbench", "torch", "python",
    "created", "fit_id",
)  # fmt: skip
"""Facts of a run, repeated beside each of its results. ``reduced`` is yes, no, or empty where that is unknown;
``base`` describes its base (see ``Run.base_text``); ``facts`` are, as JSON, those of the fitted detector and of its
base on the in-data's test split, such as {"accuracy": 0.97}, empty where there are none;
``error`` is why the run, or its out-data set, failed: such a row has no metric and the value NaN."""

LATER_COLUMNS = (
    "in_images", "out_images", "out_note", "covariate", "metric_version", "distribution", "reduced", "base", "facts",
    "error", "plugin_commit", "oodbench", "torch", "python", "created", "fit_id",
)  # fmt: skip
"""Text columns that older files do not have; empty there."""

PUBLISHED_COLUMNS = ("low", "high", "p_best")
"""Numbers that only published results have, NaN where they are unknown: the 95 % interval of the value over images, and
the p of the paired test of the row against the best of its column, adjusted over the columns of its in-data set and
metric (1 for the best itself, and where the adjustment ends)."""

IDENTITY_COLUMNS = ("detector", "plugin_version", "distribution", "params", "in_dataset", "seed", "precision", "base")
"""What identifies a run, except its images."""

TEXT_LENGTH = 100_000
"""Greatest length of a text in a record: characters, or bytes in Parquet."""

SCORE_ARRAYS = {"index": "indices", "label": "labels", "score": "values"}
"""Column of a score file → field of Scores."""

SCORE_COLUMNS = ("run", "dataset", "split", *SCORE_ARRAYS)
"""Columns of the scores of all runs as one table, one row per image."""

HISTORY_COLUMNS = ("run", "number", "phase", "epoch", "quantity", "value")
"""Columns of the training curves of all runs as one table, one row per epoch and quantity."""

SCORE_SCALARS = ("dataset", "split", "fingerprint", "images_per_second", "device", "fit_id", "note", "covariates")
"""Fields of Scores that are stored as JSON in the file's metadata."""

SCORE_METADATA = b"oodbench"
"""Key of the Parquet schema's metadata that holds the scalars."""


def results_schema() -> pyarrow.Schema:
    """Return the schema of a run's ``results.parquet``."""
    import pyarrow as pa

    numbers = {"seed": pa.int64(), "value": pa.float64(), "n_in": pa.int64(), "n_out": pa.int64()}
    return pa.schema([(name, numbers.get(name, pa.string())) for name in RESULT_COLUMNS])


def scores_schema() -> pyarrow.Schema:
    """Return the schema of a score file, without its metadata."""
    import pyarrow as pa

    return pa.schema([("index", pa.int64()), ("label", pa.int64()), ("score", pa.float64())])
