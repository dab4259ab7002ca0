"""Published results ↔ a Parquet file: small, checked when read, and enough to render the page without a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodbench.api import Run
from oodbench.errors import OODBenchError, reason
from oodbench.reading import read_bytes
from oodbench.store import parquet
from oodbench.store.schema import LATER_COLUMNS, RESULT_COLUMNS, RUN_COLUMNS, TEXT_LENGTH
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COLUMNS = [*RESULT_COLUMNS, *RUN_COLUMNS]
COUNTS = ("seed", "n_in", "n_out", "parameters", "n_train")
NUMBERS = ("value", "fit_seconds")
LARGEST_FILE = 2**27  # bytes; of a million results


def results_file(results: pd.DataFrame) -> bytes:
    """Return the results that a page shows as the Parquet file beside it."""
    import pyarrow as pa

    types = dict.fromkeys(COUNTS, pa.int64()) | dict.fromkeys(NUMBERS, pa.float64())
    columns = {name: pa.array(results[name].tolist(), types.get(name, pa.string())) for name in COLUMNS}
    return parquet.to_bytes(pa.table(columns))


def load_results(path: Path) -> pd.DataFrame:
    """Return rows as ``Store.read_results`` gives them, from a file that ``results_file`` made.

    Columns that older versions did not have are empty. Raises OODBenchError where the file has no such rows, or some
    that cannot be: of another type, out of range, twice, or of a run that the name in ``run`` does not stand for.
    """
    data = read_bytes(path, LARGEST_FILE)
    try:
        results = _table(parquet.read_table(data)).to_pandas()
        _check_rows(results)
    except Exception as error:  # pyarrow's errors are many
        why = shorten(str(error) if isinstance(error, ValueError) else reason(error))
        raise OODBenchError(f"{path} holds no results ({why}); `oodbench leaderboard --save` writes them") from None
    return results


def _table(read: pa.Table) -> pa.Table:
    """The columns, each of its type and without nulls. Raises ValueError."""
    import pyarrow as pa

    return pa.table({name: _column(read, name) for name in COLUMNS})


def _column(read: pa.Table, name: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in read.column_names:
        if name not in LATER_COLUMNS:
            raise ValueError(f"it has no column {name}")
        return pa.array([""] * read.num_rows, pa.string())
    column, types = read[name], pa.types
    is_type, empty = {
        **dict.fromkeys(COUNTS, (types.is_integer, None)),
        **dict.fromkeys(NUMBERS, (types.is_floating, float("nan"))),
        **dict.fromkeys(LATER_COLUMNS, (_is_text, "")),
    }.get(name, (_is_text, None))
    if types.is_null(column.type) and empty is not None:
        return pa.array([empty] * read.num_rows)
    if not is_type(column.type):
        raise ValueError(f"its column {name} is {column.type}")
    column = column if empty is None else pc.fill_null(column, empty)
    if column.null_count:
        raise ValueError(f"its column {name} lacks values")
    if _is_text(column.type) and len(column) and pc.max(pc.binary_length(column)).as_py() > TEXT_LENGTH:
        raise ValueError(f"its column {name} has texts that are too long")
    return column


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_rows(results: pd.DataFrame) -> None:
    """Raise ValueError for a row that cannot be. A failure has no metric and no value; all else has both."""
    import numpy as np

    failed = results["error"] != ""
    numbers = results[list(NUMBERS)].to_numpy(dtype=float)
    if not np.isfinite(numbers[~failed]).all() or (results["metric"][failed] != "").any():
        raise ValueError("it has values that are not finite")
    if (results[list(COUNTS)] < 0).any(axis=None) or (results.loc[~failed, ["n_in", "n_out"]] == 0).any(axis=None):
        raise ValueError("it has counts that cannot be")
    if results.duplicated(["run", "out_dataset", "metric"]).any():
        raise ValueError("it has a result twice")
    for row in results[~failed].drop_duplicates("run").to_dict("records"):
        if not isinstance(json.loads(row["params"]), dict):
            raise ValueError(f"the parameters of {row['run']} are no JSON object")
        run = Run(
            row["detector"], row["plugin_version"], row["params"], row["in_dataset"], row["seed"], row["precision"],
            distribution=row["distribution"],
        )  # fmt: skip
        key = run.with_base_text(row["base"]).key(row["in_images"])
        if row["in_images"] and key != row["run"]:
            raise ValueError(f"the row of {row['run']} is that of {key}")
