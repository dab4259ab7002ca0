"""Published results ↔ a Parquet file: small, checked when read, and enough to render the page without store or plugins.

The file's metadata say what each metric is, and which package computed it, for readers who do not have that package.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from oodbench.api import Metric, Run
from oodbench.api.full_spectrum import check_covariate
from oodbench.errors import OODBenchError, reason
from oodbench.reading import read_bytes
from oodbench.store import parquet
from oodbench.store.schema import LATER_COLUMNS, PUBLISHED_COLUMNS, RESULT_COLUMNS, RUN_COLUMNS, TEXT_LENGTH
from oodbench.text import shorten

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COLUMNS = [*RESULT_COLUMNS, *RUN_COLUMNS, *PUBLISHED_COLUMNS]
COUNTS = ("seed", "n_in", "n_out", "parameters", "n_train")
NUMBERS = ("value", "fit_seconds")
LARGEST_FILE = 2**27  # bytes; of a million results
FORMAT = 1
METADATA = b"oodbench"


class MetricFacts(pydantic.BaseModel):
    """What a page shows of a metric, also to a reader who does not have its plugin.

    Args:
        source: the package that computed it, with version and fingerprint of its code.
    """

    model_config = pydantic.ConfigDict(extra="ignore")

    name: str = pydantic.Field(min_length=1, max_length=200)
    summary: str = pydantic.Field(max_length=2000)
    higher_is_better: bool
    bounds: tuple[float, float] = (-math.inf, math.inf)
    source: str = pydantic.Field("", max_length=300)

    def metric(self) -> Metric:
        """Return a metric that can be shown, but not computed."""
        return Metric(self.name, self._compute, self.higher_is_better, self.summary, self.bounds)

    def _compute(self, in_scores: np.ndarray, out_scores: np.ndarray) -> float:
        raise OODBenchError(f"the metric {self.name} is of {self.source or 'a package'} that is not installed")


class _Metadata(pydantic.BaseModel):
    format: int = 0
    metrics: list[MetricFacts] = []


@dataclass(frozen=True)
class PublishedResults:
    """Rows as ``Store.read_results`` returns them, with PUBLISHED_COLUMNS, and facts of their metrics."""

    rows: pd.DataFrame
    metrics: Mapping[str, MetricFacts]


def results_file(results: pd.DataFrame, metrics: Iterable[MetricFacts] = ()) -> bytes:
    """Return a page's results as the bytes of the Parquet file beside it. Missing columns become empty."""
    metadata = {"format": FORMAT, "metrics": [facts.model_dump() for facts in metrics]}
    table = results_table(results, nan_is_null=False)
    return parquet.to_bytes(table.replace_schema_metadata({METADATA: json.dumps(metadata)}))


def results_table(results: pd.DataFrame, nan_is_null: bool) -> pa.Table:
    """Return rows of ``Store.read_results`` as a table, each column of its type; missing columns are empty."""
    import pyarrow as pa

    types = dict.fromkeys(COUNTS, pa.int64()) | dict.fromkeys([*NUMBERS, *PUBLISHED_COLUMNS], pa.float64())
    columns = {name: column.tolist() for name, column in results.reindex(columns=COLUMNS).items()}
    return pa.table(
        {
            name: pa.array(found, types.get(name, pa.string()), from_pandas=nan_is_null)
            for name, found in columns.items()
        }
    )


def load_results(path: Path) -> PublishedResults:
    """Return what ``results_file`` wrote to this file. Raises OODBenchError as ``parse_results`` does."""
    return parse_results(read_bytes(path, LARGEST_FILE), str(path))


def parse_results(data: bytes, where: str) -> PublishedResults:
    """Return the rows in a file's bytes, and the facts of their metrics.

    Columns that older versions did not have are empty. Raises OODBenchError where the file has no such rows, or has
    invalid ones: of a wrong type, out of range, duplicate, or of another run than the key in ``run`` says.
    """
    try:
        read = parquet.read_table(data)
        metadata = _Metadata.model_validate_json((read.schema.metadata or {}).get(METADATA, b"{}"))
        if metadata.format > FORMAT:
            raise ValueError("a newer oodbench wrote it; `pip install --upgrade oodbench`")
        results = _table(read).to_pandas()
        _check_rows(results)
    except Exception as error:  # pyarrow raises many kinds
        why = shorten(str(error) if isinstance(error, ValueError | OSError) else reason(error))
        raise OODBenchError(f"{where} holds no results ({why}); `oodbench publish` writes them") from None
    return PublishedResults(results, {facts.name: facts for facts in metadata.metrics})


def _table(read: pa.Table) -> pa.Table:
    """Return the columns, each of its type and without nulls. Raises ValueError for others."""
    import pyarrow as pa

    return pa.table({name: _column(read, name) for name in COLUMNS})


def _column(read: pa.Table, name: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in read.column_names:
        if name in PUBLISHED_COLUMNS:
            return pa.array([float("nan")] * read.num_rows, pa.float64())
        if name not in LATER_COLUMNS:
            raise ValueError(f"it has no column {name}")
        return pa.array([""] * read.num_rows, pa.string())
    column, types = read[name], pa.types
    is_type, empty = {
        **dict.fromkeys(COUNTS, (types.is_integer, None)),
        **dict.fromkeys([*NUMBERS, *PUBLISHED_COLUMNS], (types.is_floating, float("nan"))),
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
    """Raise ValueError for an invalid row. A failure has no metric and no value; every other row has both."""
    failed = results["error"] != ""
    numbers = results[list(NUMBERS)].to_numpy(dtype=float)
    if not np.isfinite(numbers[~failed]).all() or (results["metric"][failed] != "").any():
        raise ValueError("it has values that are not finite")
    if (results["metric"][~failed] == "").any():
        raise ValueError("it has a value of no metric")
    if (results[list(COUNTS)] < 0).any(axis=None) or (results.loc[~failed, ["n_in", "n_out"]] == 0).any(axis=None):
        raise ValueError("it has counts that cannot be")
    if np.isinf(results[list(PUBLISHED_COLUMNS)].to_numpy(dtype=float)).any():
        raise ValueError("it has intervals that are not finite")
    for metric, covariate in dict.fromkeys(zip(results["metric"], results["covariate"], strict=True)):
        check_covariate(metric, covariate)
    if results.duplicated(["run", "out_dataset", "metric"]).any():
        raise ValueError("it has a result twice")
    _check_runs(results, failed)


def _check_runs(results: pd.DataFrame, failed: pd.Series[bool]) -> None:
    """Raise ValueError unless the rows of a run agree on it, and its key is the one that follows from them.

    Older records do not say which images were used, so the hash in their keys is not checked.
    """
    for row in results.drop_duplicates(["run", "params", "base", "facts"]).to_dict("records"):
        _check_json(row)
    alike = results[~failed].drop_duplicates(["run", "detector", "in_dataset", "seed", *RUN_COLUMNS])
    for name in alike["run"][alike["run"].duplicated()]:
        raise ValueError(f"the rows of {name} are of different runs")
    for row in alike.to_dict("records"):
        key = _run(row).key(row["in_images"])
        is_same = key == row["run"] if row["in_images"] else _without_hash(key) == _without_hash(row["run"])
        if not is_same:
            raise ValueError(f"the row of {row['run']} is that of {key}")


def _without_hash(key: str) -> str:
    return key.rpartition("-")[0]


def _check_json(row: Mapping[Any, Any]) -> None:
    """Raise ValueError unless the parameters of the run and its bases, and its facts, have the form that pages read."""
    run: Run | None = _run(row)
    while run:
        if not isinstance(json.loads(run.params), dict):
            raise ValueError(f"the parameters of {row['run']} are no JSON object")
        run = run.base
    facts = json.loads(row["facts"] or "{}")
    if not isinstance(facts, dict) or not all(map(_is_number, facts.values())):
        raise ValueError(f"the facts of {row['run']} are not numbers by name")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _run(row: Mapping[Any, Any]) -> Run:
    run = Run(
        row["detector"], row["plugin_version"], row["params"], row["in_dataset"], row["seed"], row["precision"],
        distribution=row["distribution"],
    )  # fmt: skip
    return run.with_base_text(row["base"])
